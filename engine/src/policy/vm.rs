//! Runs verified programs: no recursion, no allocation but the arena's, as many steps as the budget allows.

use bumpalo::Bump;

use super::{
    constant::Constant,
    function::{Function, Work},
    program::{Attribute, Field, Op, Operand, Program, Root, Verified},
    val::{Elements, Link, Pairs, Problem, Val, equal},
};

/// Where the machine reads fields.
pub trait Facts {
    /// What stands at `root`; for [`Root::Event`], the document without attributes.
    fn root<'a>(&'a self, root: &Root, arena: &'a Bump) -> Val<'a>;

    /// An attribute, where the publisher gave it.
    fn attribute(&self, attribute: Attribute) -> Option<Val<'_>>;
}

/// The fields of one event as one program numbers them; each is looked up once, when it is first asked for.
#[derive(Debug)]
pub struct Reading<'a, F> {
    fields: &'a [Field],
    loaded: &'a mut [Val<'a>],
    facts: &'a F,
    arena: &'a Bump,
}

impl<'a, F: Facts> Reading<'a, F> {
    /// Nothing was read yet. `arena` takes what does not stand in the event as it is read.
    pub fn new(program: &'a Verified, facts: &'a F, arena: &'a Bump) -> Self {
        let fields = &*program.program.fields;
        let loaded = arena.alloc_slice_fill_copy(fields.len(), Val::Unread);
        Self { fields, loaded, facts, arena }
    }

    /// What field `number` holds.
    #[inline]
    pub fn field(&mut self, number: u16) -> Val<'a> {
        match self.loaded.get(usize::from(number)) {
            Some(Val::Unread) => self.load(usize::from(number)),
            Some(value) => *value,
            None => Val::Error(Problem::NoSuchKey),
        }
    }

    /// The same where it stands.
    #[inline(always)]
    fn look(&mut self, number: u16) -> &Val<'a> {
        let number = usize::from(number);
        if let Some(Val::Unread) = self.loaded.get(number) {
            self.load(number);
        }
        self.loaded.get(number).unwrap_or(&Val::Error(Problem::NoSuchKey))
    }

    #[inline(never)]
    fn load(&mut self, number: usize) -> Val<'a> {
        let value = load(&self.fields[number], self.facts, self.arena);
        self.loaded[number] = value;
        value
    }
}

/// Looks a field up.
fn load<'a>(field: &Field, facts: &'a impl Facts, arena: &'a Bump) -> Val<'a> {
    let root = match &field.root {
        Root::Attribute(attribute) => match facts.attribute(*attribute) {
            Some(value) if field.path.len() == 1 => return value,
            Some(_) => return Val::Error(Problem::NoSuchOverload),
            None => facts.root(&Root::Event, arena),
        },
        Root::Event if field.path.is_empty() => return whole(facts, arena),
        root => facts.root(root, arena),
    };
    field.path.iter().fold(root, |value, key| select(value, key, arena))
}

/// The document with the attributes laid over it.
fn whole<'a>(facts: &'a impl Facts, arena: &'a Bump) -> Val<'a> {
    let document = facts.root(&Root::Event, arena);
    let Some(mut entries) = document.entries() else { return document };
    let mut all = bumpalo::collections::Vec::new_in(arena);
    for (name, attribute) in Attribute::ALL {
        all.extend(facts.attribute(attribute).map(|value| (Val::Text(name), value)));
    }
    let given = all.len();
    while let Some((key, value)) = entries.next(arena) {
        if !all[..given].iter().any(|(name, _)| name.text() == key.text()) {
            all.push((key, value));
        }
    }
    Val::Map(all.into_bump_slice())
}

fn select<'a>(value: Val<'a>, key: &str, arena: &'a Bump) -> Val<'a> {
    match value {
        Val::Error(_) => value,
        Val::Object(node) => node.get(key).map_or(Val::Error(Problem::NoSuchKey), |found| Val::of(found, arena)),
        Val::Map(_) | Val::Entries(_) => {
            value.get(Val::Text(key), arena).unwrap_or(Val::Error(Problem::NoSuchKey))
        }
        _ => Val::Error(Problem::NoSuchOverload),
    }
}

