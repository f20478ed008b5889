//! Random policies on random events, against the evaluator of the `cel` crate.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*, test_runner::Config};

use super::{
    super::*,
    facts::Event,
    words::{Json, Tape, Two},
};
use crate::{random::number, value::Document};

/// Names in the order of a policy's, so that one tree serves all.
const NAMES: [&str; 5] = ["ctx", "args", "vars", "event", "before"];

/// What an expression is about.
#[derive(Debug)]
struct World {
    context: Json,
    variables: Json,
    event: Json,
    user: Option<Json>,
}

impl World {
    fn read(tape: &mut Tape<'_>) -> Self {
        Self {
            context: tape.context(),
            variables: tape.object(1),
            event: tape.object(1),
            user: tape.attribute(),
        }
    }

    /// The event as expressions see it.
    fn whole(&self) -> Json {
        let Json::Object(entries) = &self.event else { return Json::Null };
        let mut entries = entries.clone();
        if let Some(user) = &self.user {
            entries.retain(|(key, _)| *key != "user_id");
            entries.insert(0, ("user_id", user.clone()));
        }
        Json::Object(entries)
    }

    fn facts(&self) -> Event {
        let mut text = String::new();
        self.event.write(&mut text);
        let user = self.user.iter().map(|user| match user {
            Json::Id(text) => (Attribute::User, text.clone()),
            other => panic!("{other:?}"),
        });
        Event { document: Document::parse(text, 64).unwrap(), before: None, attributes: user.collect() }
    }

    fn bindings(&self) -> [Constant; 5] {
        let (args, before) = (Constant::Null, Constant::Null);
        [self.context.constant(), args, self.variables.constant(), self.whole().constant(), before]
    }

    /// What the oracle says; `None`: no value.
    fn oracle(&self, program: &cel::Program, functions: &cel::Context<'_, '_>) -> Option<cel::Value> {
        let mut scope = functions.new_inner_scope();
        for (name, value) in [
            ("ctx", theirs(&self.context)),
            ("vars", theirs(&self.variables)),
            ("event", theirs(&self.whole())),
        ] {
            scope.add_variable_from_value(name, value);
        }
        scope.add_variable_from_value("given", cel::Value::Bool(self.user.is_some()));
        program.execute(&scope).ok()
    }
}

fn theirs(json: &Json) -> cel::Value {
    match json {
        Json::Null => cel::Value::Null,
        Json::Bool(truth) => cel::Value::Bool(*truth),
        Json::Int(number) => cel::Value::Int(*number),
        Json::Uint(number) => cel::Value::UInt(*number),
        Json::Double(number) => cel::Value::Float(*number),
        Json::Text(text) | Json::Id(text) => cel::Value::String(Arc::new(text.clone())),
        Json::List(items) => cel::Value::List(Arc::new(items.iter().map(theirs).collect())),
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| (*key, theirs(value)));
            cel::Value::Map(entries.collect::<std::collections::HashMap<_, _>>().into())
        }
    }
}

/// Whether two values are one, types and all.
fn same(ours: &Constant, theirs: &cel::Value) -> bool {
    match (ours, theirs) {
        (Constant::Null, cel::Value::Null) => true,
        (Constant::Bool(a), cel::Value::Bool(b)) => a == b,
        (Constant::Int(a), cel::Value::Int(b)) => a == b,
        (Constant::Uint(a), cel::Value::UInt(b)) => a == b,
        (Constant::Double(a), cel::Value::Float(b)) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Constant::Text(a) | Constant::Id(a), cel::Value::String(b)) => **a == ***b,
        (Constant::Bytes(a), cel::Value::Bytes(b)) => **a == ***b,
        (Constant::Span(a), cel::Value::Duration(b)) => {
            b.num_nanoseconds().map(i128::from) == Some(a.nanos())
        }
        (Constant::List(a), cel::Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(&**b).all(|(a, b)| same(a, b))
        }
        (Constant::Map(a), cel::Value::Map(b)) => {
            let has = |(key, value): &(Constant, Constant)| {
                b.map.iter().any(|(other, found)| same(key, &other.into()) && same(value, found))
            };
            a.len() == b.map.len() && a.iter().all(has)
        }
        _ => false,
    }
}

