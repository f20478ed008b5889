//! The bytecode of expressions and its verifier: what is verified has every number in range and ends.
//!
//! A register machine. Code runs forward; the one way back is to the head of a loop, which takes the next element of
//! a finite list, so the only bound that is left to the run is the budget of steps.

use super::{
    constant::Constant,
    function::Function,
    ir::Position,
    val::{Problem, Val},
};

/// Where a run reads a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// What it is a field of.
    pub root: Root,
    /// Keys, from the outermost; empty: the root itself.
    pub path: Box<[Box<str>]>,
}

/// What fields are read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// The event's document, under the attributes given at publish.
    Event,
    /// An attribute where the publisher gave it, or else the document's field of that name.
    Attribute(Attribute),
    /// The document as it was before the change.
    Before,
    /// For isolation: the tenant given at publish, or else this key of the document; `null` where there is none.
    Tenant(Box<str>),
    /// For isolation: the user given at publish, or else this key of the document; `null` where there is none.
    User(Box<str>),
    /// A binding, by number.
    Named(u16),
}

/// What a publisher says of an event beside its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// `event_type`
    Type,
    /// `channel`
    Channel,
    /// `tenant_id`
    Tenant,
    /// `user_id`
    User,
    /// `federation_id`
    FederationId,
    /// `federation_service`
    FederationService,
}

impl Attribute {
    /// All, with the names that expressions use.
    pub const ALL: [(&'static str, Self); 6] = [
        ("event_type", Self::Type),
        ("channel", Self::Channel),
        ("tenant_id", Self::Tenant),
        ("user_id", Self::User),
        ("federation_id", Self::FederationId),
        ("federation_service", Self::FederationService),
    ];

    /// The attribute called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, attribute)| *attribute)
    }
}

/// Where an instruction takes a value from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A field, by number.
    Field(u16),
    /// A literal of the program.
    Literal(u16),
    /// What the subscription brings along.
    Row(u16),
    /// A register.
    Register(u16),
}

/// One instruction. `to` is a register; `end`, `otherwise` and `target` are instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "operands are explained once, above and in the variants' lines")]
pub enum Op {
    /// `to` = `from`.
    Copy { from: Operand, to: u16 },
    /// `to` = `function(a)`.
    Unary { function: Function, a: Operand, to: u16 },
    /// `to` = `function(a, b)`.
    Binary { function: Function, a: Operand, b: Operand, to: u16 },
    /// `to` = what `of` has under the text literal `key`.
    Select { of: Operand, key: u16, to: u16 },
    /// `to` = whether `of` has the text literal `key`.
    Has { of: Operand, key: u16, to: u16 },
    /// `to` = whether the event has this field.
    HasField { field: u16, to: u16 },
    /// `to` = a list of `len` registers from `first` on.
    List { first: u16, len: u16, to: u16 },
    /// `to` = a map of `len` keys and values in registers from `first` on.
    Map { first: u16, len: u16, to: u16 },
    /// Adds a value to the list that is made in `to`.
    Append { value: Operand, to: u16 },
    /// Ends the making of the list in `to`.
    Collect { to: u16 },
    /// `to` && `value`: false is final and goes to `end`; no value is kept until something is false.
    And { value: Operand, to: u16, end: u16 },
    /// `to` || `value`: the same for true.
    Or { value: Operand, to: u16, end: u16 },
    /// `to` && `function(field, constant)`, where the constant is a literal or in the row.
    AndTest { function: Function, field: u16, constant: Operand, to: u16, end: u16 },
    /// `to` || `function(field, constant)`.
    OrTest { function: Function, field: u16, constant: Operand, to: u16, end: u16 },
    /// Goes on where `condition` is true, to `otherwise` where it is false; `to` = no value, and to `end`, else.
    If { condition: Operand, to: u16, otherwise: u16, end: u16 },
    /// Goes to `target`.
    Jump { target: u16 },
    /// Sets a cursor before the first element of `range`; where there are none, `to` = no value, and to `end`.
    Start { range: Operand, cursor: u16, to: u16, end: u16 },
    /// `item` = the next element; to `end` behind the last.
    Next { cursor: u16, item: u16, end: u16 },
    /// To `end` where `condition` is false.
    While { condition: Operand, end: u16 },
    /// Back to a `Next`; spends steps.
    Again { target: u16 },
    /// Ends with a value.
    Return { value: Operand },
}

/// An equality that a program asks first: whatever it does not hold for is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The field's number.
    pub field: u16,
    /// What it must equal: a literal or a place in the row.
    pub value: Operand,
    /// It must equal one of the elements.
    pub list: bool,
    /// The value is an identity: integers compare by their digits.
    pub identity: bool,
    /// An event without the field passes.
    pub optional: bool,
}

/// Keys of one program at most; what it asks beyond them is asked of each candidate.
pub const KEYS_MAX: usize = 6;

/// Instructions, and all they refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    /// By number.
    pub fields: Vec<Field>,
    /// By number.
    pub literals: Vec<Constant>,
    /// Run from the first.
    pub code: Vec<Op>,
    /// Registers that are used.
    pub registers: u16,
    /// Cursors that are used.
    pub cursors: u16,
    /// The equalities that are asked first.
    pub keys: Vec<Key>,
    /// The first instruction after them.
    pub after_keys: u16,
    /// Whether nothing is asked after them.
    pub keys_only: bool,
    /// For each instruction, where its expression stands.
    pub positions: Vec<Position>,
}

