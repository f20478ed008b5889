//! Step 7 of the road: a projection applied to a document. Scalars are copied byte for byte from the source text.
//!
//! A field that cannot be rendered becomes `null` with an error beside the data, and a `null` where the schema says
//! there is none takes its parent with it (GraphQL specification, section 6.4.4).

use std::fmt;

use super::projection::{Field, Leaf, Object, Projection, Shape, Type};
use crate::value::{Kind, Lookup, Node, quote, write_string};

/// Why a document gives no body at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// The body would be larger than this many bytes.
    TooLarge(usize),
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(max) => write!(f, "the result is larger than `body_bytes_max`, which is {max}"),
        }
    }
}

impl std::error::Error for RenderError {}

impl Projection {
    /// The root field's name in results: its alias, or its name.
    pub fn response_key(&self) -> &str {
        &self.response_key
    }

    /// Appends the execution result for `value`, the root field's value: `{"data":{…}}`, with `errors` if there are
    /// any. O(what is selected).
    ///
    /// # Errors
    /// A result above `bytes_max`; what was appended is then no result.
    pub fn render(&self, value: Node<'_>, out: &mut Vec<u8>, bytes_max: usize) -> Result<(), RenderError> {
        let mut writer = Writer { end_max: out.len().saturating_add(bytes_max), out, errors: Vec::new() };
        writer.out.extend_from_slice(br#"{"data":"#);
        let start = writer.out.len();
        writer.out.push(b'{');
        writer.out.extend_from_slice(self.root.key.as_bytes());
        match writer.value(
            Some(value),
            &self.root.ty,
            &self.root.shape,
            &Path { parent: None, at: At::Key(&self.root.key) },
        ) {
            Ok(()) => writer.out.push(b'}'),
            Err(Stop::Null) => writer.null_since(start),
            Err(Stop::TooLarge) => return Err(RenderError::TooLarge(bytes_max)),
        }
        if !writer.errors.is_empty() {
            let Writer { out, errors, .. } = &mut writer;
            out.extend_from_slice(br#","errors":["#);
            out.append(errors);
            out.push(b']');
        }
        writer.out.push(b'}');
        if writer.out.len() > writer.end_max { Err(RenderError::TooLarge(bytes_max)) } else { Ok(()) }
    }

    /// The root field's value in a resolver's result. A resolver may answer in the shape of the query: an object
    /// whose only key is the root field's name or its alias; anything else is the value itself.
    pub fn root_value<'a>(&self, result: Node<'a>) -> Node<'a> {
        let mut entries = result.entries().into_iter().flatten();
        match (entries.next(), entries.next()) {
            (Some((key, value)), None) if key.is(&self.root_field) || key.is(&self.response_key) => value,
            _ => result,
        }
    }
}

/// Why a value is not written.
enum Stop {
    /// It is null where it may not be: its parent becomes null.
    Null,
    /// The body has no room.
    TooLarge,
}

/// Where a value stands in the result; a list of stack frames, so that it costs nothing until an error needs it.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    at: At<'a>,
}

#[derive(Clone, Copy)]
enum At<'a> {
    /// A response key as JSON text with a colon.
    Key(&'a str),
    Index(usize),
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    errors: Vec<u8>,
    end_max: usize,
}