/// One expression in several worlds. Answers how many had a value, and how many were admitted.
fn check(text: &Two, worlds: &[World], functions: &cel::Context<'_, '_>) -> [u64; 3] {
    let program =
        cel::Program::compile(&text.theirs).unwrap_or_else(|error| panic!("{}: {error}", text.theirs));
    let budget = Budget { steps: u32::MAX, bytes: 1 << 24, ..Budget::default() };
    let scope = Scope::of(NAMES.into_iter(), &[]);
    let mut tree =
        parse::parse(&text.ours, 0, &scope).unwrap_or_else(|error| panic!("{}: {error}", text.ours));
    split::patterns(&mut tree);
    // All splits: what is known before the event, and what is not.
    let splits: Vec<_> = (0..8_usize)
        .map(|split| {
            let known =
                ["ctx", "vars", "event"].into_iter().enumerate().filter(|(bit, _)| split >> bit & 1 == 1);
            let known: Vec<_> = known.map(|(_, name)| name).collect();
            Policy::of(tree.clone(), Scope::of(NAMES.into_iter(), &known), budget).unwrap()
        })
        .collect();
    let checked = check::check(&tree, &Scope::policy());
    let policy = checked.map(|()| Policy::of(tree, Scope::policy(), budget).unwrap());
    let mut counts = [0; 3];
    for world in worlds {
        let wanted = world.oracle(&program, functions);
        let say = |found: &dyn std::fmt::Debug| {
            format!(
                "{}\n{world:?}\nthe oracle says {wanted:?} of {}\nthis is {found:?}",
                text.ours, text.theirs
            )
        };
        let bindings = world.bindings();
        for policy in &splits {
            let predicate = policy.predicate(&policy.row(&bindings)).unwrap();
            let found =
                value_of(&predicate.program, &predicate.row, &Bindings(&bindings), &Bump::new(), budget);
            let is_same = match (&found, &wanted) {
                (Constant::Error(_), None) => true,
                (found, Some(wanted)) => same(found, wanted),
                _ => false,
            };
            assert!(is_same, "{}", say(&found));
        }
        counts[0] += u64::from(wanted.is_some());
        let Ok(policy) = &policy else { continue };
        let Ok(predicate) = policy.specialise(&bindings[0], &bindings[1], &bindings[2]) else {
            assert_ne!(wanted, Some(cel::Value::Bool(true)), "{}", say(&"a refusal"));
            continue;
        };
        let (arena, mut scratch, facts) = (Arena::new(), Scratch::default(), world.facts());
        let mut reading = Reading::new(predicate.program(), &facts, &arena);
        let decision = predicate.decide(&mut reading, &mut scratch, false);
        let wanted_yes = wanted == Some(cel::Value::Bool(true));
        assert_eq!(decision == Decision::Admitted, wanted_yes, "{}", say(&decision));
        assert_eq!(predicate.admits(&facts), wanted_yes, "{}", say(&"another answer of `admits`"));
        let program = predicate.program();
        let hold = program.keys().iter().all(|key| {
            let value = reading.field(key.field);
            program.passes_absent(key, &value)
                || Scalar::of(value, key.identity, &arena)
                    .is_some_and(|scalar| predicate.scalars(key).iter().any(|known| known.borrow() == scalar))
        });
        if hold {
            let after = predicate.decide(&mut reading, &mut scratch, true);
            assert_eq!(after, decision, "{}", say(&"another decision after the keys"));
            assert!(!program.is_keys_only() || wanted_yes, "{}", say(&"keys alone, which hold"));
        } else {
            assert!(!wanted_yes, "{}", say(&"an event that the index leaves out"));
        }
        counts[1] += u64::from(wanted_yes);
        counts[2] += u64::from(!program.keys().is_empty());
    }
    counts
}

#[test]
fn policies_say_what_the_oracle_says() {
    /// Worlds for one expression.
    const WORLDS: u64 = 10;
    let cases = number("COULIS_CASES", 20_000) / WORLDS;
    let functions = cel::Context::default();
    let seen = std::cell::Cell::new([0; 4]);
    let config = Config { cases: cases as u32, failure_persistence: None, ..Config::default() };
    proptest!(config, |(text in vec(any::<u8>(), 0..120), world in vec(any::<u8>(), 0..WORLDS as usize * 80))| {
        let text = Tape::new(&text).policy();
        let tape = &mut Tape::new(&world);
        let worlds: Vec<_> = (0..WORLDS).map(|_| World::read(tape)).collect();
        let counts = check(&text, &worlds, &functions);
        let [all, values, yes, keys] = seen.get();
        seen.set([all + WORLDS, values + counts[0], yes + counts[1], keys + counts[2]]);
    });
    let [all, values, yes, keys] = seen.get();
    println!("{all} cases: {values} have a value, {yes} are admitted, {keys} have keys");
    assert!(values * 5 > all && yes * 20 > all && keys * 20 > all, "the cases are of one kind");
}
