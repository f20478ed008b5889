//! Who may see an event: predicates compiled to bytecode.
//!
//! A program is compiled once and shared; each subscription brings a row of constants (its user, its tenant).
//! Whatever goes wrong while a program runs is a no. This room knows values and names of fields, not events, plans
//! or shards: what a field holds comes through [`Facts`].

mod program;
pub mod standard;
mod vm;

pub use program::{Field, KEYS_MAX, Key, Op, Program, ProgramError, Verified};
pub use vm::{Fact, Facts};

use std::sync::Arc;

use crate::id::Identity;

/// A program with one subscription's constants.
///
/// Equal predicates admit the same events: they have equal programs and equal constants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Predicate {
    program: Arc<Verified>,
    constants: Arc<[Option<Identity>]>,
}

impl Predicate {
    /// Binds `constants` to a program.
    ///
    /// # Errors
    /// `ProgramError` if the program reads a constant that is not there.
    pub fn new(program: Arc<Verified>, constants: Arc<[Option<Identity>]>) -> Result<Self, ProgramError> {
        if program.constants() > constants.len() {
            return Err(ProgramError::Constants { needed: program.constants(), given: constants.len() });
        }
        Ok(Self { program, constants })
    }

    /// The program, which many predicates share.
    pub fn program(&self) -> &Arc<Verified> {
        &self.program
    }

    /// The constant with this number, if there is one and it has a value.
    pub fn constant(&self, number: u16) -> Option<&Identity> {
        self.constants.get(usize::from(number))?.as_ref()
    }

    /// Whether the event with these facts may be seen.
    pub fn admits(&self, facts: &impl Facts) -> bool {
        vm::run(&self.program, &self.constants, facts)
    }
}
