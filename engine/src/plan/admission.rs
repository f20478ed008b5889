//! Which documents are let in, before any rule of GraphQL is held against them.

use std::{collections::HashSet, fmt, str::FromStr};

use apollo_compiler::{
    ast::{Definition, Document, Selection},
    parser::SourceSpan,
};
use sha2::{Digest as _, Sha256};

use super::parse::{self, located, place};
use crate::{error::GraphQlError, limits::Limits};

/// Whether documents may ask for the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Introspection {
    /// They may, where GraphQL lets them.
    #[default]
    Allowed,
    /// `__schema` and `__type` are refused wherever they stand.
    Refused,
}

/// The SHA-256 (FIPS 180-4) of a document's text, by which an operation is allowed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DocumentDigest([u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDigest;

/// What a document must be to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Whether it may ask for the schema.
    pub introspection: Introspection,
    /// The only documents that may come; `None`: all.
    pub operations: Option<HashSet<DocumentDigest>>,
}

impl DocumentDigest {
    /// The digest of `document` byte for byte: another space makes another document.
    pub fn of(document: &str) -> Self {
        Self(Sha256::digest(document).into())
    }
}

impl FromStr for DocumentDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or(InvalidDigest)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (pair[0] * 16 + pair[1]) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for DocumentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DocumentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for InvalidDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SHA-256 is 64 hexadecimal digits")
    }
}

impl std::error::Error for InvalidDigest {}

impl Admission {
    /// Refuses a text that is not among the allowed ones.
    pub(super) fn text(&self, document: &str, limits: &Limits) -> Result<(), Vec<GraphQlError>> {
        let Some(allowed) = &self.operations else { return Ok(()) };
        // First, so that nobody makes us hash more than a document may have.
        parse::within("query_bytes_max", document.len(), limits.query_bytes_max)?;
        if allowed.contains(&DocumentDigest::of(document)) {
            return Ok(());
        }
        let message = "the document is not one of the allowed operations";
        Err(vec![GraphQlError::new("OPERATION_NOT_ALLOWED", message)])
    }
}

impl Introspection {
    /// Refuses each field that asks for the schema, wherever in the document it stands.
    pub(super) fn check(self, document: &Document) -> Result<(), Vec<GraphQlError>> {
        if self == Self::Allowed {
            return Ok(());
        }
        let mut errors = Vec::new();
        let mut refuse = |name: &str, at: Option<SourceSpan>| {
            let message = format!("`{name}` asks for the schema, and introspection is off");
            errors.push(located("INTROSPECTION_DISABLED", message, place(at, &document.sources)));
        };
        for definition in &document.definitions {
            let set = match definition {
                Definition::OperationDefinition(operation) => &operation.selection_set,
                Definition::FragmentDefinition(fragment) => &fragment.selection_set,
                _ => continue,
            };
            parse::each(set, &mut |selection| match selection {
                Selection::Field(field) if matches!(field.name.as_str(), "__schema" | "__type") => {
                    refuse(&field.name, field.location());
                }
                _ => {}
            });
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
