//! One policy of three clauses, decided on one event whose fields were read before: what a candidate costs that the
//! index cannot rule out.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use ::coulis::{
    policy::{Arena, Attribute, Budget, Constant, Decision, Facts, Part, Policy, Reading, Root, Scratch, Val},
    value::Document,
};
use wirefilter::{ExecutionContext, Scheme, Type};

const EVENT: &str = r#"{"amount":250,"status":"open","title":"Order 17"}"#;
const POLICY: &str = r#"event.amount > 100 && event.status != "draft" && event.title.contains("Or")"#;
const FILTER: &str = r#"amount > 100 && status != "draft" && title contains "Or""#;

/// Decisions of one round.
const DECISIONS: u32 = 200_000;
const ROUNDS: usize = 15;

struct Event(Document);

impl Facts for Event {
    fn root<'a>(&'a self, _root: &Root, arena: &'a Arena) -> Val<'a> {
        Val::of(self.0.root(), arena)
    }

    fn attribute(&self, _attribute: Attribute) -> Option<Val<'_>> {
        None
    }
}

/// Measures the three in turns and prints the median of each, in nanoseconds a decision, and its ratio to ours.
pub fn report() {
    let event = Event(Document::parse(EVENT, 8).expect("an event"));
    let policy = Policy::new(&[Part::Text(POLICY)], Budget::default()).expect("a policy");
    let predicate =
        policy.specialise(&Constant::Null, &Constant::Null, &Constant::Null).expect("a predicate");
    let (arena, mut scratch) = (Arena::new(), Scratch::default());
    let mut reading = Reading::new(predicate.program(), &event, &arena);

    let mut scheme = Scheme::default();
    for (name, kind) in [("amount", Type::Int), ("status", Type::Bytes), ("title", Type::Bytes)] {
        scheme.add_field(name.into(), kind).expect("a field");
    }
    let filter = scheme.parse(FILTER).expect("a filter").compile();
    let mut fields = ExecutionContext::new(&scheme);
    fields.set_field_value("amount", 250).expect("a field");
    fields.set_field_value("status", "open").expect("a field");
    fields.set_field_value("title", "Order 17").expect("a field");

    let program = cel::Program::compile(POLICY).expect("a program");
    let mut context = cel::Context::default();
    let document: serde_json::Value = serde_json::from_str(EVENT).expect("JSON");
    context.add_variable("event", document).expect("a variable");

    let mut systems: [(&str, Box<dyn FnMut() -> bool>); 3] = [
        ("coulis", Box::new(|| predicate.decide(&mut reading, &mut scratch, false) == Decision::Admitted)),
        ("wirefilter", Box::new(|| filter.execute(&fields).expect("an answer"))),
        ("the cel crate", Box::new(|| program.execute(&context).expect("a value") == cel::Value::Bool(true))),
    ];
    let mut spent = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for ((name, decide), spent) in systems.iter_mut().zip(&mut spent) {
            let start = Instant::now();
            let admitted = (0..DECISIONS).filter(|_| black_box(decide())).count();
            spent.push(start.elapsed() / DECISIONS * 1_000);
            assert_eq!(admitted, DECISIONS as usize, "{name}");
        }
    }
    println!("\n| three clauses | ns a decision | ratio |\n|---|---|---|");
    let median = |spent: &mut Vec<Duration>| {
        spent.sort_unstable();
        spent[ROUNDS / 2].as_nanos() as f64 / 1_000.0
    };
    let medians = spent.each_mut().map(median);
    for ((name, _), median) in systems.iter().zip(medians) {
        println!("| {name} | {median:.1} | {:.2} |", median / medians[0]);
    }
}
