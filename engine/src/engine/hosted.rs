//! What the host language does by itself: it looks at documents before it subscribes, runs operations that are no
//! subscriptions, and makes results that no event brings.

use std::sync::Arc;

use super::{Engine, SubscribeError};
use crate::{
    error::GraphQlError,
    metrics::{Module, Ruling},
    plan::{OperationKind, OperationName, Plan, Refused},
    policy::{Arena, Attribute, Constant, Facts, Root, Val},
    security::SecurityContext,
    subscriber::Subscriber,
    value::{Document, Node, Value},
};

impl Engine {
    /// The compiled operation of a document, made once for each document and name.
    ///
    /// # Errors
    /// What is wrong with the document.
    pub fn plan(&self, document: &str, operation: &OperationName) -> Result<Arc<Plan>, Vec<GraphQlError>> {
        self.0.plane.catalogue().plan(document, operation)
    }

    /// Takes what [`Pace`](crate::security::Pace) asks of a registration ahead of it, for a host that has to look at the document first, and
    /// counts a document that is not valid as a registration that was refused. [`Engine::subscribe`] then asks for
    /// nothing more.
    ///
    /// # Errors
    /// `RateLimited`, `Limit` for `rate_keys_max`, `InvalidQuery`.
    pub fn admit(
        &self,
        subscriber: &mut Subscriber,
        context: &SecurityContext,
        planned: Result<Arc<Plan>, Vec<GraphQlError>>,
    ) -> Result<Arc<Plan>, SubscribeError> {
        let admitted = self.pace(subscriber, context).and_then(|()| {
            self.0.plane.decided_document(&planned);
            planned.map_err(SubscribeError::InvalidQuery)
        });
        match &admitted {
            Ok(_) => subscriber.admitted += 1,
            Err(_) => self.0.plane.count_registration(&admitted),
        }
        admitted
    }

    /// What kind of operation is meant, once the document keeps every rule that a subscription's has to keep: bounds,
    /// allowed operations, introspection, the schema.
    ///
    /// # Errors
    /// As [`Engine::plan`].
    pub fn kind(
        &self,
        document: &str,
        operation: &OperationName,
    ) -> Result<OperationKind, Vec<GraphQlError>> {
        let plane = &self.0.plane;
        let kind = plane.catalogue().kind(document, operation);
        plane.decided_document(&kind);
        kind
    }

    /// The execution result, as JSON text, of a subscription whose value the host has made: what its operation selects
    /// and `context` may read at this moment. `value` is the root field's, or an object with that field alone; to the
    /// policy of the root field it is the `event`. `None`: that policy does not let it through.
    ///
    /// # Errors
    /// Those of a document or of variables that are not valid, `FORBIDDEN_FIELD`, and `LIMIT_EXCEEDED` for a result above
    /// `body_bytes_max`.
    pub fn shape(
        &self,
        document: &str,
        operation: &OperationName,
        variables: &Value,
        context: &SecurityContext,
        value: &Document,
    ) -> Result<Option<Vec<u8>>, Vec<GraphQlError>> {
        let (plane, limits) = (&self.0.plane, self.limits());
        let catalogue = plane.catalogue();
        let plan = catalogue.plan(document, operation)?;
        let bound = plan.bind(variables, limits)?;
        let projection = catalogue
            .gate
            .project(&bound.projection, context)
            .map_err(|refused| vec![unreadable(refused)])?;
        let value = projection.root_value(value.root());
        if let Some(policy) = plane.rulebook().field_policy(plan.root_field()) {
            let arguments = Constant::from(&plan.arguments(&bound.variables));
            let predicate =
                policy.specialise(&context.constant(), &arguments, &Constant::from(&bound.variables));
            if !predicate.is_ok_and(|predicate| predicate.admits(&Made(value))) {
                plane.decided(Module::CustomPolicy, Ruling::Denied);
                return Ok(None);
            }
        }
        let mut body = Vec::new();
        projection
            .render(value, &mut body, limits.body_bytes_max)
            .map_err(|error| vec![GraphQlError::new("LIMIT_EXCEEDED", error.to_string())])?;
        Ok(Some(body))
    }
}

/// What policies may know of a result that no event brings.
struct Made<'v>(Node<'v>);

impl Facts for Made<'_> {
    fn root<'a>(&'a self, root: &Root, arena: &'a Arena) -> Val<'a> {
        match root {
            Root::Event | Root::Attribute(_) => Val::of(self.0, arena),
            _ => Val::Null,
        }
    }

    fn attribute(&self, _attribute: Attribute) -> Option<Val<'_>> {
        None
    }
}