/// Where a loop stands.
#[derive(Clone, Debug)]
enum Cursor<'a> {
    None,
    Elements(Elements<'a>),
    Keys(Pairs<'a>),
}

/// Registers of a run without loops that need no arena.
const FEW: usize = 3;

/// Runs the tests at the front of a conjunction that need no more than a look, from instruction `from` on: the clauses
/// of most policies. Answers the decision, or the instruction where [`run`] has to go on.
#[inline]
pub(super) fn run_tests<F: Facts>(
    program: &Verified,
    from: usize,
    row: &[Constant],
    reading: &mut Reading<'_, F>,
) -> Result<bool, usize> {
    let program = &program.program;
    let mut at = from;
    loop {
        match program.code.get(at) {
            Some(&Op::AndTest { function, field, constant, to: 0, .. }) => {
                let constant = match constant {
                    Operand::Literal(number) => program.literals.get(usize::from(number)),
                    Operand::Row(number) => row.get(usize::from(number)),
                    Operand::Field(_) | Operand::Register(_) => None,
                };
                let Some(constant) = constant else { return Err(at) };
                match function.at_once(reading.look(field), constant) {
                    Some(true) => at += 1,
                    Some(false) => return Ok(false),
                    None => return Err(at),
                }
            }
            Some(Op::Return { value: Operand::Register(0) }) => return Ok(true),
            _ => return Err(at),
        }
    }
}

/// Runs `program` from instruction `from`: 0, or `after_keys` where all keys hold. Registers are true at the start.
pub(super) fn run<'r, 'e: 'r, F: Facts>(
    program: &'r Verified,
    from: usize,
    row: &'r [Constant],
    reading: &mut Reading<'e, F>,
    work: &mut Work<'r>,
) -> Val<'r> {
    let program = &program.program;
    let registers = usize::from(program.registers);
    if registers <= FEW && program.cursors == 0 {
        let registers = &mut [Val::Bool(true); FEW];
        return Run { program, row, reading, registers, cursors: &mut [] }.run(from, work);
    }
    let arena = work.arena;
    let Ok(registers) = arena.try_alloc_slice_fill_copy(registers, Val::Bool(true)) else {
        return Val::Error(Problem::Memory);
    };
    let mut cursors = bumpalo::collections::Vec::new_in(arena);
    cursors.resize(usize::from(program.cursors), Cursor::None);
    Run { program, row, reading, registers, cursors: &mut cursors }.run(from, work)
}

struct Run<'m, 'r, 'e, F> {
    program: &'r Program,
    row: &'r [Constant],
    reading: &'m mut Reading<'e, F>,
    registers: &'m mut [Val<'r>],
    cursors: &'m mut [Cursor<'r>],
}

