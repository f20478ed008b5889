//! Rules as JSON, for programs that have them as data.

use super::{Access, AccessError, Otherwise, Rule, rule::Words};
use crate::value::Value;

impl Access {
    /// Reads `{"rules": {"User.email": {…}, …}, "required_scopes": {"users": […], …}, "deny_by_default": false}`, of
    /// which each part may be left out.
    ///
    /// A rule is an object of `roles` and `scopes` (each a text or several, of which one is enough, or `{"all": […]}` or
    /// `{"any": […]}`), `public` (true), and what the others get: `otherwise` (`"reject"`, the default, or `"mask"`) or
    /// `redact` (a text, or `{"last": 4}`). `kind` (`"type"` or `"path"`) says what the first letter does not.
    ///
    /// # Errors
    /// A key or a value that is not one of these. What a rule means is looked at by [`Access::compile`].
    pub fn from_value(value: &Value) -> Result<Self, AccessError> {
        let mut access = Self::new();
        for (key, value) in entries("access", value)? {
            match key.as_str() {
                "rules" => {
                    for (field, rule) in entries(key, value)? {
                        access = access.rule(self::rule(field, rule)?);
                    }
                }
                "required_scopes" => {
                    for (field, scopes) in entries(key, value)? {
                        access = access.required_scopes(field.as_str(), texts(field, scopes)?);
                    }
                }
                "deny_by_default" => access = access.deny_by_default(truth(key, value)?),
                _ => return Err(unknown("access", key)),
            }
        }
        Ok(access)
    }
}

fn rule(field: &str, value: &Value) -> Result<Rule, AccessError> {
    let entries = entries(field, value)?;
    let kind = entries.iter().find(|(key, _)| key == "kind").map(|(_, kind)| kind);
    let mut rule = match kind.map(Value::as_str) {
        None => Rule::at(field),
        Some(Some("type")) => Rule::at_type(field),
        Some(Some("path")) => Rule::at_path(field),
        Some(_) => return Err(wrong(field, "`kind` is \"type\" or \"path\"")),
    };
    for (key, value) in entries {
        match key.as_str() {
            "roles" => rule.roles = Some(words(field, value)?),
            "scopes" => rule.scopes = Some(words(field, value)?),
            "public" if truth(field, value)? => rule = rule.public(),
            "kind" | "public" => {}
            "otherwise" | "redact" if rule.otherwise.is_some() => {
                return Err(wrong(field, "`otherwise` and `redact` say two things: leave one out"));
            }
            "otherwise" => rule = rule.otherwise(otherwise(field, value)?),
            "redact" => rule = rule.otherwise(redact(field, value)?),
            _ => return Err(unknown(field, key)),
        }
    }
    Ok(rule)
}

fn otherwise(field: &str, value: &Value) -> Result<Otherwise, AccessError> {
    match value.as_str() {
        Some("reject") => Ok(Otherwise::Reject),
        Some("mask") => Ok(Otherwise::Mask),
        _ => Err(wrong(field, "`otherwise` is \"reject\" or \"mask\"")),
    }
}

fn redact(field: &str, value: &Value) -> Result<Otherwise, AccessError> {
    let count = |value: &Value| match value {
        Value::Int(count) => usize::try_from(*count).ok(),
        _ => None,
    };
    match value {
        Value::String(text) => Ok(Otherwise::Replace(text.as_str().into())),
        Value::Object(entries) => match &entries[..] {
            [(key, value)] if key == "last" => {
                count(value).map(Otherwise::KeepLast).ok_or_else(|| wrong(field, "`last` is a whole number"))
            }
            _ => Err(wrong(field, "`redact` is a text, or an object of `last`")),
        },
        _ => Err(wrong(field, "`redact` is a text, or an object of `last`")),
    }
}

/// A text or several, or an object that says whether one of them is enough.
fn words(field: &str, value: &Value) -> Result<Words, AccessError> {
    let Value::Object(entries) = value else { return Ok(Words::Any(texts(field, value)?.into())) };
    match &entries[..] {
        [(key, value)] if key == "any" => Ok(Words::Any(texts(field, value)?.into())),
        [(key, value)] if key == "all" => Ok(Words::All(texts(field, value)?.into())),
        _ => Err(wrong(field, "roles and scopes are texts, or an object of `any` or of `all`")),
    }
}

fn texts(place: &str, value: &Value) -> Result<Vec<Box<str>>, AccessError> {
    let texts: Option<Vec<Box<str>>> = match value {
        Value::List(items) => items.iter().map(|item| item.as_str().map(Box::from)).collect(),
        one => one.as_str().map(|text| vec![text.into()]),
    };
    texts.ok_or_else(|| wrong(place, "a text, or a list of texts, is expected"))
}

fn truth(place: &str, value: &Value) -> Result<bool, AccessError> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        _ => Err(wrong(place, "true or false is expected")),
    }
}

fn entries<'v>(place: &str, value: &'v Value) -> Result<&'v [(String, Value)], AccessError> {
    match value {
        Value::Object(entries) => Ok(entries),
        _ => Err(wrong(place, "an object is expected")),
    }
}

fn wrong(place: &str, reason: &str) -> AccessError {
    AccessError::Form(place.into(), reason.into())
}

fn unknown(place: &str, key: &str) -> AccessError {
    wrong(place, &format!("there is no `{key}`"))
}
