//! Variables: coerced to the types that the operation declares (GraphQL specification, section 6.1.2).
//!
//! Why not the library's coercion: it leaves default values as they are written, stops at the first error, and needs
//! a schema; here the same code answers with and without one. What only a schema knows (enums, input objects) is
//! taken as it is where there is none.

use apollo_compiler::{
    Name, Node,
    ast::{self, EnumValueDefinition, InputValueDefinition, OperationDefinition, Type, VariableDefinition},
    collections::IndexMap,
    schema::{Component, ExtendedType, InputObjectType},
};

use super::{inputs::is_one_of, parse::within, schema::Schema};
use crate::{error::GraphQlError, limits::Limits, value::Value};

const BAD: &str = "BAD_USER_INPUT";

/// The coerced variables of `operation`, an object: defaults filled in, unknown ones left out.
pub(super) fn coerce(
    operation: &OperationDefinition,
    schema: Option<&Schema>,
    given: &Value,
    limits: &Limits,
) -> Result<Value, Vec<GraphQlError>> {
    if !matches!(given, Value::Null | Value::Object(_)) {
        return Err(vec![GraphQlError::new(BAD, format!("variables must be an object, and are `{given}`"))]);
    }
    within("variables_bytes_max", given.to_string().len(), limits.variables_bytes_max)?;
    let coercion = Coercion { schema };
    let (mut coerced, mut errors) = (Vec::new(), Vec::new());
    for variable in &operation.variables {
        match coercion.variable(variable, given.get(variable.name.as_str())) {
            Ok(Some(value)) => coerced.push((variable.name.to_string(), value)),
            Ok(None) => {}
            Err(reason) => {
                errors.push(GraphQlError::new(BAD, format!("variable `${}`: {reason}", variable.name)));
            }
        }
    }
    if errors.is_empty() { Ok(Value::Object(coerced)) } else { Err(errors) }
}

/// Whether a literal fits a type, as far as that is known without a schema.
pub(super) fn check_literal(ty: &Type, value: &ast::Value) -> Result<(), String> {
    let inner = ty.inner_named_type();
    if names_enum(value) && matches!(inner.as_str(), "Int" | "Float" | "String" | "Boolean" | "ID") {
        return Err(format!("`{ty}` expected, and `{value}` given"));
    }
    Coercion { schema: None }.value(ty, &literal(value)).map(drop)
}

fn names_enum(value: &ast::Value) -> bool {
    match value {
        ast::Value::Enum(_) => true,
        ast::Value::List(items) => items.iter().any(|item| names_enum(item)),
        _ => false,
    }
}

struct Coercion<'a> {
    schema: Option<&'a Schema>,
}

impl Coercion<'_> {
    fn variable(
        &self,
        variable: &VariableDefinition,
        given: Option<&Value>,
    ) -> Result<Option<Value>, String> {
        self.given_or_default(&variable.ty, given, variable.default_value.as_deref())
    }

    fn given_or_default(
        &self,
        ty: &Type,
        given: Option<&Value>,
        default: Option<&ast::Value>,
    ) -> Result<Option<Value>, String> {
        match (given, default) {
            (Some(value), _) => self.value(ty, value).map(Some),
            (None, Some(default)) => self.value(ty, &literal(default)).map(Some),
            (None, None) if ty.is_non_null() => Err(format!("a value of type `{ty}` is required")),
            (None, None) => Ok(None),
        }
    }

    /// Coerces what validation has let through.
    fn settle(&self, ty: &Type, value: &mut Value) {
        if let Ok(coerced) = self.value(ty, value) {
            *value = coerced;
        }
    }

    fn value(&self, ty: &Type, value: &Value) -> Result<Value, String> {
        match (ty, value) {
            (Type::NonNullNamed(_) | Type::NonNullList(_), Value::Null) => {
                Err(format!("`{ty}` cannot be null"))
            }
            (_, Value::Null) => Ok(Value::Null),
            (Type::Named(name) | Type::NonNullNamed(name), value) => self.named(name, value),
            (Type::List(item) | Type::NonNullList(item), Value::List(values)) => {
                values.iter().map(|value| self.value(item, value)).collect::<Result<_, _>>().map(Value::List)
            }
            // A single value stands for a list of one (section 3.11, input coercion).
            (Type::List(item) | Type::NonNullList(item), value) => {
                Ok(Value::List(vec![self.value(item, value)?]))
            }
        }
    }

    fn named(&self, name: &str, value: &Value) -> Result<Value, String> {
        let refuse = || Err(format!("`{name}` expected, and `{value}` given"));
        match (name, value) {
            // A literal beyond the range of a double.
            (_, Value::Float(float)) if !float.is_finite() => refuse(),
            ("Int", Value::Int(int)) if i32::try_from(*int).is_ok() => Ok(value.clone()),
            ("Float", Value::Int(_) | Value::Float(_))
            | ("String" | "ID", Value::String(_))
            | ("Boolean", Value::Bool(_)) => Ok(value.clone()),
            ("ID", Value::Int(int)) => Ok(Value::String(int.to_string())),
            ("Int" | "Float" | "String" | "Boolean" | "ID", _) => refuse(),
            _ => match self.schema.and_then(|schema| schema.valid().types.get(name)) {
                Some(ExtendedType::Enum(known)) => {
                    if is_member(&known.values, value) {
                        Ok(value.clone())
                    } else {
                        refuse()
                    }
                }
                Some(ExtendedType::InputObject(known)) => self.input_object(known, value),
                _ => Ok(value.clone()),
            },
        }
    }

    /// Section 3.10, input coercion.
    fn input_object(&self, ty: &InputObjectType, value: &Value) -> Result<Value, String> {
        let Value::Object(entries) = value else {
            return Err(format!("`{}` expected, and `{value}` given", ty.name));
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !ty.fields.contains_key(key.as_str())) {
            return Err(format!("`{}` has no field `{key}`", ty.name));
        }
        if is_one_of(ty) && !matches!(&entries[..], [(_, only)] if *only != Value::Null) {
            return Err(format!("`{}` takes exactly one field, and not `null`", ty.name));
        }
        let mut coerced = Vec::with_capacity(ty.fields.len());
        for (name, field) in &ty.fields {
            if let Some(value) = self.input_field(field, value.get(name))? {
                coerced.push((name.to_string(), value));
            }
        }
        Ok(Value::Object(coerced))
    }

    fn input_field(
        &self,
        field: &InputValueDefinition,
        given: Option<&Value>,
    ) -> Result<Option<Value>, String> {
        self.given_or_default(&field.ty, given, field.default_value.as_deref())
            .map_err(|reason| format!("field `{}`: {reason}", field.name))
    }
}

