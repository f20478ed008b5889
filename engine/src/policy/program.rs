//! The bytecode of predicates and its verifier: what is verified runs forward only and ends.

use std::fmt;

/// A field of an event that a predicate reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The tenant: the attribute given at publish, or else this key of the document.
    Tenant(Box<str>),
    /// The user: the attribute given at publish, or else this key of the document.
    User(Box<str>),
}

/// One instruction. The machine has one register, which holds the last field loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Loads field number `n`. A field that cannot be compared denies.
    Load(u16),
    /// Goes to instruction `n`, further on, if the loaded field is absent.
    SkipIfAbsent(u16),
    /// Denies if the loaded field is absent or is not constant number `n` (an absent constant equals nothing).
    DenyUnlessEqual(u16),
    /// Ends: the event may be seen.
    Allow,
    /// Ends: the event may not be seen.
    Deny,
}

/// A predicate's instructions and the fields they read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    /// The fields, by number.
    pub fields: Vec<Field>,
    /// The instructions, run from the first.
    pub code: Vec<Op>,
}

/// A program that [`Program::verify`] accepted: every number is in range and every jump goes forward.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verified {
    program: Program,
    constants: usize,
    keys: Box<[Key]>,
    keys_only: bool,
}

/// An equality that a program asks first: whatever it does not hold for is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The field's number.
    pub field: u16,
    /// The number of the constant that the field must equal.
    pub constant: u16,
    /// An absent field passes.
    pub optional: bool,
}

/// Keys of one program at most; what it asks beyond them is asked of each candidate.
pub const KEYS_MAX: usize = 4;

/// Why a program or its constants are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramError {
    /// Instruction `at` names a field or a target that is not there.
    OutOfRange {
        /// The instruction's position.
        at: usize,
    },
    /// The last instruction neither allows nor denies.
    Unfinished,
    /// Fewer constants than the program reads.
    Constants {
        /// How many the program reads.
        needed: usize,
        /// How many were given.
        given: usize,
    },
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { at } => write!(f, "instruction {at} names something that is not there"),
            Self::Unfinished => write!(f, "the last instruction neither allows nor denies"),
            Self::Constants { needed, given } => write!(f, "{needed} constants needed, {given} given"),
        }
    }
}

impl std::error::Error for ProgramError {}

impl Program {
    /// Checks the program once, so that running it needs no checks.
    ///
    /// # Errors
    /// A field or jump target out of range, a jump that does not go forward, a missing end.
    pub fn verify(self) -> Result<Verified, ProgramError> {
        let mut constants = 0;
        for (at, op) in self.code.iter().enumerate() {
            let in_range = match *op {
                Op::Load(field) => usize::from(field) < self.fields.len(),
                Op::SkipIfAbsent(target) => (at + 1..self.code.len()).contains(&usize::from(target)),
                Op::DenyUnlessEqual(constant) => {
                    constants = constants.max(usize::from(constant) + 1);
                    true
                }
                Op::Allow | Op::Deny => true,
            };
            if !in_range {
                return Err(ProgramError::OutOfRange { at });
            }
        }
        match self.code.last() {
            Some(Op::Allow | Op::Deny) => {
                let (keys, rest) = keys(&self.code);
                let keys_only = matches!(self.code[rest..], [Op::Allow, ..]);
                Ok(Verified { program: self, constants, keys, keys_only })
            }
            _ => Err(ProgramError::Unfinished),
        }
    }
}

/// The equalities that stand at the front of `code`, one after the other, and where they end.
fn keys(code: &[Op]) -> (Box<[Key]>, usize) {
    let (mut keys, mut at) = (Vec::new(), 0);
    while keys.len() < KEYS_MAX {
        let (key, end) = match code[at..] {
            [Op::Load(field), Op::DenyUnlessEqual(constant), ..] => {
                (Key { field, constant, optional: false }, at + 2)
            }
            [Op::Load(field), Op::SkipIfAbsent(target), Op::DenyUnlessEqual(constant), ..]
                if usize::from(target) == at + 3 =>
            {
                (Key { field, constant, optional: true }, at + 3)
            }
            _ => break,
        };
        keys.push(key);
        at = end;
    }
    (keys.into(), at)
}

impl Verified {
    /// The equalities that stand at the front of the program, `KEYS_MAX` at most.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether an event that all keys hold for is admitted.
    pub fn is_keys_only(&self) -> bool {
        self.keys_only
    }

    /// The field with this number.
    pub fn field(&self, number: u16) -> Option<&Field> {
        self.program.fields.get(usize::from(number))
    }

    /// How many constants the program reads.
    pub fn constants(&self) -> usize {
        self.constants
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_that_end_are_verified() {
        let check = |code: &[Op]| {
            let fields = vec![Field::Tenant("t".into())];
            Program { fields, code: code.to_vec() }.verify().map(|verified| verified.constants())
        };
        assert_eq!(check(&[Op::Load(0), Op::DenyUnlessEqual(2), Op::Allow]), Ok(3));
        assert_eq!(check(&[]), Err(ProgramError::Unfinished));
        assert_eq!(check(&[Op::Load(0)]), Err(ProgramError::Unfinished));
        assert_eq!(check(&[Op::Load(1), Op::Allow]), Err(ProgramError::OutOfRange { at: 0 }));
        assert_eq!(
            check(&[Op::Load(0), Op::SkipIfAbsent(1), Op::Allow]),
            Err(ProgramError::OutOfRange { at: 1 })
        );
        assert_eq!(check(&[Op::SkipIfAbsent(9), Op::Allow]), Err(ProgramError::OutOfRange { at: 0 }));
    }
}
