//! One key and the one algorithm it is for (RFC 7518, section 3.1).

use std::{fmt, str::FromStr};

use jsonwebtoken::{Algorithm as Jws, AlgorithmFamily, DecodingKey, crypto::aws_lc};

use super::error::{KeyError, shown};

/// An algorithm of signatures. `none` is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256
    HS256,
    /// HMAC with SHA-384
    HS384,
    /// HMAC with SHA-512
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512
    RS512,
    /// RSASSA-PSS with SHA-256
    PS256,
    /// RSASSA-PSS with SHA-384
    PS384,
    /// RSASSA-PSS with SHA-512
    PS512,
    /// ECDSA on P-256 with SHA-256
    ES256,
    /// ECDSA on P-384 with SHA-384
    ES384,
    /// Ed25519 (RFC 8037, section 3.1)
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The name that tokens use, case included.
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    pub(super) fn jws(self) -> Jws {
        match self {
            Self::HS256 => Jws::HS256,
            Self::HS384 => Jws::HS384,
            Self::HS512 => Jws::HS512,
            Self::RS256 => Jws::RS256,
            Self::RS384 => Jws::RS384,
            Self::RS512 => Jws::RS512,
            Self::PS256 => Jws::PS256,
            Self::PS384 => Jws::PS384,
            Self::PS512 => Jws::PS512,
            Self::ES256 => Jws::ES256,
            Self::ES384 => Jws::ES384,
            Self::EdDSA => Jws::EdDSA,
        }
    }

    pub(super) fn family(self) -> AlgorithmFamily {
        self.jws().family()
    }

    /// The hash's bytes (RFC 7518, section 3.2); 0 for an algorithm without a secret.
    pub(super) fn secret_bytes_min(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
            _ => 0,
        }
    }

    /// The curve (RFC 7518, section 3.4); empty for an algorithm without one.
    pub(super) fn curve(self) -> &'static str {
        match self {
            Self::ES256 => "P-256",
            Self::ES384 => "P-384",
            Self::EdDSA => "Ed25519",
            _ => "",
        }
    }

    /// Bytes of one coordinate of the curve (RFC 7518, section 6.2.1.2); 0 for an algorithm without one.
    pub(super) fn coordinate_bytes(self) -> usize {
        match self {
            Self::ES256 => 32,
            Self::ES384 => 48,
            _ => 0,
        }
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| KeyError::Unsupported(shown(name)))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key that verifies signatures of one algorithm. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Key {
    pub(super) kid: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    key: DecodingKey,
}

