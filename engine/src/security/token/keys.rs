//! The keys of a verifier, and which of them a token gets.

use super::{
    error::{KeyError, TokenError, shown},
    header::Header,
    jwk,
    key::{Algorithm, Key},
};
use crate::{error::LimitExceeded, limits::Limits, value::Value};

/// Keys, no two of which could be mistaken for each other.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// These keys.
    ///
    /// # Errors
    /// `Twice` for two keys with one algorithm and one name, or none; `NoKeys` for no key.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyError> {
        let mut all: Vec<Key> = Vec::new();
        for key in keys {
            if all.iter().any(|other| other.algorithm == key.algorithm && other.kid == key.kid) {
                return Err(KeyError::Twice(key.kid.as_deref().map(shown)));
            }
            all.push(key);
        }
        if all.is_empty() { Err(KeyError::NoKeys) } else { Ok(Self(all)) }
    }

    /// The keys of a document of keys (JWKS, RFC 7517, section 5); `pin` is the algorithm of those that name none.
    ///
    /// Keys for something else than verifying, of kinds that are not supported, or that name no algorithm and cannot
    /// be used with `pin`, are passed over, as that section says. A key that is meant for verifying and is weak or
    /// broken refuses the document, so that somebody hears of it.
    ///
    /// # Errors
    /// As [`Keys::new`] and [`Key::jwk`]; `TooLong` above `limits.jwks_bytes_max` bytes.
    pub fn jwks(json: &str, pin: Option<Algorithm>, limits: &Limits) -> Result<Self, KeyError> {
        LimitExceeded::check("jwks_bytes_max", json.len(), limits.jwks_bytes_max)
            .map_err(KeyError::TooLong)?;
        let document = jwk::parse(json)?;
        let Some(Value::List(jwks)) = document.get("keys") else {
            return Err(KeyError::unreadable("no list of `keys`"));
        };
        let mut keys = Vec::new();
        for jwk in jwks {
            match jwk::key(jwk, pin) {
                Ok(key) => keys.push(key),
                Err(KeyError::OtherUse | KeyError::Unsupported(_)) => {}
                Err(KeyError::Unfit(_)) if jwk.get("alg").is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Self::new(keys)
    }

    /// The key for a token: the one it names, or the only one it can mean, and only with that key's algorithm.
    pub(super) fn find(&self, header: &Header) -> Result<&Key, TokenError> {
        let wrong = || TokenError::Algorithm(shown(&header.alg));
        let algorithm: Algorithm = header.alg.parse().map_err(|_| wrong())?;
        let fit = || self.0.iter().filter(|key| key.algorithm == algorithm);
        let Some(kid) = header.kid.as_deref() else {
            let unnamed = fit().find(|key| key.kid.is_none());
            let mut all = fit();
            return match (unnamed, all.next(), all.next()) {
                (Some(key), ..) | (None, Some(key), None) => Ok(key),
                (None, None, _) => Err(wrong()),
                (None, Some(_), Some(_)) => Err(TokenError::UnknownKey(None)),
            };
        };
        let called = |key: &&Key| key.kid.as_deref() == Some(kid);
        match fit().find(called) {
            Some(key) => Ok(key),
            None if self.0.iter().any(|key| called(&key)) => Err(wrong()),
            None => Err(TokenError::UnknownKey(Some(shown(kid)))),
        }
    }
}
