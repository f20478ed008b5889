//! What is wrong with a token or a key, for the server's log.

use std::fmt;

use super::key::Algorithm;
use crate::error::LimitExceeded;

/// Why a token is not believed. A client is told none of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Longer than `token_bytes_max`.
    TooLong(LimitExceeded),
    /// A part is not what RFC 7515 and RFC 7519 say: its name, and what is wrong.
    Malformed(&'static str, String),
    /// Encrypted (JWE, RFC 7516), which is not supported.
    Encrypted,
    /// The claims are a token again (`cty`, RFC 7519, section 5.2), which is not supported.
    Nested,
    /// Meant for something else (`typ`, RFC 8725, section 3.11).
    Type(String),
    /// Wants an extension to be understood (`crit`, RFC 7515, section 4.1.11), and there is none.
    Critical,
    /// An algorithm that the key is not for, or none at all.
    Algorithm(String),
    /// No key of this name; `None`: it names none, and several could be meant.
    UnknownKey(Option<String>),
    /// The signature is not of the key.
    Signature,
    /// A claim that must be there is not.
    Missing(String),
    /// A claim that is not what it must be: its name, and what it must be.
    Invalid(String, &'static str),
    /// Over since this second; the leeway is not counted.
    Expired(u64),
    /// Not to be used before this second; the leeway is not counted.
    NotYet(u64),
    /// Of another issuer.
    Issuer(String),
    /// For another audience.
    Audience,
    /// For some audience, and the verifier has none.
    NoAudience,
}

impl TokenError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "too_long",
            Self::Malformed(..) => "malformed",
            Self::Encrypted => "encrypted",
            Self::Nested => "nested",
            Self::Type(_) => "type",
            Self::Critical => "critical",
            Self::Algorithm(_) => "algorithm",
            Self::UnknownKey(_) => "unknown_key",
            Self::Signature => "signature",
            Self::Missing(_) => "missing_claim",
            Self::Invalid(..) => "invalid_claim",
            Self::Expired(_) => "expired",
            Self::NotYet(_) => "not_yet_valid",
            Self::Issuer(_) => "issuer",
            Self::Audience | Self::NoAudience => "audience",
        }
    }

    pub(super) fn malformed(part: &'static str, reason: &impl fmt::Display) -> Self {
        Self::Malformed(part, shown(&reason.to_string()))
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(error) => error.fmt(f),
            Self::Malformed(part, reason) => write!(f, "the {part} of the token cannot be read: {reason}"),
            Self::Encrypted => f.write_str("the token is encrypted: only signed tokens are supported"),
            Self::Nested => f.write_str("the token holds another token: nesting is not supported"),
            Self::Type(typ) => write!(f, "`typ` is `{typ}`: the token is meant for something else"),
            Self::Critical => f.write_str("the token has `crit`: no extension is supported"),
            Self::Algorithm(alg) => write!(f, "no key is for the algorithm `{alg}` that the token names"),
            Self::UnknownKey(Some(kid)) => {
                write!(f, "no key is called `{kid}`, which the token names: give it to the key that is meant")
            }
            Self::UnknownKey(None) => {
                f.write_str("the token names no key (`kid`), and several could be meant")
            }
            Self::Signature => f.write_str("the signature is not of the key that it must be of"),
            Self::Missing(claim) => write!(f, "the claim `{claim}` is missing"),
            Self::Invalid(claim, must) => write!(f, "the claim `{claim}` is not {must}"),
            Self::Expired(at) => write!(f, "expired at second {at} since 1970"),
            Self::NotYet(at) => write!(f, "not valid before second {at} since 1970"),
            Self::Issuer(issuer) => write!(f, "`iss` is `{issuer}`, which is not expected"),
            Self::Audience => f.write_str("`aud` names nobody that is expected"),
            Self::NoAudience => {
                f.write_str("the token is for an audience, and the verifier has none: name it")
            }
        }
    }
}

impl std::error::Error for TokenError {}

/// Why a key, or a document of keys, is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The document is longer than `jwks_bytes_max`.
    TooLong(LimitExceeded),
    /// Not the JSON that RFC 7517 says, not PEM, or not a key: what is wrong.
    Unreadable(String),
    /// A secret shorter than the hash of its algorithm (RFC 7518, section 3.2): both in bytes.
    ShortSecret(Algorithm, usize),
    /// A text that is a key in PEM, given as a secret: whoever knows the public key could sign.
    NoSecret,
    /// An RSA key of less than 2,048 bits (RFC 7518, section 3.3) or more than 8,192.
    RsaBits(usize),
    /// A private key: a verifier must not know it.
    Private,
    /// A key that this algorithm cannot use: of another kind or curve, or broken.
    Unfit(Algorithm),
    /// A JWK that names no algorithm, and the caller neither.
    NoAlgorithm,
    /// A JWK that is for something else, such as encryption (`use`, `key_ops`).
    OtherUse,
    /// A type, curve or algorithm that is not supported.
    Unsupported(String),
    /// Two keys for one algorithm with the same name; `None`: without a name.
    Twice(Option<String>),
    /// No key that could verify anything.
    NoKeys,
}

impl KeyError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "too_long",
            Self::Unreadable(_) => "unreadable_key",
            Self::ShortSecret(..) | Self::NoSecret | Self::RsaBits(_) => "weak_key",
            Self::Private => "private_key",
            Self::Unfit(_) | Self::NoAlgorithm => "key_algorithm",
            Self::OtherUse | Self::Unsupported(_) => "unsupported_key",
            Self::Twice(_) => "key_twice",
            Self::NoKeys => "no_keys",
        }
    }

    pub(super) fn unreadable(reason: impl fmt::Display) -> Self {
        Self::Unreadable(shown(&reason.to_string()))
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(error) => error.fmt(f),
            Self::Unreadable(reason) => write!(f, "the key cannot be read: {reason}"),
            Self::ShortSecret(algorithm, bytes) => {
                let min = algorithm.secret_bytes_min();
                write!(f, "the secret has {bytes} bytes: {algorithm} wants {min} random ones or more")
            }
            Self::NoSecret => f.write_str("a key in PEM is no secret: name the algorithm it is for"),
            Self::RsaBits(bits) => write!(f, "the RSA key has {bits} bits: 2048 to 8192 are taken"),
            Self::Private => f.write_str("the key is private: give the public one to a verifier"),
            Self::Unfit(algorithm) => {
                write!(f, "the key cannot be used for {algorithm}: it is of another kind, or broken")
            }
            Self::NoAlgorithm => f.write_str("the key names no `alg`: say which algorithm it is for"),
            Self::OtherUse => f.write_str("the key is not for verifying, by its `use` or `key_ops`"),
            Self::Unsupported(what) => write!(f, "`{what}` is not supported"),
            Self::Twice(Some(kid)) => write!(f, "two keys for one algorithm are called `{kid}`"),
            Self::Twice(None) => f.write_str("two keys for one algorithm have no name: give them a `kid`"),
            Self::NoKeys => f.write_str("there is no key to verify with"),
        }
    }
}

impl std::error::Error for KeyError {}

/// Text of a stranger as it may stand in a log: one line, and not long.
pub(super) fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 128;
    text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}
