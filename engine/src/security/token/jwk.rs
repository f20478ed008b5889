//! JSON Web Keys (RFC 7517) as keys.

use jsonwebtoken::AlgorithmFamily;

use super::{
    error::{KeyError, shown},
    key::{Algorithm, Key},
};
use crate::value::Value;

/// Nesting of a document of keys: a set, its list, a key, the key's own lists.
const DEPTH_MAX: usize = 16;

/// A JWK, or a set of them, as a tree.
pub(super) fn parse(json: &str) -> Result<Value, KeyError> {
    let parsed = Value::parse(&mut json.as_bytes().to_vec(), DEPTH_MAX).map_err(KeyError::unreadable)?;
    if matches!(parsed, Value::Object(_)) { Ok(parsed) } else { Err(KeyError::unreadable("not an object")) }
}

/// The key that a JWK is, for its own `alg`, or else for `pin`.
pub(super) fn key(jwk: &Value, pin: Option<Algorithm>) -> Result<Key, KeyError> {
    let jwk = Jwk(jwk);
    jwk.check_use()?;
    let family = jwk.family()?;
    let algorithm = match jwk.optional("alg")? {
        Some(name) => name.parse()?,
        None => pin.ok_or(KeyError::NoAlgorithm)?,
    };
    let other_curve = family == AlgorithmFamily::Ec && jwk.text("crv")? != algorithm.curve();
    if algorithm.family() != family || other_curve {
        return Err(KeyError::Unfit(algorithm));
    }
    if family != AlgorithmFamily::Hmac && jwk.0.get("d").is_some() {
        return Err(KeyError::Private);
    }
    let key = match family {
        AlgorithmFamily::Hmac => Key::hmac(algorithm, &jwk.bytes("k")?),
        AlgorithmFamily::Rsa => Key::rsa(algorithm, &jwk.bytes("n")?, &jwk.bytes("e")?),
        AlgorithmFamily::Ec => {
            let coordinates = [jwk.bytes("x")?, jwk.bytes("y")?];
            // A short one beside a long one would be a point somewhere else.
            if coordinates.iter().any(|coordinate| coordinate.len() != algorithm.coordinate_bytes()) {
                return Err(KeyError::Unfit(algorithm));
            }
            Key::ec(algorithm, &[&[4], &*coordinates.concat()].concat())
        }
        AlgorithmFamily::Ed => Key::ed(algorithm, &jwk.bytes("x")?),
    }?;
    Ok(match jwk.optional("kid")? {
        Some(kid) => key.named(kid),
        None => key,
    })
}

struct Jwk<'a>(&'a Value);

impl<'a> Jwk<'a> {
    /// RFC 7517, sections 4.2 and 4.3: a key for encryption must not verify.
    fn check_use(&self) -> Result<(), KeyError> {
        let usage = self.optional("use")?.is_none_or(|usage| usage == "sig");
        let operations = match self.0.get("key_ops") {
            None => true,
            Some(Value::List(all)) => all.iter().any(|one| one.as_str() == Some("verify")),
            Some(_) => return Err(KeyError::unreadable("`key_ops` is not a list")),
        };
        if usage && operations { Ok(()) } else { Err(KeyError::OtherUse) }
    }

    fn family(&self) -> Result<AlgorithmFamily, KeyError> {
        match self.text("kty")? {
            "oct" => Ok(AlgorithmFamily::Hmac),
            "RSA" => Ok(AlgorithmFamily::Rsa),
            kty @ ("EC" | "OKP") => match self.text("crv")? {
                "P-256" | "P-384" if kty == "EC" => Ok(AlgorithmFamily::Ec),
                "Ed25519" if kty == "OKP" => Ok(AlgorithmFamily::Ed),
                other => Err(KeyError::Unsupported(shown(other))),
            },
            other => Err(KeyError::Unsupported(shown(other))),
        }
    }

    fn optional(&self, name: &str) -> Result<Option<&'a str>, KeyError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(KeyError::unreadable(format!("`{name}` is not a string"))),
        }
    }

    fn text(&self, name: &str) -> Result<&'a str, KeyError> {
        self.optional(name)?.ok_or_else(|| KeyError::unreadable(format!("no `{name}`")))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, KeyError> {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let text = self.text(name)?;
        URL_SAFE_NO_PAD.decode(text).map_err(|error| KeyError::unreadable(format!("`{name}`: {error}")))
    }
}
