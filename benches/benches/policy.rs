//! What does a policy cost: compiled, for a new subscriber, for each candidate of an event?
//!
//! The typical residual has three clauses of which none can be an index key. The counting allocator shows that a
//! decision takes no memory; the `cel` crate evaluates the same text with the same values.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
};

use coulis::{
    policy::{
        Arena, Attribute, Budget, Constant, Decision, Facts, Part, Policy, Reading, Root, Scratch, Val,
    },
    value::Document,
};
use criterion::{Criterion, criterion_group, criterion_main};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator that counts and hands on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RESIDUAL: &str = r#"event.amount > 100 && event.status != "draft" && event.title.startsWith("Or")"#;
const MISMATCH: &str = r#"event.amount > 1000 && event.status != "draft" && event.title.startsWith("Or")"#;
const TYPICAL: &str = r#"event.tenant_id == ctx.tenant_id && ("admin" in ctx.roles || event.owner == ctx.user_id) && event.amount > vars.least"#;
const EVENT: &str = r#"{"id":17,"status":"open","amount":250,"title":"Order 17","region":"eu","owner":"u7","tenant_id":"t1","open":true}"#;

struct Event(Document);

impl Facts for Event {
    fn root<'a>(&'a self, _root: &Root, arena: &'a Arena) -> Val<'a> {
        Val::of(self.0.root(), arena)
    }
    fn attribute(&self, _attribute: Attribute) -> Option<Val<'_>> {
        None
    }
}

fn map(entries: &[(&str, Constant)]) -> Constant {
    Constant::Map(entries.iter().map(|(key, value)| (Constant::from(*key), value.clone())).collect())
}

fn context() -> Constant {
    let roles = Constant::List(["reader".into(), "writer".into()].into());
    map(&[("user_id", Constant::Id("u7".into())), ("tenant_id", Constant::Id("t1".into())), ("roles", roles)])
}

fn policy(text: &str) -> Policy {
    Policy::new(&[Part::Text(text)], Budget::default()).expect("a policy")
}

fn decisions(criterion: &mut Criterion) {
    let event = Event(Document::parse(EVENT, 64).expect("an event"));
    for (name, text, wanted) in
        [("match", RESIDUAL, Decision::Admitted), ("reject first", MISMATCH, Decision::Denied)]
    {
        let predicate =
            policy(text).specialise(&context(), &Constant::Null, &Constant::Null).expect("a predicate");
        let (arena, mut scratch) = (Arena::new(), Scratch::default());
        let mut reading = Reading::new(predicate.program(), &event, &arena);
        assert_eq!(predicate.decide(&mut reading, &mut scratch, false), wanted);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..1000 {
            assert_eq!(predicate.decide(&mut reading, &mut scratch, false), wanted);
        }
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "a decision takes memory");
        criterion.bench_function(&format!("three clauses, fields read, {name}"), |bencher| {
            bencher.iter(|| black_box(&predicate).decide(&mut reading, &mut scratch, false));
        });
        let mut arena = Arena::new();
        criterion.bench_function(&format!("three clauses with the event's fields, {name}"), |bencher| {
            bencher.iter(|| {
                let decision = {
                    let mut reading = Reading::new(predicate.program(), &event, &arena);
                    black_box(&predicate).decide(&mut reading, &mut scratch, false)
                };
                arena.reset();
                decision
            });
        });
    }
}

fn evaluator(criterion: &mut Criterion) {
    let program = cel::Program::compile(RESIDUAL).expect("a program");
    let mut context = cel::Context::default();
    let event: serde_json::Value = serde_json::from_str(EVENT).expect("JSON");
    context.add_variable("event", event).expect("a variable");
    assert_eq!(program.execute(&context).expect("a value"), cel::Value::Bool(true));
    criterion.bench_function("three clauses, the cel crate, match", |bencher| {
        bencher.iter(|| black_box(&program).execute(&context));
    });
}

fn compilation(criterion: &mut Criterion) {
    criterion.bench_function("a new text", |bencher| bencher.iter(|| policy(black_box(TYPICAL))));
    let policy = policy(TYPICAL);
    let (context, variables) = (context(), map(&[("least", Constant::Int(100))]));
    criterion.bench_function("a known text for a new subscriber", |bencher| {
        bencher.iter(|| policy.specialise(black_box(&context), &Constant::Null, &variables));
    });
}

criterion_group!(benches, decisions, evaluator, compilation);
criterion_main!(benches);
