//! Compiled GraphQL operations: parse, validate, coerce, project, render.
//!
//! Parsing and the rules that need a schema are the library's (apollo-compiler). The rules that hold without one,
//! coercion (so that it answers alike with and without a schema) and rendering are ours; rendering is done once for
//! each event and group. Why no execution engine: an event is one JSON document, so a
//! selection set is a projection of it, and a projection is a copy of byte ranges.

mod parse;
mod schema;

mod admission;
mod bounds;
mod inputs;
mod overlap;
mod rules;
mod untyped;

mod bind;
mod cache;
mod guard;
mod projection;
mod render;

pub use admission::{Admission, DocumentDigest, Introspection, InvalidDigest};
pub use cache::Plans;
pub(crate) use guard::{Guard, Hidden, Place, Refused, TYPE_NAME, Verdict};
pub use projection::Projection;
pub use render::RenderError;
pub use schema::Schema;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};

use apollo_compiler::Node;
use apollo_compiler::ast::{Document, Field, OperationDefinition, OperationType, Selection};
use projection::Compiler;

use crate::error::GraphQlError;
use crate::limits::Limits;
use crate::stack::with_room;
use crate::value::Value;

/// Which operation of a document is meant (`GetOperation`, GraphQL specification, section 6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum OperationName {
    /// The only one there is.
    #[default]
    Only,
    /// The one of this name.
    Named(String),
    /// As `Named`, but a document's only operation, if anonymous, takes the name as its label.
    Label(String),
}

/// What an operation does (GraphQL specification, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// It reads.
    Query,
    /// It writes, then reads.
    Mutation,
    /// It reads at each event.
    Subscription,
}

impl From<OperationType> for OperationKind {
    fn from(kind: OperationType) -> Self {
        match kind {
            OperationType::Query => Self::Query,
            OperationType::Mutation => Self::Mutation,
            OperationType::Subscription => Self::Subscription,
        }
    }
}

/// One subscription operation that keeps every rule.
#[derive(Debug)]
pub struct Plan {
    document: Arc<str>,
    operation_name: Option<Box<str>>,
    root_field: Box<str>,
    response_key: Box<str>,
    tree: Document,
    operation: Node<OperationDefinition>,
    schema: Option<Schema>,
    /// The projection, if it is the same for all variables.
    projection: OnceLock<Arc<Projection>>,
}

/// A plan with one subscription's variables.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The coerced variables, an object.
    pub variables: Value,
    /// What is selected with these variables.
    pub projection: Arc<Projection>,
}

impl Plan {
    /// Compiles one subscription of `document` (GraphQL specification, sections 5 and 6.2.3).
    ///
    /// # Errors
    /// Every error found, each with one of the codes `LIMIT_EXCEEDED`, `GRAPHQL_PARSE_FAILED`,
    /// `GRAPHQL_VALIDATION_FAILED` and `OPERATION_RESOLUTION_FAILURE`.
    pub fn compile(
        document: &str,
        operation: &OperationName,
        schema: Option<&Schema>,
        limits: &Limits,
    ) -> Result<Self, Vec<GraphQlError>> {
        Self::admitted(document, operation, schema, limits, Introspection::Allowed)
    }

    fn admitted(
        document: &str,
        operation: &OperationName,
        schema: Option<&Schema>,
        limits: &Limits,
        introspection: Introspection,
    ) -> Result<Self, Vec<GraphQlError>> {
        let tree = checked(document, schema, limits, introspection).map_err(together)?;
        let meant = parse::operation(&tree, operation)?;
        let root = (meant.operation_type == OperationType::Subscription)
            .then(|| first_field(&meant.selection_set, &parse::fragments(&tree)))
            .flatten();
        let Some(root) = root else {
            let message = "the operation must be a subscription";
            return Err(vec![GraphQlError::new("OPERATION_RESOLUTION_FAILURE", message)]);
        };
        Ok(Self {
            document: document.into(),
            operation_name: meant.name.as_ref().map(|name| name.as_str().into()),
            root_field: root.name.as_str().into(),
            response_key: root.response_name().as_str().into(),
            operation: meant.clone(),
            tree,
            schema: schema.cloned(),
            projection: OnceLock::new(),
        })
    }

    /// Binds a subscription's variables (an object or null): coerces them, decides `@skip` and `@include`.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for each variable that does not fit its type, `LIMIT_EXCEEDED`.
    pub fn bind(&self, variables: &Value, limits: &Limits) -> Result<Bound, Vec<GraphQlError>> {
        let room = parse::room(&self.document);
        let coerced = || bind::coerce(&self.operation, self.schema.as_ref(), variables, limits);
        let variables = with_room(room, coerced)?;
        if let Some(projection) = self.projection.get() {
            return Ok(Bound { variables, projection: Arc::clone(projection) });
        }
        let projection = with_room(room, || self.project(&variables, limits)).map_err(|error| vec![error])?;
        Ok(Bound { variables, projection })
    }