/// Why a program is refused: the number of an instruction that names something that is not there, or where code does
/// not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// The instruction.
    pub at: usize,
}

impl std::fmt::Display for Unverified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "instruction {} names something that is not there", self.at)
    }
}

impl std::error::Error for Unverified {}

/// A program that [`Program::verify`] accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verified {
    pub(super) program: Program,
    row: usize,
}

impl Program {
    /// Checks the program once, so that running it needs no checks.
    ///
    /// # Errors
    /// The first instruction that names something out of range, jumps back other than to the head of a loop, or lets
    /// the code run out.
    pub fn verify(self) -> Result<Verified, Unverified> {
        let mut row = 0;
        for (at, op) in self.code.iter().enumerate() {
            if !self.is_sound(at, op, &mut row) {
                return Err(Unverified { at });
            }
        }
        let ends = matches!(self.code.last(), Some(Op::Return { .. } | Op::Jump { .. } | Op::Again { .. }));
        let keys = self.keys.iter().all(|key| {
            usize::from(key.field) < self.fields.len()
                && matches!(key.value, Operand::Literal(_) | Operand::Row(_))
                && self.has(key.value, &mut row)
        });
        if !ends || !keys || usize::from(self.after_keys) >= self.code.len() {
            return Err(Unverified { at: self.code.len() });
        }
        Ok(Verified { program: self, row })
    }

    fn is_sound(&self, at: usize, op: &Op, row: &mut usize) -> bool {
        let register = |number: u16| number < self.registers;
        let forward = |target: u16| usize::from(target) > at && usize::from(target) < self.code.len();
        let range = |first: u16, len: u16| usize::from(first) + usize::from(len) <= usize::from(self.registers);
        let text = |key: u16| matches!(self.literals.get(usize::from(key)), Some(Constant::Text(_)));
        let mut has = |operand| self.has(operand, row);
        match *op {
            Op::Copy { from, to } => has(from) && register(to),
            Op::Unary { a, to, .. } => has(a) && register(to),
            Op::Binary { a, b, to, .. } => has(a) && has(b) && register(to),
            Op::Select { of, key, to } | Op::Has { of, key, to } => has(of) && text(key) && register(to),
            Op::HasField { field, to } => has(Operand::Field(field)) && register(to),
            Op::List { first, len, to } => range(first, len) && register(to),
            Op::Map { first, len, to } => len < u16::MAX / 2 && range(first, len * 2) && register(to),
            Op::Append { value, to } => has(value) && register(to),
            Op::Collect { to } => register(to),
            Op::And { value, to, end } | Op::Or { value, to, end } => has(value) && register(to) && forward(end),
            Op::AndTest { field, constant, to, end, .. } | Op::OrTest { field, constant, to, end, .. } => {
                let is_constant = matches!(constant, Operand::Literal(_) | Operand::Row(_));
                has(Operand::Field(field)) && is_constant && has(constant) && register(to) && forward(end)
            }
            Op::If { condition, to, otherwise, end } => {
                has(condition) && register(to) && forward(otherwise) && forward(end)
            }
            Op::Jump { target } => forward(target),
            Op::Start { range, cursor, to, end } => {
                has(range) && cursor < self.cursors && register(to) && forward(end)
            }
            Op::Next { cursor, item, end } => cursor < self.cursors && register(item) && forward(end),
            Op::While { condition, end } => has(condition) && forward(end),
            Op::Again { target } => {
                usize::from(target) < at && matches!(self.code[usize::from(target)], Op::Next { .. })
            }
            Op::Return { value } => has(value),
        }
    }

    /// Whether `operand` is there; notes how long a row has to be.
    fn has(&self, operand: Operand, row: &mut usize) -> bool {
        match operand {
            Operand::Field(number) => usize::from(number) < self.fields.len(),
            Operand::Literal(number) => usize::from(number) < self.literals.len(),
            Operand::Register(number) => number < self.registers,
            Operand::Row(number) => {
                *row = (*row).max(usize::from(number) + 1);
                true
            }
        }
    }
}

impl Verified {
    /// The equalities that are asked first, `KEYS_MAX` at most.
    pub fn keys(&self) -> &[Key] {
        &self.program.keys
    }

    /// Whether an event that all keys hold for is admitted.
    pub fn is_keys_only(&self) -> bool {
        self.program.keys_only
    }

    /// The field with this number.
    pub fn field(&self, number: u16) -> Option<&Field> {
        self.program.fields.get(usize::from(number))
    }

    /// Whether `value` of the key's field means that the event lacks the field, and that this passes.
    pub(crate) fn passes_absent(&self, key: &Key, value: &Val<'_>) -> bool {
        let is_absent = match value {
            Val::Error(problem) => *problem == Problem::NoSuchKey,
            Val::Null => matches!(self.field(key.field), Some(Field { root: Root::Tenant(_) | Root::User(_), .. })),
            _ => false,
        };
        key.optional && is_absent
    }

    /// The literal with this number.
    pub fn literal(&self, number: u16) -> Option<&Constant> {
        self.program.literals.get(usize::from(number))
    }

    /// How many constants a subscription has to bring along.
    pub fn row(&self) -> usize {
        self.row
    }

    /// Where the expression of an instruction stands.
    pub(super) fn position(&self, at: usize) -> Position {
        self.program.positions.get(at).copied().unwrap_or_default()
    }
}
