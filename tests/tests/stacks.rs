//! Whatever a text says, it is judged in a thread with a small stack: the deepest of each kind that is taken, one level
//! less, one more, and far too many. A stack that overflows ends the process.

use coulis::{
    limits::Limits,
    plan::{self, OperationName, Plan, Schema},
    policy::{Arena, Attribute, Budget, Constant, Expression, Facts, Part, Policy, Root, Val},
    value::{Document, Value},
};

/// As small as a thread's stack is made in practice, and far less than the deepest texts take.
const STACK_BYTES: usize = 128 << 10;

/// A kind of text: its name, the text that is so deep, and the deepest that is taken.
type Kind = (&'static str, fn(usize) -> String, usize);

/// Opens `n` times, closes `n` times.
fn nested(before: &str, open: &str, inside: &str, close: &str, n: usize) -> String {
    format!("{before}{}{inside}{}", open.repeat(n), close.repeat(n))
}

/// Asserts of each kind that `judge` takes it up to its deepest, all in a thread with a small stack.
fn hold(kinds: &'static [Kind], judge: fn(&str) -> bool) {
    let run = move || {
        for (name, text, deepest) in kinds {
            let taken = |depth: usize| judge(&text(depth));
            assert!(taken(1) && taken(deepest - 1) && taken(*deepest), "{name}: {deepest} are not taken");
            assert!(!taken(deepest + 1), "{name}: more than {deepest} are taken");
            assert!(![1_000, 4_000].into_iter().any(taken), "{name}");
        }
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join().unwrap();
}

struct Event;

impl Facts for Event {
    fn root<'a>(&'a self, _: &Root, _: &'a Arena) -> Val<'a> {
        Val::Null
    }

    fn attribute(&self, _: Attribute) -> Option<Val<'_>> {
        None
    }
}

/// Compiles a policy and does with it all that can be done.
fn policy(part: Part<'_>) -> bool {
    let budget = Budget { text_bytes: 1 << 16, ..Budget::default() };
    let Ok(policy) = Policy::new(&[part], budget) else { return false };
    let variables = Constant::Map([("n".into(), Constant::Int(1))].into());
    assert!(!policy.reads().is_empty());
    let bindings = [Constant::Null, Constant::Null, variables];
    let [context, arguments, variables] = &bindings;
    if let Ok(predicate) = policy.specialise(context, arguments, variables) {
        predicate.admits(&Event);
    }
    policy.explain(context, arguments, variables, &Event).is_ok()
}

#[test]
fn policies_as_texts() {
    const KINDS: &[Kind] = &[
        ("parentheses", |n| nested("", "(", "event.a == vars.n", ")", n), 96),
        ("lists", |n| nested("event.a == ", "[", "vars.n", "]", n), 96),
        ("maps", |n| nested("event.a == ", "{1: ", "vars.n", "}", n), 96),
        ("calls", |n| nested("'a' == ", "string(", "event.a", ")", n), 61),
        ("negations", |n| nested("", "!(", "event.a == 1", ")", n), 61),
        ("conditions", |n| nested("", "event.a ? event.b : ", "event.c", "", n), 96),
        ("conditions in brackets", |n| nested("", "event.a ? event.b : (", "event.c", ")", n), 48),
        ("logic", |n| nested("", "event.a || (event.b && ", "event.c", ")", n), 96),
        ("sums", |n| nested("event.a", " + event.b", " == 1", "", n), 30),
        ("indexes", |n| nested("event", "[0]", " == 1", "", n), 124),
        ("fields", |n| nested("event", ".a", " == 1", "", n), 62),
        ("minus", |n| nested("1 == ", "-(", "event.a", ")", n), 61),
        ("macros", |n| nested("", "[1].exists(x, x == event.a && ", "event.b", ")", n), 30),
    ];
    hold(KINDS, |text| policy(Part::Text(text)));
}

#[test]
fn policies_as_trees() {
    const KINDS: &[Kind] = &[
        ("operations", |n| nested("", r#"{"not": "#, r#""event.a""#, "}", n), 96),
        (
            "logic",
            |n| nested("", r#"{"and": ["event.a", {"or": ["event.b", "#, r#""event.c""#, "]}]}", n),
            24,
        ),
        ("fields", |n| nested(r#"{"eq": [1, "event"#, ".a", r#""]}"#, "", n), 198),
        ("values", |n| nested(r#"{"eq": ["event.a", {"value": "#, "[", "1", "]", n) + "}]}", 93),
    ];
    hold(KINDS, |text| policy(Part::Tree(text)));
}

#[test]
fn expressions() {
    const KINDS: &[Kind] = &[
        ("lists", |n| nested("", "[", "x", "]", n), 96),
        ("macros", |n| nested("", "[1].map(y, ", "x", ")", n), 31),
        ("strings", |n| nested("", "string(", "x", ")", n), 63),
    ];
    hold(KINDS, |text| {
        let Ok(expression) = Expression::new(text, ["x"].into_iter(), &[]) else { return false };
        assert!(expression.value(&[Constant::Int(1)]).is_ok(), "{text}");
        true
    });
}

/// What no parser closes is refused at any depth, and nothing else happens.
#[test]
fn texts_that_never_end() {
    let run = || {
        for open in
            ["(", "[", "{", "{1:", "size(", "x ? (", "x && (", "[1].map(y, ", "f(", "{a", "{a(b:[", "[{"]
        {
            for depth in [1, 50, 95, 96, 97, 126, 127, 128, 200, 201, 5_000] {
                let text = open.repeat(depth);
                assert!(Expression::new(&text, ["x"].into_iter(), &[]).is_err(), "{text}");
                assert!(!policy(Part::Text(&text)) && !policy(Part::Tree(&text)), "{text}");
                assert!(!plan::validate(&text, None, None, None, &Limits::default()).is_empty(), "{text}");
                assert!(Value::parse(&mut text.clone().into_bytes(), 128).is_err(), "{text}");
            }
        }
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join().unwrap();
}

const SCHEMA: &str = "
    type Query { a: T }
    type T { a: T, b(x: I): Int }
    input I { i: I, l: [[[Int]]] }
    type Subscription { a(x: I): T }";

/// Compiles a document, with a schema and without, and renders with it.
fn document(text: &str) -> bool {
    let limits = Limits {
        query_depth_max: usize::MAX,
        query_fields_max: usize::MAX,
        query_tokens_max: usize::MAX,
        query_bytes_max: usize::MAX,
        ..Limits::default()
    };
    let schema = Schema::parse(SCHEMA).unwrap();
    let _errors = plan::validate(text, Some(&schema), None, None, &limits);
    let _is = plan::kind(text, &OperationName::Only, &limits);
    let Ok(plan) = Plan::compile(text, &OperationName::Only, None, &limits) else { return false };
    let Ok(bound) = plan.bind(&Value::Object(Vec::new()), &limits) else { return false };
    plan.arguments(&bound.variables);
    let event = Document::parse(r#"{"a": {"a": {"b": 1}}}"#, 9).unwrap();
    let mut body = Vec::new();
    bound.projection.render(event.root(), &mut body, limits.body_bytes_max).is_ok()
}

#[test]
fn documents() {
    const KINDS: &[Kind] = &[
        ("selection sets", |n| nested("subscription ", "{ a ", "", "}", n), 200),
        ("inline fragments", |n| nested("subscription { a ", "{ ... ", "{ a }", "}", n) + "}", 198),
        ("lists", |n| nested("subscription { a(x: ", "[", "1", "]", n) + ") }", 199),
        ("objects", |n| nested("subscription { a(x: ", "{i: ", "1", "}", n) + ") }", 199),
        ("types", |n| nested("subscription ($x: ", "[", "Int", "]", n) + ") { a(x: $x) }", 200),
        ("fragments", |n| fragments(n), 89),
    ];
    hold(KINDS, document);
}

fn fragments(n: usize) -> String {
    let links: String = (0..n).map(|at| format!("fragment f{at} on T {{ ...f{} }} ", at + 1)).collect();
    format!("subscription {{ a {{ ...f0 }} }} {links} fragment f{n} on T {{ a }}")
}
