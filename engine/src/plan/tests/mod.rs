//! Tables of documents, variables and events, and what each must give.

mod admission;
mod binding;
mod limits;
mod oracle;
mod rendering;
mod validity;

use super::{Bound, OperationName, Plan, Schema};
use crate::{
    limits::Limits,
    value::{Document, Value},
};

fn value(json: &str) -> Value {
    Value::parse(&mut json.as_bytes().to_vec(), 64).unwrap()
}

fn plan(text: &str, schema: Option<&Schema>) -> Plan {
    // Random documents have many aliases.
    let limits = Limits { query_aliases_max: 1_000, ..Limits::default() };
    match Plan::compile(text, &OperationName::Only, schema, &limits) {
        Ok(plan) => plan,
        Err(errors) => panic!("{text}: {errors:?}"),
    }
}

fn bound(text: &str, schema: Option<&Schema>, variables: &str) -> Bound {
    plan(text, schema).bind(&value(variables), &Limits::default()).unwrap()
}

/// The body that `event` gives under a subscription, with its variables.
fn render(text: &str, schema: Option<&Schema>, variables: &str, event: &str) -> String {
    let (document, mut out) = (Document::parse(event, 64).unwrap(), Vec::new());
    bound(text, schema, variables).projection.render(document.root(), &mut out, 1 << 20).unwrap();
    String::from_utf8(out).unwrap()
}
