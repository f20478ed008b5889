//! A GraphQL schema: read once, validated, and shared by every plan that is held against it.

use std::sync::Arc;

use apollo_compiler::{
    Name,
    ast::{Definition, Document, OperationType, Type},
    diagnostic::ToCliReport,
    schema::ExtendedType,
    validation::Valid,
};

use super::parse::{located, place};
use crate::error::GraphQlError;

/// The built-in directive (section 3.13.5) that the library does not know.
const ONE_OF: &str = "directive @oneOf on INPUT_OBJECT";

/// A validated GraphQL schema (GraphQL specification, section 3); a clone shares it.
#[derive(Clone, Debug)]
pub struct Schema(Arc<Valid<apollo_compiler::Schema>>);

impl Schema {
    /// Reads and validates a schema in the schema definition language.
    ///
    /// # Errors
    /// Every syntax and validation error, with its place.
    pub fn parse(sdl: &str) -> Result<Self, Vec<GraphQlError>> {
        let mut builder = apollo_compiler::Schema::builder().parse(sdl, "schema");
        if !defines_one_of(sdl) {
            builder = builder.parse(ONE_OF, "built_in");
        }
        let parsed = builder.build().and_then(apollo_compiler::Schema::validate);
        match parsed {
            Ok(schema) => Ok(Self(Arc::new(schema))),
            Err(refused) => Err(refused
                .errors
                .iter()
                .map(|found| {
                    let at = place(found.error.location(), found.sources);
                    located("GRAPHQL_VALIDATION_FAILED", found.error.to_string(), at)
                })
                .collect()),
        }
    }

    /// The root type of subscriptions.
    pub(crate) fn subscription(&self) -> Option<&str> {
        self.0.root_operation(OperationType::Subscription).map(Name::as_str)
    }

    /// The declared type of a field.
    pub(crate) fn field_type(&self, parent: &str, field: &str) -> Option<Type> {
        self.0.type_field(parent, field).ok().map(|field| field.ty.clone())
    }

    /// The fields that a type declares; none for a union, a scalar and what is no type.
    pub(crate) fn fields_of(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = match self.0.types.get(name) {
            Some(ExtendedType::Object(object)) => Some(&object.fields),
            Some(ExtendedType::Interface(interface)) => Some(&interface.fields),
            _ => None,
        };
        fields.into_iter().flat_map(|fields| fields.keys().map(Name::as_str))
    }

    /// Whether a type has fields, by itself or by its members.
    pub(crate) fn is_composite(&self, name: &str) -> bool {
        let known = self.0.types.get(name);
        known.is_some_and(|ty| ty.is_object() || ty.is_interface() || ty.is_union())
    }

    /// Whether a type is a scalar that the schema declares: what it holds is not known.
    pub(crate) fn is_custom_scalar(&self, name: &str) -> bool {
        self.0.types.get(name).is_some_and(|ty| ty.is_scalar() && !ty.is_built_in())
    }

    pub(super) fn is_object(&self, name: &str) -> bool {
        self.0.get_object(name).is_some()
    }

    /// The object types that are `name`: itself, or those that implement it or are its members.
    pub(crate) fn object_types<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let objects = self.0.types.iter().filter(|(_, ty)| ty.is_object()).map(|(object, _)| object.as_str());
        objects.filter(move |object| *object == name || self.0.is_subtype(name, object))
    }

    pub(super) fn valid(&self) -> &Valid<apollo_compiler::Schema> {
        &self.0
    }
}

fn defines_one_of(sdl: &str) -> bool {
    let document = Document::parse(sdl, "schema").unwrap_or_else(|refused| refused.partial);
    document.definitions.iter().any(|definition| {
        matches!(definition, Definition::DirectiveDefinition(directive) if directive.name == "oneOf")
    })
}

/// Two schemas are equal when they are the same one: comparing them by text would cost more than it saves.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Schema {}
