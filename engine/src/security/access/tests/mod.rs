//! Tables of rules, readers, documents and events, and what each reader gets.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

mod forms;
mod reads;
mod schemas;
mod sharing;

use std::sync::Arc;

use super::{Access, AccessError, Gate, Otherwise, Rule};
use crate::{
    limits::Limits,
    plan::{OperationName, Plan, Projection, Refused, Schema},
    security::SecurityContext,
    value::{Document, Value},
};

fn words(words: &str) -> Arc<[Box<str>]> {
    words.split_whitespace().map(Box::from).collect()
}

/// A reader with these roles and scopes, in words.
fn reader(roles: &str, scopes: &str) -> SecurityContext {
    SecurityContext { roles: words(roles), scopes: words(scopes), ..SecurityContext::default() }
}

fn projection(query: &str, schema: Option<&Schema>) -> Arc<Projection> {
    let limits = Limits::default();
    let plan = match Plan::compile(query, &OperationName::Only, schema, &limits) {
        Ok(plan) => plan,
        Err(errors) => panic!("{query}: {errors:?}"),
    };
    plan.bind(&Value::Null, &limits).unwrap().projection
}

/// The body that an event gives, or the field that is refused.
fn body(
    gate: &Gate,
    schema: Option<&Schema>,
    reader: &SecurityContext,
    query: &str,
    event: &str,
) -> Result<String, String> {
    let projection = match gate.project(&projection(query, schema), reader) {
        Ok(projection) => projection,
        Err(Refused::Field(field)) => return Err(field),
        Err(Refused::Limit(error)) => return Err(error.code.into()),
    };
    let (document, mut out) = (Document::parse(event, 64).unwrap(), Vec::new());
    projection.render(document.root(), &mut out, 1 << 20).unwrap();
    Ok(String::from_utf8(out).unwrap())
}