impl<'r, 'e: 'r, F: Facts> Run<'_, 'r, 'e, F> {
    fn run(&mut self, from: usize, work: &mut Work<'r>) -> Val<'r> {
        let mut at = from;
        // Verified: every number is in range, and code goes forward but for loops, which end.
        while let Some(op) = self.program.code.get(at) {
            at += 1;
            match *op {
                Op::AndTest { function, field, constant, to, end } => match self.test(function, field, constant, work) {
                    Val::Bool(true) => {}
                    value => at = self.chain(false, value, to, at, end),
                },
                Op::OrTest { function, field, constant, to, end } => match self.test(function, field, constant, work) {
                    Val::Bool(false) => {}
                    value => at = self.chain(true, value, to, at, end),
                },
                Op::And { value, to, end } => match self.value(value) {
                    Val::Bool(true) => {}
                    value => at = self.chain(false, value, to, at, end),
                },
                Op::Or { value, to, end } => match self.value(value) {
                    Val::Bool(false) => {}
                    value => at = self.chain(true, value, to, at, end),
                },
                Op::Copy { from, to } => {
                    let value = self.value(from);
                    self.set(to, value);
                }
                Op::Unary { function, a, to } => {
                    let a = self.value(a);
                    self.set(to, function.unary(a, work));
                }
                Op::Binary { function, a, b, to } => {
                    let value = self.binary(function, a, b, work);
                    self.set(to, value);
                }
                Op::Select { of, key, to } => {
                    let (of, key) = (self.value(of), self.key(key));
                    self.set(to, select(of, key, work.arena));
                }
                Op::Has { of, key, to } => {
                    let (of, key) = (self.value(of), self.key(key));
                    self.set(to, has(select(of, key, work.arena), of));
                }
                Op::HasField { field, to } => {
                    let found = self.reading.field(field);
                    self.set(to, has(found, Val::Null));
                }
                Op::If { condition, to, otherwise, end } => match self.value(condition) {
                    Val::Bool(true) => {}
                    Val::Bool(false) => at = otherwise.into(),
                    value => {
                        self.set(to, no_bool(value));
                        at = end.into();
                    }
                },
                Op::Jump { target } => at = target.into(),
                Op::Return { value } => return self.value(value),
                Op::While { condition, end } => {
                    if let Val::Bool(false) = self.value(condition) {
                        at = end.into();
                    }
                }
                Op::Again { target } => {
                    if let Err(problem) = work.spend(at as u32 - u32::from(target)) {
                        return Val::Error(problem);
                    }
                    at = target.into();
                }
                op => at = self.rarely(op, at, work),
            }
        }
        Val::Error(Problem::Steps)
    }

    /// Lists, maps and loops.
    #[inline(never)]
    fn rarely(&mut self, op: Op, at: usize, work: &mut Work<'r>) -> usize {
        match op {
            Op::List { first, len, to } => {
                let value = self.list(first, len, work).map_or_else(Val::Error, Val::List);
                self.set(to, value);
            }
            Op::Map { first, len, to } => {
                let value = self.map(first, len, work);
                self.set(to, value);
            }
            Op::Append { value, to } => {
                let value = self.value(value);
                let list = self.value(Operand::Register(to));
                self.set(to, append(list, value, work));
            }
            Op::Collect { to } => {
                let list = self.value(Operand::Register(to));
                self.set(to, collect(list, work));
            }
            Op::Start { range, cursor, to, end } => {
                let range = self.value(range);
                let start = match (range.elements(), range.entries()) {
                    (Some(elements), _) => Cursor::Elements(elements),
                    (_, Some(entries)) => Cursor::Keys(entries),
                    _ => {
                        self.set(to, if let Val::Error(_) = range { range } else { Val::Error(Problem::NoSuchOverload) });
                        return end.into();
                    }
                };
                self.cursors[usize::from(cursor)] = start;
            }
            Op::Next { cursor, item, end } => {
                let next = match &mut self.cursors[usize::from(cursor)] {
                    Cursor::Elements(elements) => elements.next(work.arena),
                    Cursor::Keys(entries) => entries.next(work.arena).map(|(key, _)| key),
                    Cursor::None => None,
                };
                match next {
                    Some(value) => self.set(item, value),
                    None => return end.into(),
                }
            }
            _ => {}
        }
        at
    }

    fn test(&mut self, function: Function, field: u16, constant: Operand, work: &mut Work<'r>) -> Val<'r> {
        let (value, known) = (self.reading.field(field), self.value(constant));
        function.binary(value, known, work)
    }

    #[inline]
    fn binary(&mut self, function: Function, a: Operand, b: Operand, work: &mut Work<'r>) -> Val<'r> {
        let (a, b) = (self.value(a), self.value(b));
        function.binary(a, b, work)
    }

    /// What ends a chain of `&&` (`absorbing` is false) or `||` (true), and where the run goes on.
    #[inline]
    fn chain(&mut self, absorbing: bool, value: Val<'r>, to: u16, at: usize, end: u16) -> usize {
        if let Val::Bool(_) = value {
            self.set(to, Val::Bool(absorbing));
            return end.into();
        }
        if let Val::Bool(_) = self.value(Operand::Register(to)) {
            self.set(to, no_bool(value));
        }
        at
    }

    #[inline]
    fn value(&mut self, operand: Operand) -> Val<'r> {
        match operand {
            Operand::Field(number) => self.reading.field(number),
            Operand::Literal(number) => self.program.literals[usize::from(number)].val(),
            Operand::Row(number) => self.row[usize::from(number)].val(),
            Operand::Register(number) => self.registers[usize::from(number)],
        }
    }

    fn key(&self, literal: u16) -> &'r str {
        self.program.literals[usize::from(literal)].val().text().unwrap_or_default()
    }

    #[inline]
    fn set(&mut self, to: u16, value: Val<'r>) {
        self.registers[usize::from(to)] = value;
    }

    /// The values of consecutive registers, unless one of them is none.
    fn list(&self, first: u16, len: u16, work: &Work<'r>) -> Result<&'r [Val<'r>], Problem> {
        let values = &self.registers[usize::from(first)..][..usize::from(len)];
        match values.iter().find_map(|value| if let Val::Error(problem) = value { Some(*problem) } else { None }) {
            Some(problem) => Err(problem),
            None => work.list(values.iter().copied()),
        }
    }

    fn map(&self, first: u16, len: u16, work: &mut Work<'r>) -> Val<'r> {
        let values = match self.list(first, len * 2, work) {
            Ok(values) => values,
            Err(problem) => return Val::Error(problem),
        };
        let mut entries = bumpalo::collections::Vec::with_capacity_in(usize::from(len), work.arena);
        for pair in values.chunks_exact(2) {
            let is_key = matches!(pair[0], Val::Bool(_) | Val::Int(_) | Val::Uint(_)) || pair[0].text().is_some();
            if !is_key || entries.iter().any(|(other, _)| equal(*other, pair[0], work.arena)) {
                return Val::Error(Problem::BadKey);
            }
            entries.push((pair[0], pair[1]));
        }
        Val::Map(entries.into_bump_slice())
    }
}

/// What a chain or a condition has instead of a truth.
fn no_bool(value: Val<'_>) -> Val<'_> {
    if let Val::Error(_) = value { value } else { Val::Error(Problem::NoSuchOverload) }
}

/// Whether a selection found something; other troubles than that stay.
fn has<'a>(found: Val<'a>, of: Val<'a>) -> Val<'a> {
    match found {
        Val::Error(Problem::NoSuchKey) if !matches!(of, Val::Error(_)) => Val::Bool(false),
        Val::Error(_) => found,
        _ => Val::Bool(true),
    }
}

fn append<'a>(list: Val<'a>, value: Val<'a>, work: &mut Work<'a>) -> Val<'a> {
    let before = match list {
        Val::Chain(before) => before,
        Val::List([]) => None,
        Val::Error(_) => return list,
        _ => return Val::Error(Problem::NoSuchOverload),
    };
    if let Val::Error(_) = value {
        return value;
    }
    let len = before.map_or(0, |before| before.len) + 1;
    let link = work.arena.try_alloc(Link { value, before, len });
    link.map_or(Val::Error(Problem::Memory), |link| Val::Chain(Some(link)))
}

fn collect<'a>(list: Val<'a>, work: &Work<'a>) -> Val<'a> {
    let Val::Chain(last) = list else { return list };
    let len = last.map_or(0, |last| last.len);
    let Ok(values) = work.arena.try_alloc_slice_fill_copy(len, Val::Null) else { return Val::Error(Problem::Memory) };
    let mut link = last;
    for place in values.iter_mut().rev() {
        let Some(Link { value, before, .. }) = link else { break };
        (*place, link) = (*value, *before);
    }
    Val::List(values)
}
