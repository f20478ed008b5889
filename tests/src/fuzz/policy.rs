//! Policies as texts and as programs, whatever they say.

use std::sync::Arc;

use coulis::{
    policy::{
        Arena, Attribute, Budget, Constant, Decision, Expression, Facts, Field, Function, Op, Operand, Part,
        Policy, Predicate, Program, Reading, Root, Scratch, Val,
    },
    value::Document,
};

const EVENT: &str =
    r#"{"id":7,"s":"\u00e9a","l":[1,2.5,"a",null],"o":{"s":"a","n":-1},"f":true,"t":"2024-05-06T07:08:09Z"}"#;

struct Event(Document);

impl Event {
    fn new() -> Self {
        Self(Document::parse(EVENT, super::DEPTH_MAX).expect("an event"))
    }
}

impl Facts for Event {
    fn root<'a>(&'a self, root: &Root, arena: &'a Arena) -> Val<'a> {
        if let Root::Before = root { Val::Null } else { Val::of(self.0.root(), arena) }
    }

    fn attribute(&self, attribute: Attribute) -> Option<Val<'_>> {
        (attribute == Attribute::User).then_some(Val::Id("7"))
    }
}

fn map(entries: &[(&str, Constant)]) -> Constant {
    Constant::Map(entries.iter().map(|(key, value)| (Constant::from(*key), value.clone())).collect())
}

/// A policy's text is judged without a crash, an error names a place inside it, and what compiles says the same in
/// whatever order its names become known, within the budget.
///
/// # Panics
/// If one of these breaks.
pub fn policy_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let event = Event::new();
    let list = Constant::List([Constant::Int(1), "a".into()].into());
    let context =
        map(&[("user_id", Constant::Id("7".into())), ("tenant_id", Constant::Null), ("roles", list.clone())]);
    let variables =
        map(&[("l", list), ("n", Constant::Int(3)), ("s", "a".into()), ("f", Constant::Bool(true))]);
    match Policy::new(&[Part::Text(text)], Budget { steps: 20_000, bytes: 1 << 16, ..Budget::default() }) {
        Ok(policy) => {
            if let Ok(predicate) = policy.specialise(&context, &Constant::Null, &variables) {
                decide(&predicate, &event);
            }
        }
        Err(error) => {
            let lines = text.split('\n').count() as u32;
            assert!((1..=lines).contains(&error.at.line) && error.at.column > 0, "{error}: {:?}", error.at);
            assert!(!error.message.is_empty());
        }
    }
    let names = ["ctx", "vars"];
    let value = |known: &[&str]| {
        let expression = Expression::new(text, names.into_iter(), known).ok()?;
        Some(expression.value(&[context.clone(), variables.clone()]))
    };
    match (value(&[]), value(&names)) {
        (Some(Err(error)), _) | (_, Some(Err(error))) if error.message.ends_with("is spent") => {}
        (Some(late), Some(early)) => assert_eq!(late.ok(), early.ok(), "{text}"),
        (None, None) => {}
        _ => panic!("compiled for one order only: {text}"),
    }
}

/// A decision that says the same again, and the same after the keys where all of them hold.
fn decide(predicate: &Predicate, event: &Event) {
    let (arena, mut scratch) = (Arena::new(), Scratch::default());
    let mut reading = Reading::new(predicate.program(), event, &arena);
    let decision = predicate.decide(&mut reading, &mut scratch, false);
    assert_eq!(predicate.decide(&mut reading, &mut scratch, false), decision);
    assert_eq!(predicate.admits(event), decision == Decision::Admitted);
    if decision == Decision::Admitted {
        assert_eq!(predicate.decide(&mut reading, &mut scratch, true), decision);
    }
}

