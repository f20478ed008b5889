//! Who a client is, by a signed token: JSON Web Tokens (RFC 7519) in the compact form of JWS (RFC 7515).
//!
//! A [`Verifier`] holds [`Keys`] and what a token must say; [`Mapping`] makes an identity of verified claims.
//! Nothing here looks at a clock, reads a file or asks the network: time and keys are inputs.
//!
//! ```
//! # use coulis::security::token::{Algorithm, Key, Keys, Mapping, Verifier};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = b"32 bytes at least, for 256 bits.";
//! let keys = Keys::new([Key::hmac(Algorithm::HS256, secret)?])?;
//! let verifier = Verifier::new(keys).issuers(["https://id.example"]).audiences(["orders"]);
//! let now = 1_700_000_000; // seconds since 1970
//!
//! let token = "eyJhbGciOiJIUzI1NiJ9.\
//!     eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJvcmRlcnMiLCJz\
//!     dWIiOiI3IiwiZXhwIjoxNzAwMDAwNjAwLCJyb2xlcyI6WyJjbGVyayJdfQ.\
//!     d7L6Hv8feV04G3O0Dz04VWxdTa9c_yzaZoDtrsitH9o";
//! let bearer = Mapping::default().identify(&verifier.verify(token, now)?)?;
//! assert_eq!(bearer.user.unwrap().as_str(), "7");
//! assert_eq!(&*bearer.roles[0], "clerk");
//! assert_eq!(bearer.expires, Some(1_700_000_600));
//!
//! let refused = verifier.verify("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.", now).unwrap_err();
//! assert_eq!(refused.code(), "algorithm"); // for the server's log; a client is told `authentication failed`
//! # Ok(())
//! # }
//! ```
//!
//! # What is believed
//! Each key has one algorithm, set by whoever made the key and never by a token (RFC 8725, sections 3.1 and 3.2). A
//! token that names a key (`kid`) gets that key or none, and `kid` is compared with names and nothing else. Keys that
//! a header brings or points at (`jwk`, `x5c`, `jku`, `x5u`) are passed over (section 3.10). What names an extension
//! in `crit` is refused, for there is none that is known. The signature comes before the claims: an unsigned claim is
//! not looked at.
//!
//! All keys of one verifier vouch for all its issuers (section 3.8): give an issuer that must not speak for another
//! a verifier of its own.
//!
//! # Why not the claims check of the library that checks signatures
//! It looks at the clock of the process, still takes a token on the second `exp`, rounds dates, passes an `iss` or
//! `aud` of another type than it expects unless that is asked for by name, and reads claims of the user's own that
//! occur twice. It does signatures here, and nothing else.

mod claims;
mod error;
mod header;
mod jwk;
mod key;
mod keys;

#[cfg(all(test, not(coulis_loom)))]
mod tests;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

pub use claims::{Claims, Identified, Mapping};
pub use error::{KeyError, TokenError};
pub use key::{Algorithm, Key};
pub use keys::Keys;

use crate::{error::LimitExceeded, limits::Limits, value::Value};
use claims::Expected;
use header::Header;

/// Verifies tokens. It is shared freely: verifying takes no lock, also while keys are replaced.
#[derive(Debug)]
pub struct Verifier {
    keys: ArcSwap<Keys>,
    expected: Expected,
    types: Vec<Box<str>>,
    bytes_max: usize,
    depth_max: usize,
}

impl Verifier {
    /// A verifier that wants a signature of one of `keys` and an `exp` that is not over; it has no audience, so a
    /// token that is for one is refused.
    pub fn new(keys: Keys) -> Self {
        let limits = Limits::default();
        Self {
            keys: ArcSwap::from_pointee(keys),
            expected: Expected::default(),
            types: ["JWT", "at+jwt"].map(Into::into).into(),
            bytes_max: limits.token_bytes_max,
            depth_max: limits.message_depth_max,
        }
    }

    /// Wants `iss` to be one of these, byte for byte (RFC 8725, section 3.8). By default `iss` is not looked at.
    #[must_use]
    pub fn issuers<S: Into<Box<str>>>(mut self, issuers: impl IntoIterator<Item = S>) -> Self {
        self.expected.issuers = Some(issuers.into_iter().map(Into::into).collect());
        self
    }

