//! What is wrong with rules, for whoever wrote them.

use std::fmt;

/// Why rules cannot be used; nothing is half in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// A rule that cannot be: its field, and why.
    Rule(String, String),
    /// A rule for a type, and there is no schema.
    NoSchema(String),
    /// A rule for what the schema does not have.
    Unknown(String),
    /// The JSON form is not as it must be: where, and what is wrong.
    Form(String, String),
}

impl AccessError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rule(..) => "malformed_rule",
            Self::NoSchema(_) => "no_schema",
            Self::Unknown(_) => "unknown_field",
            Self::Form(..) => "malformed",
        }
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(field, reason) => write!(f, "the rule for `{field}` cannot be: {reason}"),
            Self::NoSchema(field) => {
                write!(f, "the rule for `{field}` names a type: give a schema, or a path from the root field")
            }
            Self::Unknown(field) => write!(f, "the rule for `{field}` names what the schema does not have"),
            Self::Form(place, reason) => write!(f, "`{place}` cannot be read: {reason}"),
        }
    }
}

impl std::error::Error for AccessError {}
