//! What a policy may cost, whatever it says: its text, its program, a run.

use std::{mem, sync::Arc};

use super::{
    super::*,
    facts::{Event, context, decide, map, policy},
};
use crate::random::{Random, number};

/// A document with lists, texts with escapes, and nesting.
fn large() -> Event {
    let numbers: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let texts: Vec<_> = (0..100).map(|number| format!(r#""\u00e9{number}""#)).collect();
    let entries: Vec<_> = (0..100).map(|number| format!(r#""\u00e9{number}":{number}"#)).collect();
    let (numbers, texts, entries) = (numbers.join(","), texts.join(","), entries.join(","));
    let long = "\\u00e9".repeat(2000);
    let both = format!(r#""l":[{numbers}],"t":[{texts}],"m":{{{entries}}},"s":"{long}""#);
    Event::new(&format!(r#"{{{both},"again":{{{both}}},"x":1}}"#))
}

fn predicate(text: &str) -> Predicate {
    let variables = map(&[("yes", Constant::Bool(true)), ("l", Constant::List([Constant::Int(1)].into()))]);
    policy(text).specialise(&context(), &Constant::Null, &variables).unwrap()
}

fn decide_within(predicate: &Predicate, budget: Budget, event: &Event, scratch: &mut Scratch) -> Decision {
    let predicate = Predicate { budget, ..predicate.clone() };
    let arena = Arena::new();
    let mut reading = Reading::new(predicate.program(), event, &arena);
    predicate.decide(&mut reading, scratch, false)
}

/// Policies that make things, all true of [`large`] but for those that begin with two blanks.
const MAKING: [&str; 24] = [
    "event.l.map(x, string(x)).size() == 100",
    "event.l.map(x, string(double(x) / 7.0)).size() == 100",
    "event.l.map(x, {'a': x, string(x): 1}).size() == 100",
    "event.l.map(x, [x, x]).filter(x, x[0] > 5).size() == 94",
    "event.l.map(x, string(timestamp(x)) + string(duration('1s'))).size() == 100",
    "(event.l + event.l).size() == 200 && (event.s + event.s).size() == 4000",
    "!('é100' in event.t)",
    "'é99' in event.t",
    "event.t != event.l",
    "!(event.t == event.l.map(x, 'é' + string(x))) == false",
    "event.t == event.again.t && event.m == event.again.m",
    "  event.t != event.again.t",
    "  !(event.m == event.again.m)",
    "[event.t] == [event.again.t] && {'t': event.t} == {'t': event.again.t}",
    "!(event.t in [event.l, [], event.again.l])",
    "!('é100' in event.m) && event.m['é99'] == 99",
    "event == {} || event.exists(k, k == 'x')",
    "event.l.all(x, event.t.exists(t, t == 'é' + string(x)))",
    "event.t.exists_one(t, t == 'é7')",
    "!event.t.exists(t, t == 'x')",
    "event.t.all(t, t != 'x')",
    "event.l.map(x, vars.l).size() == 100 && event.l.map(x, vars.yes) != []",
    "bytes(event.s) + bytes(event.s) == bytes(event.s + event.s)",
    "event.s.matches('^é*$') && event.s.matches(event.s)",
];

#[test]
fn little_memory_is_a_no_and_never_a_yes_or_a_panic() {
    let event = large();
    for text in MAKING {
        let predicate = predicate(text);
        let enough = Budget { steps: u32::MAX, bytes: 1 << 26, ..Budget::default() };
        let answer = decide_within(&predicate, enough, &event, &mut Scratch::default());
        let truth = if text.starts_with(' ') { Decision::Denied } else { Decision::Admitted };
        assert_eq!(answer, truth, "{text}");
        for bytes in (0..2048).step_by(113).chain((2048..30_000).step_by(1501)) {
            let found =
                decide_within(&predicate, Budget { bytes, ..enough }, &event, &mut Scratch::default());
            let is_sound = found == answer || found == Decision::Error(Problem::Memory);
            assert!(is_sound, "{text}: {found:?} with {bytes} bytes, {answer:?} with more");
        }
        for steps in (0..2000).step_by(67) {
            let found =
                decide_within(&predicate, Budget { steps, ..enough }, &event, &mut Scratch::default());
            let is_sound = found == answer || found == Decision::Error(Problem::Steps);
            assert!(is_sound, "{text}: {found:?} with {steps} steps, {answer:?} with more");
        }
    }
}

#[test]
fn what_is_known_early_is_bounded_too() {
    let list = Constant::List((0..2000).map(Constant::Int).collect());
    let variables = map(&[("l", list)]);
    for (text, problem) in [
        (
            "vars.l.map(x, string(x) + '................................................').size() > 0",
            Problem::Memory,
        ),
        ("vars.l.all(x, vars.l.all(y, x + y >= 0))", Problem::Steps),
    ] {
        let policy =
            Policy::new(&[Part::Text(text)], Budget { steps: 50_000, bytes: 10_000, ..Budget::default() })
                .unwrap();
        let error = policy.specialise(&context(), &Constant::Null, &variables).unwrap_err();
        assert_eq!(*error.message, *problem.to_string(), "{text}");
    }
}

#[test]
fn loops_end_when_the_steps_are_spent() {
    let event = large();
    for text in [
        "event.l.all(x, event.l.all(y, event.l.all(z, x + y + z >= 0)))",
        "event.l.all(x, event.l.all(y, size(event.l) == 100))",
        "event.l.all(x, event.l.all(y, [event.m] == [event.again.m]))",
        "event.l.all(x, event.l.all(y, event.s.startsWith(event.again.s)))",
        "event.l.all(x, event.l.all(y, event.s <= event.again.s && event.s == event.again.s))",
        "event.l.all(x, event.l.all(y, event.l[99] == 99 && event.t[0] != event.t[99]))",
    ] {
        assert_eq!(decide(&policy(text), &Constant::Null, &event), Decision::Error(Problem::Steps), "{text}");
    }
}

#[test]
fn comparing_costs_what_it_looks_at() {
    let event = large();
    for (text, least) in [
        ("[[event.l]] == [[event.again.l]]", 100),
        ("{'a': event.l} == {'a': event.again.l}", 100),
        ("event.m == event.again.m", 100),
        ("[event.l] in [[event.again.l]]", 100),
        ("[event.s] == [event.again.s]", 60),
        ("event.s == event.again.s", 60),
        ("event.s >= event.again.s", 60),
        ("event.s.endsWith(event.again.s)", 60),
        ("size(event.l) == 100", 4),
    ] {
        let budget = Budget { steps: least, ..Budget::default() };
        let found = decide_within(&predicate(text), budget, &event, &mut Scratch::default());
        assert_eq!(found, Decision::Error(Problem::Steps), "{text}");
        assert_eq!(decide(&policy(text), &Constant::Null, &event), Decision::Admitted, "{text}");
    }
}

#[test]
fn what_doubles_and_doubles_ends() {
    let doubled = |start: &str| format!("{start}{}", ".map(x, [x, x])".repeat(60));
    for start in ["[1]", "vars.l", "event.l"] {
        let text = format!("{0} == {0}", doubled(start));
        let Ok(policy) = Policy::new(&[Part::Text(&text)], Budget::default()) else { continue };
        let variables = map(&[("l", Constant::List([Constant::Int(1)].into()))]);
        let decision = decide(&policy, &variables, &Event::new(r#"{"l":[1]}"#));
        assert_ne!(decision, Decision::Admitted, "{text}");
    }
}

#[test]
fn a_scratch_does_not_grow_and_does_not_remember() {
    let (event, mut scratch) = (large(), Scratch::default());
    let (predicates, budget) = (MAKING.map(predicate), Budget { bytes: 1 << 17, ..Budget::default() });
    for round in 0..3 {
        for predicate in predicates.iter().skip(round) {
            let fresh = decide_within(predicate, budget, &event, &mut Scratch::default());
            assert_eq!(decide_within(predicate, budget, &event, &mut scratch), fresh);
            assert!(scratch.0.allocated_bytes() <= Scratch::KEPT_MAX);
        }
    }
    let predicate = policy("event.x == 1 && event.t[99] == 'é99' && event.l.exists(x, x == 3)")
        .specialise(&context(), &Constant::Null, &Constant::Null)
        .unwrap();
    let (arena, mut scratch) = (Arena::new(), Scratch::default());
    let mut reading = Reading::new(predicate.program(), &event, &arena);
    let mut run = || {
        assert_eq!(predicate.decide(&mut reading, &mut scratch, false), Decision::Admitted);
        scratch.0.allocated_bytes()
    };
    let first = run();
    assert!((0..20_000).all(|_| run() == first));
}

#[test]
fn long_and_deep_texts_are_compiled_or_refused() {
    let deep = |open: &str, close: &str, times: usize| {
        format!("{}event.a{} == 1", open.repeat(times), close.repeat(times))
    };
    for times in [20, 90, 2000] {
        for text in [
            deep("(", ")", times),
            deep("!(", ")", times),
            deep("-(", ")", times),
            deep("[", "]", times),
            deep("size(", ")", times),
            deep("{'a': ", "}", times),
            deep("true ? 1 : ", "", times),
            deep("event.b ? 1 : ", "", times),
            deep("(1 + ", ")", times),
            deep("", " + 1", times),
            deep("", " - event.b", times),
            deep("", ".b", times),
            deep("", "[0]", times),
            deep("", "[event.b]", times),
            deep("", ".map(x, x)", times),
            deep("event.a.map(x, ", ")", times),
            deep("event.a == 1 && ", "", times),
            deep("event.a == 1 || ", "", times),
            deep("vars.b || event.a && ", "", times),
            deep("'a' + ", "", times),
        ] {
            if let Ok(policy) = Policy::new(&[Part::Text(&text)], Budget::default()) {
                decide(&policy, &Constant::Null, &Event::new(r#"{"a":1,"b":2}"#));
            }
        }
    }
    let wide = (0..2000).map(|number| format!("event.a == '{number}'")).collect::<Vec<_>>().join(" || ");
    let budget = Budget { text_bytes: 1 << 16, ..Budget::default() };
    assert!(Policy::new(&[Part::Text(&wide)], budget).is_ok());
    let long = format!("event.a == '{}'", "a".repeat(1 << 16));
    assert!(Policy::new(&[Part::Text(&long)], Budget::default()).is_err());
}

#[test]
fn many_kinds_of_readers_share_a_general_program() {
    let clauses: Vec<_> = (0..8).map(|bit| format!("(vars.b{bit} || event.x == {bit})")).collect();
    let (policy, event) = (policy(&clauses.join(" && ")), Event::new(r#"{"x":3}"#));
    for kinds in 0..256_u32 {
        let names: Vec<_> = (0..8).map(|bit| format!("b{bit}")).collect();
        let truths =
            names.iter().zip(0..).map(|(name, bit)| (&**name, Constant::Bool(kinds >> bit & 1 == 1)));
        let wanted = kinds | 1 << 3 == 255;
        let decision = decide(&policy, &map(&truths.collect::<Vec<_>>()), &event);
        assert_eq!(decision == Decision::Admitted, wanted, "{kinds:b}");
    }
    assert!(policy.variants.len() <= POLICY_VARIANTS_MAX + 1);
}

/// A random operand, mostly of what is there.
fn operand(random: &mut Random) -> Operand {
    let number = random.below(6) as u16;
    [Operand::Field(number), Operand::Literal(number), Operand::Row(number % 2), Operand::Register(number)]
        [random.below(4) as usize]
}

const FUNCTIONS: [function::Function; 31] = {
    use function::Function::{
        Add, Bool, Bytes, Contains, Divide, Double, Duration, Dyn, EndsWith, Equal, Get, Greater,
        GreaterEqual, In, Index, Int, Less, LessEqual, Matches, Multiply, Negate, Not, NotEqual, Remainder,
        Size, StartsWith, String, Subtract, Timestamp, Type, Uint,
    };
    [
        Add,
        Bool,
        Bytes,
        Contains,
        Divide,
        Double,
        Duration,
        Dyn,
        EndsWith,
        Equal,
        Get(time::Part::Hours),
        Greater,
        GreaterEqual,
        In,
        Index,
        Int,
        Less,
        LessEqual,
        Matches,
        Multiply,
        Negate,
        Not,
        NotEqual,
        Remainder,
        Size,
        StartsWith,
        String,
        Subtract,
        Timestamp,
        Type,
        Uint,
    ]
};

fn op(random: &mut Random, code: usize) -> Op {
    let mut number = |bound: usize| random.below(bound as u64 + 1) as u16;
    let (to, field, key, cursor, first, len) =
        (number(5), number(3), number(5), number(2), number(5), number(4));
    let (end, otherwise, target) = (number(code), number(code), number(code));
    let (value, of, from, condition, constant) =
        (operand(random), operand(random), operand(random), operand(random), operand(random));
    let function = random.pick(&FUNCTIONS);
    random.pick(&[
        Op::Copy { from, to },
        Op::Unary { function, a: value, to },
        Op::Binary { function, a: value, b: of, to },
        Op::Binary { function: function::Function::Equal, a: value, b: of, to },
        Op::Binary { function: function::Function::Add, a: value, b: of, to },
        Op::Select { of, key, to },
        Op::Has { of, key, to },
        Op::HasField { field, to },
        Op::List { first, len, to },
        Op::Map { first, len, to },
        Op::Append { value, to },
        Op::Collect { to },
        Op::And { value, to, end },
        Op::Or { value, to, end },
        Op::AndTest { function, field, constant, to, end },
        Op::OrTest { function, field, constant, to, end },
        Op::If { condition, to, otherwise, end },
        Op::Jump { target },
        Op::Start { range: value, cursor, to, end },
        Op::Next { cursor, item: to, end },
        Op::While { condition, end },
        Op::Again { target },
        Op::Return { value },
    ])
}

#[test]
fn what_is_verified_runs_to_an_end() {
    let (seed, cases) = (number("COULIS_SEED", 1), number("COULIS_CASES", 20_000));
    let event = Event::new(r#"{"a":[1,2,3],"b":"te\u00e9xt","c":{"d":1.5,"b":null},"x":9}"#);
    let bases: Vec<Program> = [
        "event.a.map(x, [x, 1]).filter(x, x[0] > 1) != [event.b, 'c'] && event.x == 9",
        "event.a.exists(x, event.c.all(k, k + string(x) != 'b')) || event.b == 'b' || {'a': event.x}.a in event.a",
        "has(event.c.d) && (event.x > 3 ? event.b.startsWith('te') : vars.y == event.x) && vars.z in event.a",
    ]
    .iter()
    .map(|text| {
        let policy = policy(text);
        let classes: Box<[split::Class]> = policy.known.iter().map(|_| split::Class::Other).collect();
        policy.variant(classes).unwrap().program.program.clone()
    })
    .collect();
    let row: Arc<[Constant]> = [Constant::List([Constant::Int(1)].into()), "b".into()].into();
    let mut verified = 0;
    for case in 0..cases {
        let random = &mut Random(seed.wrapping_mul(0x9E37_79B9).wrapping_add(case));
        let mut program = random.pick(&bases.iter().collect::<Vec<_>>()).clone();
        (program.registers, program.cursors) = (program.registers.max(4), program.cursors.max(2));
        for _ in 0..=random.below(6) {
            let at = random.below(program.code.len() as u64) as usize;
            let (code, other) = (program.code.len(), random.below(program.code.len() as u64) as usize);
            match random.below(5) {
                0 => program.code.insert(at, op(random, code)),
                1 => program.code.swap(at, other),
                2 => mem::drop(program.code.remove(at)),
                _ => program.code[at] = op(random, code),
            }
            if program.code.is_empty() {
                program.code.push(Op::Return { value: operand(random) });
            }
        }
        let Ok(program) = program.verify() else { continue };
        verified += 1;
        let budget = Budget { steps: 3000, bytes: 1 << random.below(18), ..Budget::default() };
        let predicate = Predicate::new(Arc::new(program), Arc::clone(&row), budget).unwrap();
        let (arena, mut scratch) = (Arena::new(), Scratch::default());
        let mut reading = Reading::new(predicate.program(), &event, &arena);
        predicate.decide(&mut reading, &mut scratch, false);
        predicate.decide(&mut reading, &mut scratch, true);
    }
    let short =
        Program { literals: vec![], code: vec![Op::Return { value: Operand::Row(1) }], ..Program::default() };
    assert!(
        Predicate::new(Arc::new(short.verify().unwrap()), [Constant::Null].into(), Budget::default())
            .is_none()
    );
    assert!(verified * 20 > cases, "{verified} of {cases} are verified");
}

#[test]
fn what_names_what_is_not_there_is_not_verified() {
    let base = Program { registers: 1, cursors: 1, literals: vec![Constant::Null], ..Program::default() };
    let end = Op::Return { value: Operand::Literal(0) };
    for op in [
        Op::Copy { from: Operand::Register(1), to: 0 },
        Op::Copy { from: Operand::Literal(1), to: 0 },
        Op::Copy { from: Operand::Field(0), to: 0 },
        Op::Copy { from: Operand::Literal(0), to: 1 },
        Op::Select { of: Operand::Literal(0), key: 0, to: 0 },
        Op::List { first: 0, len: 2, to: 0 },
        Op::Map { first: 0, len: 1, to: 0 },
        Op::Map { first: 0, len: u16::MAX, to: 0 },
        Op::Jump { target: 0 },
        Op::Jump { target: 2 },
        Op::Again { target: 0 },
        Op::Next { cursor: 1, item: 0, end: 1 },
        Op::And { value: Operand::Literal(0), to: 0, end: 0 },
        Op::AndTest {
            function: function::Function::Equal,
            field: 0,
            constant: Operand::Literal(0),
            to: 0,
            end: 1,
        },
    ] {
        assert!(Program { code: vec![op, end], ..base.clone() }.verify().is_err(), "{op:?}");
    }
    assert!(Program { code: vec![Op::Collect { to: 0 }], ..base.clone() }.verify().is_err(), "no end");
    assert!(Program { code: vec![], ..base.clone() }.verify().is_err(), "no code");
    assert!(Program { code: vec![end], after_keys: 1, ..base }.verify().is_err(), "nothing after the keys");
}