fn unreadable(refused: Refused) -> GraphQlError {
    match refused {
        Refused::Field(field) => GraphQlError::new("FORBIDDEN_FIELD", format!("`{field}` may not be read")),
        Refused::Limit(error) => error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

    use super::*;
    use crate::{limits::Limits, plan::DocumentDigest, plan::Schema};

    const SDL: &str =
        "type Query { a: Int } type Mutation { b: Int } type Subscription { c: C } type C { d: Int! }";

    fn engine() -> Engine {
        Engine::builder().shards(1).schema(Some(Schema::parse(SDL).unwrap())).build().unwrap()
    }

    #[test]
    fn the_kind_of_an_operation_is_told_only_where_its_document_keeps_the_rules() {
        let engine = engine();
        let kind = |document: &str| {
            let kind = engine.kind(document, &OperationName::Only);
            kind.map_err(|errors| errors[0].code)
        };
        assert_eq!(kind("{ a }"), Ok(OperationKind::Query));
        assert_eq!(kind("mutation { b }"), Ok(OperationKind::Mutation));
        assert_eq!(kind("subscription { c { d } }"), Ok(OperationKind::Subscription));
        assert_eq!(kind("{ nothing }"), Err("GRAPHQL_VALIDATION_FAILED"));
        assert_eq!(kind("{"), Err("GRAPHQL_PARSE_FAILED"));
        assert_eq!(kind("query A { a } query B { a }"), Err("OPERATION_RESOLUTION_FAILURE"));
    }

    #[test]
    fn bounds_and_the_list_of_allowed_operations_hold_for_queries_too() {
        let limits = Limits { query_tokens_max: 20, ..Limits::default() };
        let allowed = [DocumentDigest::of("{ a }")];
        let engine = Engine::builder().shards(1).limits(limits).allowed_operations(allowed).build().unwrap();
        let code =
            |document: &str| engine.kind(document, &OperationName::Only).map_err(|errors| errors[0].code);
        assert_eq!(code("{ a }"), Ok(OperationKind::Query));
        assert_eq!(code("{ b }"), Err("OPERATION_NOT_ALLOWED"));
        let limits = Limits { query_tokens_max: 20, ..Limits::default() };
        let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
        let long = format!("{{ {} }}", "a ".repeat(30));
        let refused = engine.kind(&long, &OperationName::Only).map_err(|errors| errors[0].code);
        assert_eq!(refused, Err("LIMIT_EXCEEDED"));
    }

    #[test]
    fn a_value_of_the_host_keeps_the_policy_of_its_root_field() {
        let policy = "event.d > 1 && 'clerk' in ctx.roles";
        let engine = Engine::builder().shards(1).field("c", policy).build().unwrap();
        let passes = |value: &str, roles: &[&str]| {
            let roles = roles.iter().map(|role| Box::from(*role)).collect();
            let (name, value) = (OperationName::Only, Document::parse(value, 8).unwrap());
            let context = SecurityContext { roles, ..SecurityContext::default() };
            let body = engine.shape("subscription { c { d } }", &name, &Value::Null, &context, &value);
            body.unwrap().is_some()
        };
        assert!(passes(r#"{"d":2}"#, &["clerk"]) && passes(r#"{"c":{"d":2}}"#, &["clerk"]));
        assert!(!passes(r#"{"d":1}"#, &["clerk"]) && !passes(r#"{"d":2}"#, &[]));
        assert!(!passes(r#"{"e":2}"#, &["clerk"]), "no answer is a no");
    }

    #[test]
    fn a_value_of_the_host_is_shaped_by_the_operation() {
        let engine = engine();
        let shape = |value: &str| {
            let value = Document::parse(value, 8).unwrap();
            let (name, context) = (OperationName::Only, SecurityContext::default());
            let body = engine.shape("subscription { c { d } }", &name, &Value::Null, &context, &value);
            String::from_utf8(body.unwrap().unwrap()).unwrap()
        };
        assert_eq!(shape(r#"{"d":1,"secret":2}"#), r#"{"data":{"c":{"d":1}}}"#);
        assert_eq!(shape(r#"{"c":{"d":1}}"#), r#"{"data":{"c":{"d":1}}}"#);
        assert!(shape(r#"{"e":1}"#).contains(r#""data":{"c":null},"errors""#));
    }
}
