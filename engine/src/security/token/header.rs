//! A token's header (RFC 7515, section 4): read before anything is known to be true, so as little as possible is.

use super::error::{TokenError, shown};
use crate::value::Value;

/// What is looked at of a header. Keys that it brings or points at are not.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    typ: Option<String>,
    cty: Option<String>,
    critical: bool,
    encrypted: bool,
}

impl Header {
    pub(super) fn read(text: &mut [u8], depth_max: usize) -> Result<Self, TokenError> {
        let malformed = |reason: &str| TokenError::malformed("header", &reason);
        let header =
            Value::parse(text, depth_max).map_err(|error| TokenError::malformed("header", &error))?;
        if !matches!(header, Value::Object(_)) {
            return Err(malformed("not an object"));
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(malformed(&format!("`{name}` is not a string"))),
        };
        Ok(Self {
            alg: text("alg")?.ok_or_else(|| malformed("no `alg`"))?,
            kid: text("kid")?,
            typ: text("typ")?,
            cty: text("cty")?,
            critical: header.get("crit").is_some(),
            encrypted: header.get("enc").is_some(),
        })
    }

    /// Refuses what is no signed token, or one for something else than `types`.
    pub(super) fn check(&self, types: &[Box<str>]) -> Result<(), TokenError> {
        if self.encrypted {
            return Err(TokenError::Encrypted);
        }
        if self.critical {
            return Err(TokenError::Critical);
        }
        if self.cty.as_deref().is_some_and(|cty| media_type(cty).eq_ignore_ascii_case("JWT")) {
            return Err(TokenError::Nested);
        }
        match &self.typ {
            Some(typ)
                if !types.iter().any(|known| media_type(known).eq_ignore_ascii_case(media_type(typ))) =>
            {
                Err(TokenError::Type(shown(typ)))
            }
            _ => Ok(()),
        }
    }
}

/// A media type without the `application/` that may be left out (RFC 7515, section 4.1.9).
fn media_type(name: &str) -> &str {
    match name.split_at_checked("application/".len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case("application/") => rest,
        _ => name,
    }
}
