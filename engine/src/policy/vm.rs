//! Runs a verified program: no allocation, no recursion, at most one visit to each instruction.

use std::borrow::Cow;

use super::program::{Field, Op, Verified};
use crate::id::Identity;

/// What a field of an event holds, as far as a predicate can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// Not there, or `null`.
    Absent,
    /// An identity in canonical text.
    Is(Cow<'a, str>),
    /// There, but no identity: a boolean, a fraction, an array, an object. Nothing equals it, and it is not absent.
    Incomparable,
}

impl Fact<'_> {
    /// The identity's text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Is(text) => Some(text),
            Self::Absent | Self::Incomparable => None,
        }
    }
}

/// Where the machine reads fields.
pub trait Facts {
    /// What `field` holds.
    fn fact(&self, field: &Field) -> Fact<'_>;
}

pub(super) fn run(verified: &Verified, constants: &[Option<Identity>], facts: &impl Facts) -> bool {
    let program = verified.program();
    let mut loaded = Fact::Absent;
    let mut at = 0;
    // Verified: jumps go forward, so this ends; a number out of range would deny.
    while let Some(op) = program.code.get(at) {
        at += 1;
        match *op {
            Op::Load(field) => {
                let Some(field) = program.fields.get(usize::from(field)) else { return false };
                loaded = facts.fact(field);
                if loaded == Fact::Incomparable {
                    return false;
                }
            }
            Op::SkipIfAbsent(target) => {
                if loaded == Fact::Absent {
                    at = usize::from(target);
                }
            }
            Op::DenyUnlessEqual(constant) => {
                let Some(Some(constant)) = constants.get(usize::from(constant)) else { return false };
                if !matches!(&loaded, Fact::Is(text) if text == constant.as_str()) {
                    return false;
                }
            }
            Op::Allow => return true,
            Op::Deny => return false,
        }
    }
    false
}
