//! Who may read which field: rules by role and OAuth scope, held when a subscription is registered.
//!
//! ```
//! # use coulis::security::access::{Access, Otherwise, Rule};
//! let access = Access::new()
//!     .rule(Rule::at("users.email").any_role(["admin", "support"]).otherwise(Otherwise::Mask))
//!     .rule(Rule::at("users.card").all_scopes(["billing"]).otherwise(Otherwise::KeepLast(4)))
//!     .required_scopes("users", ["read:users"]);
//! let gate = access.compile(None)?;
//!
//! let words = |words: &[&str]| words.iter().map(|word| Box::from(*word)).collect::<Vec<Box<str>>>();
//! assert!(gate.may_read("users.email", &words(&["admin"]), &words(&["read:users"])));
//! assert!(!gate.may_read("users.email", &words(&["admin"]), &[]));
//! # Ok::<(), coulis::security::access::AccessError>(())
//! ```
//!
//! # What holds
//! Every rule that matches a field must be met: rules add up, their order says nothing, and of several that are not
//! met the one that shows least decides. A rule for an interface holds for the types that implement it. A rule holds
//! for everything inside its field. `__typename` is a field like others where documents tell it, and always readable
//! where the schema fixes the type; where it does not, a type condition reads it.
//!
//! A selection without selections of its own, whose value no schema describes, may hold an object; where something in
//! there is hidden from the reader, an object gives an error, and scalars are as they are.
//!
//! # Why not at each event
//! A projection says what is read. Taking fields out of it once costs an event nothing, and what is not in the
//! projection cannot be rendered, by whatever way an event comes: live, replayed or from a resolver.

mod error;
mod gate;
mod json;
mod lookup;
mod rule;
mod types;

#[cfg(all(test, not(coulis_loom)))]
mod tests;

pub use error::AccessError;
pub use gate::Gate;
pub use rule::{Otherwise, Rule};

use crate::plan::Schema;

/// The rules of one engine; see the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    rules: Vec<Rule>,
    deny_by_default: bool,
}

impl Access {
    /// No rules: everything may be read.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same and `rule`.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// The same, where `field` (see [`Rule::at`]), which may be a root field, needs all of `scopes`; without them a
    /// subscription is refused.
    #[must_use]
    pub fn required_scopes<S: Into<Box<str>>>(
        self,
        field: impl Into<Box<str>>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        self.rule(Rule::at(field).all_scopes(scopes))
    }

    /// Whether a field without a rule is refused. An object needs a rule of its own or a path below it, `__typename`
    /// none. Without a schema, a field without selections that holds an object is read only under `**`. Default: no.
    #[must_use]
    pub fn deny_by_default(self, deny: bool) -> Self {
        Self { deny_by_default: deny, ..self }
    }

    /// Holds the rules against a schema, or, without one, against themselves.
    ///
    /// # Errors
    /// A rule that is malformed, that names what the schema does not have, or a type where there is no schema.
    pub fn compile(self, schema: Option<&Schema>) -> Result<Gate, AccessError> {
        Gate::new(self.rules, self.deny_by_default, schema)
    }
}
