//! Any expression with any bindings, through the pipeline of policies and no other.

use bumpalo::Bump;

use super::{
    Bindings, Budget, PASS_BYTES, Policy, PolicyError, Position, constant::Constant, parse, scope::Scope,
    split, value_of,
};
use crate::stack::with_room;

/// Names of bindings: their numbers are 16 bits wide.
const BINDINGS_MAX: usize = u16::MAX as usize;

/// A compiled expression and the names of its bindings.
#[derive(Debug)]
pub struct Expression(Policy);

impl Expression {
    /// Compiles `text` with these bindings, of which those in `known` are folded before the others are known.
    ///
    /// Names that mean nothing and operations without a meaning are no values when the expression runs, as the
    /// specification has it, not errors of the text.
    ///
    /// # Errors
    /// A text that cannot be read, and more names than have a number.
    pub fn new<'a>(
        text: &str,
        names: impl Iterator<Item = &'a str>,
        known: &[&str],
    ) -> Result<Self, PolicyError> {
        let names: Vec<_> = names.take(BINDINGS_MAX + 1).collect();
        if names.len() > BINDINGS_MAX {
            return Err(PolicyError::new(Position::default(), format!("more than {BINDINGS_MAX} bindings")));
        }
        let scope = Scope::of(names.into_iter(), known);
        with_room(PASS_BYTES, || {
            let mut expr = parse::parse(text, 0, &scope)?;
            split::patterns(&mut expr);
            Policy::of(expr, scope, Budget::default()).map(Self)
        })
    }

    /// The value for these bindings, in the order of their names.
    ///
    /// # Errors
    /// The problem, where it stands in the text.
    pub fn value(&self, bindings: &[Constant]) -> Result<Constant, PolicyError> {
        let predicate = self.0.predicate(&self.0.row(bindings))?;
        let value =
            value_of(&predicate.program, &predicate.row, &Bindings(bindings), &Bump::new(), predicate.budget);
        match value {
            Constant::Error(problem) => Err(PolicyError::new(Position::default(), problem.to_string())),
            value => Ok(value),
        }
    }
}

/// Evaluates `text` with these bindings.
///
/// # Errors
/// A text that cannot be read, or one that has no value.
pub fn evaluate(text: &str, bindings: &[(&str, Constant)]) -> Result<Constant, PolicyError> {
    let values: Vec<_> = bindings.iter().map(|(_, value)| value.clone()).collect();
    Expression::new(text, bindings.iter().map(|(name, _)| *name), &[])?.value(&values)
}
