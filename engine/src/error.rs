//! What can go wrong, one enum for each verb, each with a stable code for clients.

use std::fmt;

/// A bound of [`crate::limits::Limits`] that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// The bound's name in [`crate::limits::Limits`].
    pub limit: &'static str,
    /// What was asked for, in the unit of the bound.
    pub asked: usize,
    /// The bound.
    pub max: usize,
}

impl LimitExceeded {
    /// Refuses `asked` where it is above `max`.
    ///
    /// # Errors
    /// `LimitExceeded` when `asked > max`.
    pub fn check(limit: &'static str, asked: usize, max: usize) -> Result<(), Self> {
        if asked > max { Err(Self { limit, asked, max }) } else { Ok(()) }
    }
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is {}, and {} was asked for: raise the limit or ask for less",
            self.limit, self.max, self.asked
        )
    }
}

impl std::error::Error for LimitExceeded {}

/// Where a token of a GraphQL document starts; both numbers count from 1 (GraphQL specification, section 7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One error of a GraphQL document or its variables, as the GraphQL specification (section 7.1.2) shapes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphQlError {
    /// What is wrong, for a person.
    pub message: String,
    /// Where it is wrong, if it is about a place in the document.
    pub locations: Vec<Location>,
    /// A stable word for programs, such as `GRAPHQL_VALIDATION_FAILED`; sent as `extensions.code`.
    pub code: &'static str,
}

impl GraphQlError {
    /// An error that is about no place in the document.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { message: message.into(), locations: Vec::new(), code }
    }
}

impl fmt::Display for GraphQlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.locations.first() {
            Some(Location { line, column }) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for GraphQlError {}
