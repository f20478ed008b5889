//! A selection set compiled for one subscription: fragments inlined, fields merged, directives decided.
//!
//! What is left is what shapes the bytes and nothing else, so two projections are equal exactly when they give equal
//! bytes for every document: names of variables and fragments, white space and arguments of nested fields are gone.
//!
//! A selection set with type conditions is compiled once for each runtime type that the conditions can tell apart,
//! so that rendering never asks a condition.

use std::collections::BTreeSet;

use apollo_compiler::{
    Name, Node,
    ast::{Directive, DirectiveList, Field as AstField, Selection, Type as AstType},
    schema::ExtendedType,
};

use super::{parse::Fragments, schema::Schema};
use crate::{
    error::{GraphQlError, LimitExceeded},
    limits::Limits,
    value::{Value, quote},
};

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Projection {
    pub(super) root_field: Box<str>,
    pub(super) root: Field,
    pub(super) response_key: Box<str>,
}

/// One field of a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Field {
    /// The response key as JSON text with a colon.
    pub(super) key: Box<str>,
    /// The document's key; `None` for `__typename`, and where the document is not looked at.
    pub(super) name: Option<Box<str>>,
    pub(super) ty: Type,
    pub(super) shape: Shape,
}

/// How a value is wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Type {
    /// No schema: lists are found in the document, and anything may be null.
    Any,
    /// One value.
    One { non_null: bool },
    /// A list of values.
    List { item: Box<Type>, non_null: bool },
}

/// What a value is rendered as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    Leaf(Leaf),
    Object(Object),
    /// This JSON text, whatever the document holds: it is not looked at.
    Fixed(Box<str>),
}

/// A scalar or an enum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leaf {
    /// No schema, or a custom scalar: as it is.
    Any,
    Int,
    Float,
    String,
    Boolean,
    Id,
    Enum(Box<[Box<str>]>),
    /// Scalars and lists of them; an object, which nobody described, is an error.
    Flat,
    /// A text of which the last characters, so many of them, may be read.
    Last(usize),
}

/// A selection set: the fields for each runtime type that matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Object {
    /// The schema's type, if it is an object type: then documents need not say.
    pub(super) concrete: Option<Box<str>>,
    /// The object types that the schema's interface or union can be, sorted; `None` where the schema does not say.
    pub(super) possible: Option<Box<[Box<str>]>>,
    /// Fields of runtime types that a condition names.
    pub(super) by_type: Box<[Variant]>,
    /// Fields of every other runtime type; where no condition is, of all.
    pub(super) other: Box<[Field]>,
    /// Fields where the runtime type is not told, if `by_type` has any; `None`: that is an error.
    pub(super) unknown: Option<Box<[Field]>>,
}

/// The name of a runtime type, and its fields.
pub(super) type Variant = (Box<str>, Box<[Field]>);

/// What is known of a value's type while its selection set is compiled.
#[derive(Clone, Copy)]
enum Runtime<'a> {
    Is(&'a str),
    Other,
    Unknown,
}

/// What compiles a projection.
pub(super) struct Compiler<'a> {
    pub(super) fragments: &'a Fragments<'a>,
    pub(super) schema: Option<&'a Schema>,
    pub(super) variables: &'a Value,
    /// Fields that may still be compiled: variants multiply, and this bounds their product.
    left: usize,
    max: usize,
}

/// Fields of a result with one response key, before their selection sets are merged.
type Collected<'a> = Vec<(&'a str, Vec<&'a Node<AstField>>)>;

/// How many times `query_fields_max` the variants of one projection may hold.
const VARIANTS_MAX: usize = 16;

impl<'a> Compiler<'a> {
    pub(super) fn new(
        fragments: &'a Fragments<'a>,
        schema: Option<&'a Schema>,
        variables: &'a Value,
        limits: &Limits,
    ) -> Self {
        let max = limits.query_fields_max.saturating_mul(VARIANTS_MAX);
        Self { fragments, schema, variables, left: max, max }
    }

    /// The projection of an operation whose root selection set is `set`.
    pub(super) fn projection(mut self, set: &'a [Selection]) -> Result<Projection, GraphQlError> {
        let root_type = self.schema.and_then(Schema::subscription);
        let mut collected = Vec::new();
        self.collect(&[set], root_type.map_or(Runtime::Unknown, Runtime::Is), &mut collected)?;
        let Some((key, nodes)) = collected.into_iter().next() else {
            return Err(GraphQlError::new("GRAPHQL_VALIDATION_FAILED", "a subscription needs a root field"));
        };
        let root_field = nodes[0].name.as_str().into();
        Ok(Projection { root_field, root: self.field(key, &nodes, root_type)?, response_key: key.into() })
    }