/// A program that is verified runs to an end, within the budget.
///
/// # Panics
/// If it does not.
pub fn policy_program(bytes: &[u8]) {
    let text = |text: &str| Constant::from(text);
    let field =
        |path: &[&str]| Field { root: Root::Event, path: path.iter().map(|key| Box::from(*key)).collect() };
    let list = Constant::List([Constant::Int(1), text("a"), Constant::Bool(true)].into());
    let mut program = Program {
        fields: vec![field(&["l"]), field(&["o"]), field(&["s"]), field(&["o", "n"]), field(&[])],
        literals: vec![
            Constant::Bool(true),
            text("s"),
            Constant::Int(1),
            list.clone(),
            Constant::List([].into()),
        ],
        registers: 5,
        cursors: 2,
        ..Program::default()
    };
    program.code = bytes.chunks_exact(6).map(|bytes| op(bytes.try_into().expect("six bytes"))).collect();
    let Ok(program) = program.verify() else { return };
    for budget in [
        Budget { steps: 2_000, bytes: 1 << 12, ..Budget::default() },
        Budget { steps: 20_000, bytes: 1 << 18, ..Budget::default() },
    ] {
        let row = [list.clone(), text("a")].into();
        let Some(predicate) = Predicate::new(Arc::new(program.clone()), row, budget) else { return };
        let (event, arena, mut scratch) = (Event::new(), Arena::new(), Scratch::default());
        let mut reading = Reading::new(predicate.program(), &event, &arena);
        predicate.decide(&mut reading, &mut scratch, false);
        predicate.decide(&mut reading, &mut scratch, true);
    }
}

/// One instruction of six bytes.
fn op([code, function, a, b, c, d]: [u8; 6]) -> Op {
    const FUNCTIONS: [Function; 30] = [
        Function::Equal,
        Function::NotEqual,
        Function::Less,
        Function::LessEqual,
        Function::Greater,
        Function::GreaterEqual,
        Function::In,
        Function::Add,
        Function::Subtract,
        Function::Multiply,
        Function::Divide,
        Function::Remainder,
        Function::Negate,
        Function::Not,
        Function::Index,
        Function::Size,
        Function::StartsWith,
        Function::EndsWith,
        Function::Contains,
        Function::Matches,
        Function::Bool,
        Function::Bytes,
        Function::Double,
        Function::Duration,
        Function::Dyn,
        Function::Int,
        Function::String,
        Function::Timestamp,
        Function::Type,
        Function::Uint,
    ];
    let function = FUNCTIONS[usize::from(function) % FUNCTIONS.len()];
    let operand = |byte: u8| {
        let number = u16::from(byte >> 2);
        match byte & 3 {
            0 => Operand::Field(number),
            1 => Operand::Literal(number),
            2 => Operand::Row(number),
            _ => Operand::Register(number),
        }
    };
    let (value, other, to) = (operand(a), operand(b), u16::from(c));
    let (number, end, otherwise) = (u16::from(b), u16::from(d), u16::from(b));
    match code % 22 {
        0 => Op::Copy { from: value, to },
        1 => Op::Unary { function, a: value, to },
        2 => Op::Binary { function, a: value, b: other, to },
        3 => Op::Select { of: value, key: number, to },
        4 => Op::Has { of: value, key: number, to },
        5 => Op::HasField { field: number, to },
        6 => Op::List { first: number, len: end, to },
        7 => Op::Map { first: number, len: end, to },
        8 => Op::Append { value, to },
        9 => Op::Collect { to },
        10 => Op::And { value, to, end },
        11 => Op::Or { value, to, end },
        12 => Op::AndTest { function, field: u16::from(a), constant: other, to, end },
        13 => Op::OrTest { function, field: u16::from(a), constant: other, to, end },
        14 => Op::If { condition: value, to, otherwise, end },
        15 => Op::Jump { target: end },
        16 => Op::Start { range: value, cursor: number, to, end },
        17 => Op::Next { cursor: number, item: to, end },
        18 => Op::While { condition: value, end },
        19 => Op::Again { target: end },
        20 => Op::Return { value: other },
        _ => Op::Return { value },
    }
}