    /// Wants `aud` to name one of these (RFC 8725, section 3.9).
    #[must_use]
    pub fn audiences<S: Into<Box<str>>>(mut self, audiences: impl IntoIterator<Item = S>) -> Self {
        self.expected.audiences = Some(audiences.into_iter().map(Into::into).collect());
        self
    }

    /// Does not look at `aud`: tokens for other services are taken too. RFC 7519 (section 4.1.3) forbids that where
    /// an issuer serves several.
    #[must_use]
    pub fn any_audience(mut self) -> Self {
        self.expected.any_audience = true;
        self
    }

    /// How far the clocks of issuers may be off, whole seconds count; by default not at all. It makes tokens live
    /// longer by as much: minutes, not hours.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.expected.leeway = leeway.as_secs();
        self
    }

    /// Wants these claims to be there beside `exp`, whatever they say, but not `null`.
    #[must_use]
    pub fn require<S: Into<Box<str>>>(mut self, claims: impl IntoIterator<Item = S>) -> Self {
        self.expected.required.extend(claims.into_iter().map(Into::into));
        self
    }

    /// Takes tokens without `exp` too: they hold for ever, unless their key is replaced. An `exp` that is there still
    /// counts.
    #[must_use]
    pub fn expiry_optional(mut self) -> Self {
        self.expected.expiry_optional = true;
        self
    }

    /// Which `typ` a header may have, in any case and with or without `application/` (RFC 8725, section 3.11); by
    /// default `JWT` and `at+jwt`. A header without `typ` is taken.
    #[must_use]
    pub fn types<S: Into<Box<str>>>(mut self, types: impl IntoIterator<Item = S>) -> Self {
        self.types = types.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the bounds of a token's bytes (`token_bytes_max`) and nesting (`message_depth_max`).
    #[must_use]
    pub fn limits(mut self, limits: &Limits) -> Self {
        self.bytes_max = limits.token_bytes_max;
        self.depth_max = limits.message_depth_max;
        self
    }

    /// Takes `keys` in place of those it had, for all tokens from now on. One step: each token is verified with all
    /// of the old keys or all of the new ones.
    pub fn replace_keys(&self, keys: Keys) {
        self.keys.store(Arc::new(keys));
    }

    /// What a token says, if it is to be believed at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError`] for whatever is wrong first: its length, its form, its algorithm and key, its signature, its
    /// claims, its time. It is for the server's log: a client that is told more than `authentication failed` is told
    /// how to go on trying.
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        LimitExceeded::check("token_bytes_max", token.len(), self.bytes_max).map_err(TokenError::TooLong)?;
        let Parts { signed, header, claims, signature } = Parts::of(token)?;
        let header = Header::read(&mut decode("header", header)?, self.depth_max)?;
        header.check(&self.types)?;
        let signature = decode("signature", signature)?;
        let keys = self.keys.load();
        if !keys.find(&header)?.signed(signed.as_bytes(), &signature) {
            return Err(TokenError::Signature);
        }
        let claims = Value::parse(&mut decode("claims", claims)?, self.depth_max)
            .map_err(|error| TokenError::malformed("claims", &error))?;
        self.expected.check(claims, now)
    }
}

/// A token in the compact form (RFC 7515, section 3.1), cut at its dots.
struct Parts<'t> {
    /// What the signature is about: header and claims as they came, with the dot.
    signed: &'t str,
    header: &'t str,
    claims: &'t str,
    signature: &'t str,
}

impl<'t> Parts<'t> {
    fn of(token: &'t str) -> Result<Self, TokenError> {
        let parts = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            Some(Self { signed, header, claims, signature })
        };
        match token.bytes().filter(|byte| *byte == b'.').count() {
            2 => parts().ok_or_else(|| TokenError::malformed("token", &"not three parts")),
            4 => Err(TokenError::Encrypted),
            dots => Err(TokenError::malformed("token", &format!("{} parts, not three", dots + 1))),
        }
    }
}

/// The bytes of base64url without padding (RFC 7515, section 2). One text for each bytes: stray characters, padding
/// and bits that the last character has too many are refused.
fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(text).map_err(|error| TokenError::malformed(part, &error))
}
