//! Support of the tests of tokens: keys that are for tests only, and tokens written by hand.
//!
//! Headers and claims are JSON texts, because no writer would write what an attacker does.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

mod algorithms;
mod attacks;
mod claims;
mod keys;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{AlgorithmFamily, EncodingKey, crypto::aws_lc};

use super::{Algorithm, Key, KeyError, Keys, TokenError, Verifier};
use crate::limits::Limits;

pub(super) const NOW: u64 = 1_700_000_000;

/// As long as the longest hash: 64 bytes.
pub(super) const SECRET: &[u8] = b"a secret of the tests that is as long as the longest of hashes.!";

macro_rules! test_key {
    ($name:literal) => {
        include_str!(concat!("test_keys/", $name))
    };
}
use test_key;

pub(super) const RSA_PUBLIC: &str = test_key!("rsa.public.pem");
pub(super) const ALL_JWKS: &str = test_key!("all.jwks.json");

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key that signs, for issuers.
pub(super) fn private(algorithm: Algorithm) -> EncodingKey {
    match algorithm.family() {
        AlgorithmFamily::Hmac => EncodingKey::from_secret(SECRET),
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(test_key!("rsa.private.pem").as_bytes()).unwrap(),
        AlgorithmFamily::Ec if algorithm == Algorithm::ES256 => {
            EncodingKey::from_ec_pem(test_key!("p256.private.pem").as_bytes()).unwrap()
        }
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(test_key!("p384.private.pem").as_bytes()).unwrap(),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(test_key!("ed25519.private.pem").as_bytes()).unwrap(),
    }
}

/// The key that verifies, from the form that is not JWK.
pub(super) fn public(algorithm: Algorithm) -> Key {
    match algorithm.family() {
        AlgorithmFamily::Hmac => Key::hmac(algorithm, SECRET).unwrap(),
        AlgorithmFamily::Rsa => Key::pem(algorithm, RSA_PUBLIC).unwrap(),
        AlgorithmFamily::Ec if algorithm == Algorithm::ES256 => {
            Key::pem(algorithm, test_key!("p256.public.pem")).unwrap()
        }
        AlgorithmFamily::Ec => Key::pem(algorithm, test_key!("p384.public.pem")).unwrap(),
        AlgorithmFamily::Ed => Key::pem(algorithm, test_key!("ed25519.public.pem")).unwrap(),
    }
}

/// A token of parts that are encoded already, in whatever way.
pub(super) fn sign_encoded(algorithm: Algorithm, key: &EncodingKey, header: &str, claims: &str) -> String {
    let signed = format!("{header}.{claims}");
    let signer = (aws_lc::DEFAULT_PROVIDER.signer_factory)(&algorithm.jws(), key).unwrap();
    let signature = signer.try_sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64(signature))
}

/// A token of a header and claims in JSON.
pub(super) fn sign(algorithm: Algorithm, header: &str, claims: &str) -> String {
    sign_encoded(algorithm, &private(algorithm), &base64(header), &base64(claims))
}

/// The same, by somebody who has another secret.
pub(super) fn forge(secret: &[u8], header: &str, claims: &str) -> String {
    sign_encoded(Algorithm::HS256, &EncodingKey::from_secret(secret), &base64(header), &base64(claims))
}

/// A verifier with this key only, that wants `exp` and nothing else.
pub(super) fn only(key: Key) -> Verifier {
    Verifier::new(Keys::new([key]).unwrap())
}

pub(super) fn code<T>(verified: Result<T, TokenError>) -> &'static str {
    verified.map_or_else(|error| error.code(), |_| "accepted")
}

pub(super) fn jwks(json: &str) -> Result<Keys, KeyError> {
    Keys::jwks(json, None, &Limits::default())
}