impl Key {
    /// A secret that issuer and verifier share, for HS256, HS384 or HS512.
    ///
    /// # Errors
    /// `ShortSecret` below the bytes of the hash, 32, 48 or 64 (RFC 7518, section 3.2; RFC 8725, section 3.5);
    /// `NoSecret` for a key in PEM; `Unfit` for an algorithm without a secret.
    pub fn hmac(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        if algorithm.family() != AlgorithmFamily::Hmac {
            return Err(KeyError::Unfit(algorithm));
        }
        if secret.len() < algorithm.secret_bytes_min() {
            return Err(KeyError::ShortSecret(algorithm, secret.len()));
        }
        if secret.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN.as_bytes()) {
            return Err(KeyError::NoSecret);
        }
        Ok(Self::new(algorithm, DecodingKey::from_secret(secret)))
    }

    /// A public key in PEM: `PUBLIC KEY` (RFC 7468, section 13), or `RSA PUBLIC KEY`.
    ///
    /// # Errors
    /// `Private` for a private key; `RsaBits` outside 2,048 to 8,192 bits; `Unfit` for a key of another kind or
    /// curve; `Unreadable` for what is no public key, certificates included.
    pub fn pem(algorithm: Algorithm, pem: &str) -> Result<Self, KeyError> {
        let mut labels = pem.split(PEM_BEGIN).skip(1).filter_map(|rest| rest.split("-----").next());
        match (labels.next(), labels.next()) {
            (Some("PUBLIC KEY" | "RSA PUBLIC KEY"), None) => {}
            (Some(label), _) if label.ends_with("PRIVATE KEY") => return Err(KeyError::Private),
            _ => return Err(KeyError::unreadable("not one `PUBLIC KEY` in PEM")),
        }
        let unfit = |_| KeyError::Unfit(algorithm);
        match algorithm.family() {
            AlgorithmFamily::Hmac => Err(KeyError::NoSecret),
            AlgorithmFamily::Rsa => {
                let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(unfit)?;
                let der = key.try_get_as_bytes().map_err(KeyError::unreadable)?;
                let (modulus, exponent) =
                    (aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der)
                        .map_err(unfit)?;
                Self::rsa(algorithm, &modulus, &exponent)
            }
            AlgorithmFamily::Ec => {
                let key = DecodingKey::from_ec_pem(pem.as_bytes()).map_err(unfit)?;
                Self::ec(algorithm, key.try_get_as_bytes().map_err(KeyError::unreadable)?)
            }
            AlgorithmFamily::Ed => {
                let key = DecodingKey::from_ed_pem(pem.as_bytes()).map_err(unfit)?;
                Self::ed(algorithm, key.try_get_as_bytes().map_err(KeyError::unreadable)?)
            }
        }
    }

    /// A key as JWK (RFC 7517, section 4): kinds `RSA`, `EC`, `OKP` and `oct`. Its `alg` decides, or `algorithm` where
    /// it names none; its `kid` is its name.
    ///
    /// # Errors
    /// `NoAlgorithm` where neither names one; `Unfit` where they differ; `OtherUse` for a key that is not for
    /// verifying; as [`Key::hmac`] and [`Key::pem`] for weak, private and unsupported keys.
    pub fn jwk(json: &str, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        let jwk = super::jwk::parse(json)?;
        let key = super::jwk::key(&jwk, algorithm)?;
        if algorithm.is_some_and(|algorithm| algorithm != key.algorithm) {
            return Err(KeyError::Unfit(key.algorithm));
        }
        Ok(key)
    }

    /// The same key, called `kid`: for the tokens that name it.
    #[must_use]
    pub fn named(mut self, kid: impl Into<Box<str>>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The name that tokens use for it (`kid`), if it has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The one algorithm that this key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// An RSA key by its big-endian numbers. The exponent 1 would make every message its own signature.
    pub(super) fn rsa(algorithm: Algorithm, modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let bits = bits(modulus);
        if !(2_048..=8_192).contains(&bits) {
            return Err(KeyError::RsaBits(bits));
        }
        if self::bits(exponent) < 2 || exponent.last().is_none_or(|last| last % 2 == 0) {
            return Err(KeyError::unreadable("the exponent of the RSA key is even or 1"));
        }
        Ok(Self::new(algorithm, DecodingKey::from_rsa_raw_components(modulus, exponent)))
    }

    /// An uncompressed point (SEC 1, section 2.3.3).
    pub(super) fn ec(algorithm: Algorithm, point: &[u8]) -> Result<Self, KeyError> {
        if point.len() != 1 + 2 * algorithm.coordinate_bytes() || point.first() != Some(&4) {
            return Err(KeyError::Unfit(algorithm));
        }
        Ok(Self::new(algorithm, DecodingKey::from_ec_der(point)))
    }

    /// The 32 bytes of an Ed25519 key (RFC 8032, section 5.1.5).
    pub(super) fn ed(algorithm: Algorithm, public: &[u8]) -> Result<Self, KeyError> {
        if public.len() != 32 {
            return Err(KeyError::Unfit(algorithm));
        }
        Ok(Self::new(algorithm, DecodingKey::from_ed_der(public)))
    }

    /// Whether `signature` is this key's for `message`. What cannot be decided is a no.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        // Named, not asked of the process: another crate may have installed a provider there.
        let made = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&self.algorithm.jws(), &self.key);
        made.is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }

    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        Self { kid: None, algorithm, key }
    }
}

const PEM_BEGIN: &str = "-----BEGIN ";

/// Bits of a big-endian number, leading zeros not counted.
fn bits(number: &[u8]) -> usize {
    let mut significant = number.iter().skip_while(|byte| **byte == 0);
    let Some(first) = significant.next() else { return 0 };
    8 * significant.count() + first.ilog2() as usize + 1
}