impl Writer<'_> {
    fn value(
        &mut self,
        value: Option<Node<'_>>,
        ty: &Type,
        shape: &Shape,
        path: &Path<'_>,
    ) -> Result<(), Stop> {
        if self.out.len() + self.errors.len() > self.end_max {
            return Err(Stop::TooLarge);
        }
        if let Shape::Fixed(text) = shape {
            self.out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        let start = self.out.len();
        let non_null = matches!(ty, Type::One { non_null: true } | Type::List { non_null: true, .. });
        let Some(value) = value.filter(|value| !value.is_null()) else {
            if non_null {
                self.error("a value that may not be null is missing", path);
                return Err(Stop::Null);
            }
            self.out.extend_from_slice(b"null");
            return Ok(());
        };
        match self.present(value, ty, shape, path) {
            Err(Stop::Null) if !non_null => {
                self.null_since(start);
                Ok(())
            }
            other => other,
        }
    }

    fn present(&mut self, value: Node<'_>, ty: &Type, shape: &Shape, path: &Path<'_>) -> Result<(), Stop> {
        match (ty, shape, value.kind()) {
            (Type::List { item, .. }, _, Kind::Array) => self.list(value, item, shape, path),
            (Type::List { .. }, ..) => self.fail("a list expected", path),
            (Type::Any, Shape::Object(_), Kind::Array) => self.list(value, ty, shape, path),
            (_, Shape::Object(object), Kind::Object) => self.object(value, object, path),
            (_, Shape::Object(_), _) => self.fail("an object expected", path),
            (_, Shape::Leaf(leaf), _) => self.leaf(value, leaf, path),
            (_, Shape::Fixed(_), _) => Ok(()),
        }
    }

    fn list(&mut self, value: Node<'_>, item: &Type, shape: &Shape, path: &Path<'_>) -> Result<(), Stop> {
        self.out.push(b'[');
        for (index, value) in value.items().into_iter().flatten().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(Some(value), item, shape, &Path { parent: Some(path), at: At::Index(index) })?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, value: Node<'_>, object: &Object, path: &Path<'_>) -> Result<(), Stop> {
        let mut keys = value.lookup();
        let fields = match fields(&mut keys, object) {
            Ok(fields) => fields,
            Err(message) => return self.fail(message, path),
        };
        self.out.push(b'{');
        for (position, Field { key, name, ty, shape }) in fields.iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(key.as_bytes());
            let path = Path { parent: Some(path), at: At::Key(key) };
            match (name, shape) {
                (_, Shape::Fixed(_)) => self.value(None, ty, shape, &path)?,
                (Some(name), _) => self.value(keys.get(name), ty, shape, &path)?,
                (None, _) => self.type_name(keys.get("__typename"), object, &path)?,
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn type_name(&mut self, name: Option<Node<'_>>, object: &Object, path: &Path<'_>) -> Result<(), Stop> {
        match (&object.concrete, name) {
            (Some(concrete), _) => write_string(self.out, concrete),
            (None, Some(name)) if name.kind() == Kind::String => {
                if !is_possible(name, object) {
                    return self.fail(IMPOSSIBLE, path);
                }
                self.out.extend_from_slice(name.raw().as_bytes());
            }
            // Without a schema nothing is `String!`: the other fields stay.
            _ if object.possible.is_none() => {
                self.error(UNKNOWN, path);
                self.out.extend_from_slice(b"null");
            }
            _ => return self.fail(UNKNOWN, path),
        }
        Ok(())
    }

    fn leaf(&mut self, value: Node<'_>, leaf: &Leaf, path: &Path<'_>) -> Result<(), Stop> {
        let int32 = || value.as_i64().is_some_and(|int| i32::try_from(int).is_ok());
        let expected = match (leaf, value.kind()) {
            (Leaf::Any, _)
            | (Leaf::Float, Kind::Integer | Kind::Float)
            | (Leaf::String | Leaf::Id, Kind::String)
            | (Leaf::Boolean, Kind::True | Kind::False) => None,
            (Leaf::Int, Kind::Integer) if int32() => None,
            (Leaf::Id, Kind::Integer) => {
                self.out.push(b'"');
                self.out.extend_from_slice(value.raw().as_bytes());
                self.out.push(b'"');
                return Ok(());
            }
            (Leaf::Enum(values), _) if values.iter().any(|known| value.is(known)) => None,
            (Leaf::Flat, _) if !holds_object(value) => None,
            (Leaf::Last(count), _) => {
                write_string(self.out, &last(value, *count));
                return Ok(());
            }
            (Leaf::Flat, _) => Some(GUARDED),
            (Leaf::Int, _) => Some("a 32-bit integer expected"),
            (Leaf::Float, _) => Some("a number expected"),
            (Leaf::String, _) => Some("a string expected"),
            (Leaf::Boolean, _) => Some("a boolean expected"),
            (Leaf::Id, _) => Some("a string or an integer expected"),
            (Leaf::Enum(_), _) => Some("a value of the enum expected"),
        };
        match expected {
            None => self.out.extend_from_slice(value.raw().as_bytes()),
            Some(expected) => return self.fail(expected, path),
        }
        Ok(())
    }

    /// A field error: the value becomes null, or its parent where it may not.
    fn fail(&mut self, message: &str, path: &Path<'_>) -> Result<(), Stop> {
        self.error(message, path);
        Err(Stop::Null)
    }

    fn error(&mut self, message: &str, path: &Path<'_>) {
        if !self.errors.is_empty() {
            self.errors.push(b',');
        }
        let error = format!(r#"{{"message":{},"path":[{}]}}"#, quote(message), path.text());
        self.errors.extend_from_slice(error.as_bytes());
    }

    fn null_since(&mut self, start: usize) {
        self.out.truncate(start);
        self.out.extend_from_slice(b"null");
    }
}

const UNKNOWN: &str = "the type is not known: put `__typename` into the event, or give a schema";
const GUARDED: &str = "an object, of which not everything may be read: select its fields";
const IMPOSSIBLE: &str = "`__typename` is not one of the types that the schema allows here";

/// The fields for the value's runtime type, or why there are none.
fn fields<'o>(keys: &mut Lookup<'_>, object: &'o Object) -> Result<&'o [Field], &'static str> {
    if object.by_type.is_empty() {
        return Ok(&object.other);
    }
    let Some(name) = keys.get("__typename").filter(|name| name.kind() == Kind::String) else {
        return object.unknown.as_deref().ok_or(UNKNOWN);
    };
    match object.by_type.iter().find(|(known, _)| name.is(known)) {
        Some((_, fields)) => Ok(fields),
        None if is_possible(name, object) => Ok(&object.other),
        None => Err(IMPOSSIBLE),
    }
}

fn holds_object(value: Node<'_>) -> bool {
    value.kind() == Kind::Object || value.items().into_iter().flatten().any(holds_object)
}

/// Asterisks and the last `count` characters of a text or an integer. One that has no more characters, and any other
/// value, shows none.
fn last(value: Node<'_>, count: usize) -> String {
    let text = match value.kind() {
        Kind::Integer => value.raw().trim_start_matches('-').into(),
        _ => value.as_str().unwrap_or_default(),
    };
    let from = text.chars().count().checked_sub(count).filter(|hidden| *hidden > 0);
    let shown: String = from.map(|from| text.chars().skip(from).collect()).unwrap_or_default();
    format!("***{shown}")
}

/// Whether the schema, if there is one, allows this runtime type here.
fn is_possible(name: Node<'_>, object: &Object) -> bool {
    let known = |possible: &[Box<str>]| {
        name.as_str().is_some_and(|name| possible.binary_search_by(|known| (**known).cmp(&*name)).is_ok())
    };
    object.possible.as_deref().is_none_or(known)
}

impl Path<'_> {
    /// The path as JSON text without its brackets, root first.
    fn text(&self) -> String {
        let at = match self.at {
            At::Key(key) => key.trim_end_matches(':').to_owned(),
            At::Index(index) => index.to_string(),
        };
        self.parent.map_or_else(|| at.clone(), |parent| format!("{},{at}", parent.text()))
    }
}
