//! Variables: coerced to the types that the operation declares (GraphQL specification, section 6.1.2).

use apollo_compiler::{
    ast::{self, OperationDefinition, Type, VariableDefinition},
    response::JsonMap,
};

use super::schema::Schema;
use crate::{error::GraphQlError, limits::Limits, value::Value};

const BAD: &str = "BAD_USER_INPUT";

/// The coerced variables of `operation`, an object: defaults filled in, unknown ones left out.
pub(super) fn coerce(
    tree: &ast::Document,
    operation: &OperationDefinition,
    schema: Option<&Schema>,
    given: &Value,
    limits: &Limits,
) -> Result<Value, Vec<GraphQlError>> {
    let given = match given {
        Value::Null => &Value::Object(Vec::new()),
        Value::Object(_) => given,
        other => {
            return Err(vec![GraphQlError::new(
                BAD,
                format!("variables must be an object, and are `{other}`"),
            )]);
        }
    };
    if operation.variables.is_empty() {
        return Ok(Value::Object(Vec::new()));
    }
    super::parse::within("variables_bytes_max", given.to_string().len(), limits.variables_bytes_max)?;
    match schema {
        Some(schema) => by_schema(tree, operation, schema, given, limits),
        None => by_name(operation, given),
    }
}

fn by_schema(
    tree: &ast::Document,
    operation: &OperationDefinition,
    schema: &Schema,
    given: &Value,
    limits: &Limits,
) -> Result<Value, Vec<GraphQlError>> {
    let refuse = |message: String| vec![GraphQlError::new(BAD, message)];
    let document = match tree.to_executable(schema.valid()) {
        Ok(document) => document,
        Err(refused) => refused.partial,
    };
    let name = operation.name.as_ref().map(|name| name.as_str());
    let operation = document.operations.get(name).map_err(|error| refuse(error.message().to_string()))?;
    let mut text = given.to_string().into_bytes();
    let given: JsonMap =
        simd_json::serde::from_slice(&mut text).map_err(|error| refuse(error.to_string()))?;
    let coerced = apollo_compiler::request::coerce_variable_values(schema.valid(), operation, &given)
        .map_err(|error| refuse(error.message().to_string()))?;
    let mut text = simd_json::serde::to_vec(&*coerced).map_err(|error| refuse(error.to_string()))?;
    Value::parse(&mut text, limits.message_depth_max).map_err(|error| refuse(error.to_string()))
}

/// Without a schema the built-in scalars are known by name; a value of any other type is taken as it is.
fn by_name(operation: &OperationDefinition, given: &Value) -> Result<Value, Vec<GraphQlError>> {
    let (mut coerced, mut errors) = (Vec::new(), Vec::new());
    for variable in &operation.variables {
        match one(variable, given.get(variable.name.as_str())) {
            Ok(Some(value)) => coerced.push((variable.name.to_string(), value)),
            Ok(None) => {}
            Err(reason) => {
                errors.push(GraphQlError::new(BAD, format!("variable `${}`: {reason}", variable.name)))
            }
        }
    }
    if errors.is_empty() { Ok(Value::Object(coerced)) } else { Err(errors) }
}

fn one(variable: &VariableDefinition, given: Option<&Value>) -> Result<Option<Value>, String> {
    let default = variable.default_value.as_ref().map(|value| literal(value));
    match given.or(default.as_ref()) {
        Some(value) => typed(&variable.ty, value).map(Some),
        None if variable.ty.is_non_null() => Err(format!("a value of type `{}` is required", variable.ty)),
        None => Ok(None),
    }
}

fn typed(ty: &Type, value: &Value) -> Result<Value, String> {
    match (ty, value) {
        (Type::NonNullNamed(_) | Type::NonNullList(_), Value::Null) => Err(format!("`{ty}` cannot be null")),
        (_, Value::Null) => Ok(Value::Null),
        (Type::Named(name) | Type::NonNullNamed(name), value) => scalar(name.as_str(), value),
        (Type::List(item) | Type::NonNullList(item), Value::List(values)) => {
            values.iter().map(|value| typed(item, value)).collect::<Result<_, _>>().map(Value::List)
        }
        // A single value stands for a list of one (section 3.11, input coercion).
        (Type::List(item) | Type::NonNullList(item), value) => Ok(Value::List(vec![typed(item, value)?])),
    }
}

fn scalar(name: &str, value: &Value) -> Result<Value, String> {
    let fits = |int: &i64| i32::try_from(*int).is_ok();
    match (name, value) {
        ("Int", Value::Int(int)) if fits(int) => Ok(value.clone()),
        ("Float", Value::Int(_) | Value::Float(_))
        | ("String" | "ID", Value::String(_))
        | ("Boolean", Value::Bool(_)) => Ok(value.clone()),
        ("ID", Value::Int(int)) => Ok(Value::String(int.to_string())),
        ("Int" | "Float" | "String" | "Boolean" | "ID", _) => {
            Err(format!("`{name}` expected, and `{value}` given"))
        }
        _ => Ok(value.clone()),
    }
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
            Value::Object(entries.iter().map(|(name, value)| (name.to_string(), literal(value))).collect())
        }
    }
}
