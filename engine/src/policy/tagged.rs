//! Expressions over values whose types are kept apart in JSON: `{"x": {"int": "1"}}` → `{"uint": "3"}`.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    PolicyError, Position,
    constant::Constant,
    evaluate::Expression,
    parse::type_named,
    time::{Span, Time},
};
use crate::value::{Value, quote};

/// Nesting of the bindings.
const DEPTH_MAX: usize = 128;

/// Evaluates `expression`. `bindings` is a JSON object of values with their kinds: `int`, `uint`, `double` (as texts, or as numbers), `string`,
/// `bytes` (Base64, RFC 4648, section 4), `bool`, `null`, `list`, `map` (an array of `[key, value]`, or an object for string keys),
/// `timestamp`, `duration`, `type`. Those in `known` are folded first, as at a subscription; the bytecode reads the
/// others. Answers a value in the same form, or `{"error": "…"}`.
///
/// # Errors
/// Bindings that are not of this form.
pub fn evaluate_tagged(expression: &str, bindings: &str, known: &[&str]) -> Result<String, PolicyError> {
    let tree = Value::parse(&mut bindings.as_bytes().to_vec(), DEPTH_MAX).map_err(|error| bad(error.to_string()))?;
    let Value::Object(entries) = tree else { return Err(bad("the bindings are an object".into())) };
    let values = entries.iter().map(|(_, value)| untag(value)).collect::<Result<Vec<_>, _>>()?;
    let value = Expression::new(expression, entries.iter().map(|(name, _)| &**name), known)
        .and_then(|expression| expression.value(&values));
    Ok(match value {
        Ok(value) => tag(&value).to_string(),
        Err(error) => format!(r#"{{"error":{}}}"#, quote(&error.to_string())),
    })
}

fn bad(message: String) -> PolicyError {
    PolicyError::new(Position::default(), message)
}

fn untag(value: &Value) -> Result<Constant, PolicyError> {
    let wrong = || bad(format!("not a value with its kind: {value}"));
    let Value::Object(entries) = value else { return Err(wrong()) };
    let [(kind, value)] = &**entries else { return Err(wrong()) };
    let text = value.as_str();
    let number = || match value {
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => text.map(str::to_owned),
    };
    let constant = match &**kind {
        "int" => number().and_then(|text| text.parse().ok()).map(Constant::Int),
        "uint" => number().and_then(|text| text.parse().ok()).map(Constant::Uint),
        "double" => number().and_then(|text| text.parse().ok()).map(Constant::Double),
        "string" => text.map(Constant::from),
        "bytes" => text.and_then(|text| STANDARD.decode(text).ok()).map(|bytes| Constant::Bytes(bytes.into())),
        "bool" => if let Value::Bool(truth) = value { Some(Constant::Bool(*truth)) } else { None },
        "null" => Some(Constant::Null),
        "timestamp" => text.and_then(|text| Time::parse(text).ok()).map(Constant::Time),
        "duration" => text.and_then(|text| Span::parse(text).ok()).map(Constant::Span),
        "type" => text.and_then(type_named).map(Constant::Type),
        "list" => match value {
            Value::List(items) => Some(Constant::List(items.iter().map(untag).collect::<Result<_, _>>()?)),
            _ => None,
        },
        "map" => match value {
            Value::List(items) => Some(Constant::Map(items.iter().map(pair).collect::<Result<_, _>>()?)),
            Value::Object(entries) => {
                let entry = |(key, value): &(String, Value)| Ok((Constant::from(&**key), untag(value)?));
                Some(Constant::Map(entries.iter().map(entry).collect::<Result<_, _>>()?))
            }
            _ => None,
        },
        _ => None,
    };
    constant.ok_or_else(wrong)
}

fn pair(value: &Value) -> Result<(Constant, Constant), PolicyError> {
    match value {
        Value::List(pair) if pair.len() == 2 => Ok((untag(&pair[0])?, untag(&pair[1])?)),
        _ => Err(bad(format!("not a key and a value: {value}"))),
    }
}

fn tag(constant: &Constant) -> Value {
    let text = |text: &dyn ToString| Value::String(text.to_string());
    let (kind, value) = match constant {
        Constant::Null => ("null", Value::Null),
        Constant::Bool(truth) => ("bool", Value::Bool(*truth)),
        Constant::Int(number) => ("int", text(number)),
        Constant::Uint(number) => ("uint", text(number)),
        Constant::Double(number) if number.is_nan() => ("double", text(&"NaN")),
        Constant::Double(number) if number.is_infinite() => {
            ("double", text(&if *number > 0.0 { "Infinity" } else { "-Infinity" }))
        }
        // The shortest text that reads back as the same double.
        Constant::Double(number) => ("double", Value::String(format!("{number:?}"))),
        Constant::Text(value) | Constant::Id(value) => ("string", text(value)),
        Constant::Pattern(pattern) => ("string", text(&pattern.text())),
        Constant::Bytes(bytes) => ("bytes", Value::String(STANDARD.encode(bytes))),
        Constant::Time(time) => ("timestamp", text(time)),
        Constant::Span(span) => ("duration", text(span)),
        Constant::Type(name) => ("type", text(name)),
        Constant::List(items) => ("list", Value::List(items.iter().map(tag).collect())),
        Constant::Map(entries) => {
            let pair = |(key, value): &(Constant, Constant)| Value::List(vec![tag(key), tag(value)]);
            ("map", Value::List(entries.iter().map(pair).collect()))
        }
        Constant::Error(problem) => ("error", text(problem)),
    };
    Value::Object(vec![(kind.into(), value)])
}