    fn field(
        &mut self,
        key: &str,
        nodes: &[&'a Node<AstField>],
        parent: Option<&str>,
    ) -> Result<Field, GraphQlError> {
        let spent =
            LimitExceeded { limit: "query_fields_max", asked: self.max.saturating_add(1), max: self.max };
        self.left = self.left.checked_sub(1).ok_or_else(|| super::parse::limited(&spent))?;
        let key = format!("{}:", quote(key)).into();
        let name = nodes[0].name.as_str();
        if name == "__typename" {
            return Ok(Field { key, name: None, ty: Type::Any, shape: Shape::Leaf(Leaf::Any) });
        }
        let declared = self.schema.zip(parent).and_then(|(schema, parent)| schema.field_type(parent, name));
        let ty = declared.as_ref().map_or(Type::Any, wrapping);
        let inner = declared.as_ref().map(|ty| ty.inner_named_type().as_str());
        let sets: Vec<_> =
            nodes.iter().map(|node| &node.selection_set[..]).filter(|set| !set.is_empty()).collect();
        let shape = if sets.is_empty() {
            Shape::Leaf(self.leaf(inner))
        } else {
            Shape::Object(self.object(&sets, inner)?)
        };
        Ok(Field { key, name: Some(name.into()), ty, shape })
    }

    fn object(&mut self, sets: &[&'a [Selection]], ty: Option<&str>) -> Result<Object, GraphQlError> {
        match self.schema.zip(ty) {
            Some((schema, name)) if schema.is_object(name) => {
                let other = self.fields(sets, Runtime::Is(name), ty)?;
                let (concrete, by_type) = (Some(name.into()), Box::default());
                Ok(Object { concrete, possible: None, by_type, other, unknown: None })
            }
            Some((schema, name)) => self.abstract_object(sets, schema, name),
            None => self.untyped_object(sets),
        }
    }

    /// An interface or a union: the fields of an object type are that type's, which may be narrower.
    fn abstract_object(
        &mut self,
        sets: &[&'a [Selection]],
        schema: &'a Schema,
        ty: &str,
    ) -> Result<Object, GraphQlError> {
        let conditions = self.conditions_of(sets);
        let mut possible: Vec<&str> = schema.object_types(ty).collect();
        possible.sort_unstable();
        let matching: BTreeSet<_> = conditions.iter().flat_map(|name| schema.object_types(name)).collect();
        let own = |object: &str| sets.iter().any(|set| narrows(set, schema, ty, object));
        let apart: Vec<_> =
            possible.iter().copied().filter(|object| matching.contains(object) || own(object)).collect();
        let mut by_type = Vec::with_capacity(apart.len());
        for name in apart {
            by_type.push((name.into(), self.fields(sets, Runtime::Is(name), Some(name))?));
        }
        let other = self.fields(sets, Runtime::Other, Some(ty))?;
        let unknown = if conditions.is_empty() && !by_type.is_empty() {
            Some(self.fields(sets, Runtime::Other, Some(ty))?)
        } else {
            None
        };
        let possible = Some(possible.into_iter().map(Box::from).collect());
        Ok(Object { concrete: None, possible, by_type: by_type.into(), other, unknown })
    }

    /// Without a schema a document that does not name its type is what the fragments say it is.
    fn untyped_object(&mut self, sets: &[&'a [Selection]]) -> Result<Object, GraphQlError> {
        let conditions = self.conditions_of(sets);
        let mut by_type = Vec::with_capacity(conditions.len());
        for name in &conditions {
            by_type.push(((*name).into(), self.fields(sets, Runtime::Is(name), None)?));
        }
        let other = self.fields(sets, Runtime::Other, None)?;
        let unknown =
            if by_type.is_empty() { None } else { Some(self.fields(sets, Runtime::Unknown, None)?) };
        Ok(Object { concrete: None, possible: None, by_type: by_type.into(), other, unknown })
    }

    fn fields(
        &mut self,
        sets: &[&'a [Selection]],
        runtime: Runtime<'_>,
        parent: Option<&str>,
    ) -> Result<Box<[Field]>, GraphQlError> {
        let mut collected = Vec::new();
        self.collect(sets, runtime, &mut collected)?;
        collected.iter().map(|(key, nodes)| self.field(key, nodes, parent)).collect()
    }

    /// `CollectFields` (section 6.3.2) for one runtime type.
    fn collect(
        &self,
        sets: &[&'a [Selection]],
        runtime: Runtime<'_>,
        into: &mut Collected<'a>,
    ) -> Result<(), GraphQlError> {
        for selection in sets.iter().copied().flatten() {
            if !self.included(directives(selection))? {
                continue;
            }
            match selection {
                Selection::Field(field) => {
                    let key = field.response_name().as_str();
                    match into.iter_mut().find(|(other, _)| *other == key) {
                        Some((_, nodes)) => nodes.push(field),
                        None => into.push((key, vec![field])),
                    }
                }
                Selection::InlineFragment(inline) => {
                    let condition = inline.type_condition.as_ref().map(Name::as_str);
                    if condition.is_none_or(|name| self.holds(name, &inline.selection_set, runtime)) {
                        self.collect(&[&inline.selection_set], runtime, into)?;
                    }
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.fragments.get(spread.fragment_name.as_str())
                        && self.holds(&fragment.type_condition, &fragment.selection_set, runtime)
                    {
                        self.collect(&[&fragment.selection_set], runtime, into)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a fragment's type condition holds. Without a schema it holds for the type of its name, and for those
    /// that conditions directly inside it name: in a valid document these are among its types (section 5.5.2.3).
    fn holds(&self, condition: &str, inside: &'a [Selection], runtime: Runtime<'_>) -> bool {
        match (runtime, self.schema) {
            (Runtime::Is(name), _) if name == condition => true,
            (Runtime::Is(name), Some(schema)) => schema.valid().is_subtype(condition, name),
            (Runtime::Is(name), None) => self.conditions_of(&[inside]).contains(name),
            (Runtime::Other, _) => false,
            (Runtime::Unknown, _) => true,
        }
    }

    fn conditions_of(&self, sets: &[&'a [Selection]]) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        for set in sets {
            self.conditions(set, &mut found);
        }
        found
    }

    /// The type conditions of a selection set, through its fragments, not through its fields.
    fn conditions(&self, set: &'a [Selection], into: &mut BTreeSet<&'a str>) {
        for selection in set {
            match selection {
                Selection::Field(_) => {}
                Selection::InlineFragment(inline) => {
                    into.extend(inline.type_condition.as_ref().map(Name::as_str));
                    self.conditions(&inline.selection_set, into);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.fragments.get(spread.fragment_name.as_str()) {
                        into.insert(fragment.type_condition.as_str());
                        self.conditions(&fragment.selection_set, into);
                    }
                }
            }
        }
    }

    fn leaf(&self, ty: Option<&str>) -> Leaf {
        match ty {
            Some("Int") => Leaf::Int,
            Some("Float") => Leaf::Float,
            Some("String") => Leaf::String,
            Some("Boolean") => Leaf::Boolean,
            Some("ID") => Leaf::Id,
            Some(name) => match self.schema.and_then(|schema| schema.valid().types.get(name)) {
                Some(ExtendedType::Enum(values)) => {
                    Leaf::Enum(values.values.keys().map(|value| value.as_str().into()).collect())
                }
                _ => Leaf::Any,
            },
            None => Leaf::Any,
        }
    }

    /// `@skip` and `@include` (section 3.13).
    fn included(&self, directives: &DirectiveList) -> Result<bool, GraphQlError> {
        for directive in directives {
            let wanted = match directive.name.as_str() {
                "skip" => false,
                "include" => true,
                _ => continue,
            };
            if self.condition(directive)? != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn condition(&self, directive: &Directive) -> Result<bool, GraphQlError> {
        let argument = directive.specified_argument_by_name("if");
        let value = match argument.and_then(|value| value.as_variable()) {
            Some(variable) => self.variables.get(variable.as_str()).cloned(),
            None => argument.map(|value| super::bind::literal(value)),
        };
        let Some(Value::Bool(truth)) = value else {
            let message = format!("the condition of `@{}` is not a boolean", directive.name);
            return Err(GraphQlError::new("BAD_USER_INPUT", message));
        };
        Ok(truth)
    }
}

/// Whether `object` declares a field of this set with another type than `ty` does.
fn narrows(set: &[Selection], schema: &Schema, ty: &str, object: &str) -> bool {
    set.iter().any(|selection| match selection {
        Selection::Field(field) => schema
            .field_type(ty, &field.name)
            .is_some_and(|declared| schema.field_type(object, &field.name).as_ref() != Some(&declared)),
        Selection::InlineFragment(inline) => narrows(&inline.selection_set, schema, ty, object),
        // Its type condition tells the types apart already.
        Selection::FragmentSpread(_) => false,
    })
}

/// Whether the selection set depends on variables, through `@skip` or `@include`.
pub(super) fn depends_on_variables(set: &[Selection], fragments: &Fragments<'_>) -> bool {
    let variable = |directive: &Node<Directive>| {
        directive.arguments.iter().any(|argument| argument.value.as_variable().is_some())
    };
    set.iter().any(|selection| {
        directives(selection).iter().any(variable)
            || match selection {
                Selection::Field(field) => depends_on_variables(&field.selection_set, fragments),
                Selection::InlineFragment(inline) => depends_on_variables(&inline.selection_set, fragments),
                Selection::FragmentSpread(spread) => fragments
                    .get(spread.fragment_name.as_str())
                    .is_some_and(|fragment| depends_on_variables(&fragment.selection_set, fragments)),
            }
    })
}

fn directives(selection: &Selection) -> &DirectiveList {
    match selection {
        Selection::Field(field) => &field.directives,
        Selection::InlineFragment(inline) => &inline.directives,
        Selection::FragmentSpread(spread) => &spread.directives,
    }
}

fn wrapping(ty: &AstType) -> Type {
    match ty {
        AstType::Named(_) => Type::One { non_null: false },
        AstType::NonNullNamed(_) => Type::One { non_null: true },
        AstType::List(item) => Type::List { item: Box::new(wrapping(item)), non_null: false },
        AstType::NonNullList(item) => Type::List { item: Box::new(wrapping(item)), non_null: true },
    }
}