    /// The projection for these variables; kept where it is the same for all.
    fn project(&self, variables: &Value, limits: &Limits) -> Result<Arc<Projection>, GraphQlError> {
        let fragments = parse::fragments(&self.tree);
        let set = &self.operation.selection_set;
        let compiler = Compiler::new(&fragments, self.schema.as_ref(), variables, limits);
        let projection = Arc::new(compiler.projection(set)?);
        if projection::depends_on_variables(set, &fragments) {
            return Ok(projection);
        }
        Ok(Arc::clone(self.projection.get_or_init(|| projection)))
    }

    /// The root field's arguments, an object: variables put in, and the schema's defaults where there is one.
    pub fn arguments(&self, variables: &Value) -> Value {
        let root = first_field(&self.operation.selection_set, &parse::fragments(&self.tree));
        with_room(parse::room(&self.document), || {
            root.map_or(Value::Null, |field| bind::arguments(&field, self.schema.as_ref(), variables))
        })
    }

    /// The root field's name in the schema.
    pub fn root_field(&self) -> &str {
        &self.root_field
    }

    /// The root field's name in results: its alias, or its name.
    pub fn response_key(&self) -> &str {
        &self.response_key
    }

    /// The operation's own name; a label is not one.
    pub fn operation_name(&self) -> Option<&str> {
        self.operation_name.as_deref()
    }

    /// The document as given.
    pub fn document(&self) -> &Arc<str> {
        &self.document
    }
}

/// A document that keeps every rule.
fn checked(
    document: &str,
    schema: Option<&Schema>,
    limits: &Limits,
    introspection: Introspection,
) -> Result<Document, Vec<GraphQlError>> {
    with_room(parse::room(document), || {
        let tree = parse::document(document, limits)?;
        introspection.check(&tree)?;
        let errors = rules::check(&tree, schema, limits);
        if errors.is_empty() { Ok(tree) } else { Err(errors) }
    })
}

/// What is wrong in the same way at several places is one error with several locations: a short document cannot cause
/// a long answer by saying the same again.
fn together(errors: Vec<GraphQlError>) -> Vec<GraphQlError> {
    let mut known: HashMap<_, usize> = HashMap::new();
    let mut told: Vec<GraphQlError> = Vec::new();
    for error in errors {
        match known.entry((error.code, error.message.clone())) {
            Entry::Occupied(at) => told[*at.get()].locations.extend(error.locations),
            Entry::Vacant(free) => {
                free.insert(told.len());
                told.push(error);
            }
        }
    }
    told
}

/// The root field; the rules have shown that there is one and that no fragment uses itself.
fn first_field(set: &[Selection], fragments: &parse::Fragments<'_>) -> Option<Node<Field>> {
    set.iter().find_map(|selection| match selection {
        Selection::Field(field) => Some(field.clone()),
        Selection::InlineFragment(inline) => first_field(&inline.selection_set, fragments),
        Selection::FragmentSpread(spread) => fragments
            .get(spread.fragment_name.as_str())
            .and_then(|fragment| first_field(&fragment.selection_set, fragments)),
    })
}

/// Holds any executable document against the rules of the GraphQL specification (section 5); empty when valid.
pub fn validate(
    document: &str,
    schema: Option<&Schema>,
    operation_name: Option<&str>,
    variables: Option<&Value>,
    limits: &Limits,
) -> Vec<GraphQlError> {
    let tree = match checked(document, schema, limits, Introspection::Allowed) {
        Ok(tree) if operation_name.is_some() || variables.is_some() => tree,
        checked => return checked.err().unwrap_or_default(),
    };
    let name = operation_name.map_or(OperationName::Only, |name| OperationName::Named(name.to_owned()));
    let meant = parse::operation(&tree, &name);
    let coerced = meant.and_then(|meant| match variables {
        Some(variables) => bind::coerce(meant, schema, variables, limits).map(drop),
        None => Ok(()),
    });
    coerced.err().unwrap_or_default()
}

/// What the operation that `name` means does; `None` if the document has none of that name, or is none.
pub fn kind(document: &str, name: &OperationName, limits: &Limits) -> Option<OperationKind> {
    let tree = with_room(parse::room(document), || parse::document(document, limits)).ok()?;
    let meant = parse::operation(&tree, name).ok()?;
    Some(meant.operation_type.into())
}

#[cfg(test)]
mod tests;