/// A root field's arguments, an object (section 6.4.1): an absent variable leaves its argument absent.
pub(super) fn arguments(field: &ast::Field, schema: Option<&Schema>, variables: &Value) -> Value {
    let mut given: Vec<_> = Vec::new();
    for argument in &field.arguments {
        if let Some(value) = argument_value(&argument.value, variables) {
            given.push((argument.name.to_string(), value));
        }
    }
    let defined = schema.and_then(|schema| {
        let root = schema.valid().schema_definition.subscription.as_ref()?;
        schema.valid().type_field(root, &field.name).ok()
    });
    let coercion = Coercion { schema };
    for argument in defined.iter().flat_map(|field| &field.arguments) {
        let place = given.iter_mut().find(|(name, _)| *name == argument.name.as_str());
        match (place, &argument.default_value) {
            (Some((_, value)), _) => coercion.settle(&argument.ty, value),
            (None, Some(default)) => {
                let mut value = literal(default);
                coercion.settle(&argument.ty, &mut value);
                given.push((argument.name.to_string(), value));
            }
            (None, None) => {}
        }
    }
    Value::Object(given)
}

/// An argument's value; `None`: a variable that was not given.
fn argument_value(value: &ast::Value, variables: &Value) -> Option<Value> {
    Some(match value {
        ast::Value::Variable(name) => variables.get(name)?.clone(),
        ast::Value::List(items) => {
            let item = |item: &Node<ast::Value>| argument_value(item, variables).unwrap_or(Value::Null);
            Value::List(items.iter().map(item).collect())
        }
        ast::Value::Object(entries) => Value::Object(
            entries
                .iter()
                .filter_map(|(name, value)| Some((name.to_string(), argument_value(value, variables)?)))
                .collect(),
        ),
        value => literal(value),
    })
}

fn is_member(values: &IndexMap<Name, Component<EnumValueDefinition>>, value: &Value) -> bool {
    value.as_str().is_some_and(|name| values.contains_key(name))
}

/// A literal of the document as a value; numbers beyond 64 bits become the nearest double.
pub(super) fn literal(value: &ast::Value) -> Value {
    match value {
        ast::Value::Null | ast::Value::Variable(_) => Value::Null,
        ast::Value::Enum(name) => Value::String(name.to_string()),
        ast::Value::String(text) => Value::String(text.clone()),
        ast::Value::Boolean(truth) => Value::Bool(*truth),
        ast::Value::Int(int) => {
            let float = || int.as_str().parse().map_or(Value::Null, Value::Float);
            int.as_str().parse().map_or_else(|_| float(), Value::Int)
        }
        ast::Value::Float(float) => float.as_str().parse().map_or(Value::Null, Value::Float),
        ast::Value::List(items) => Value::List(items.iter().map(|item| literal(item)).collect()),
        ast::Value::Object(entries) => {
            let entry = |(name, value): &(Name, Node<ast::Value>)| (name.to_string(), literal(value));
            Value::Object(entries.iter().map(entry).collect())
        }
    }
}
