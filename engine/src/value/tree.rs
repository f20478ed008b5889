//! A small JSON tree for variables, arguments and constants, read by simd-json.

use std::{collections::HashSet, fmt};

/// A JSON value as a tree. Objects keep the order of their text; keys are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// Any other number; JSON has no infinity and no NaN, so these are written as `null`.
    Float(f64),
    /// A string.
    String(String),
    /// An array.
    List(Vec<Value>),
    /// An object.
    Object(Vec<(String, Value)>),
}

/// Why bytes are not a [`Value`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// Not JSON, or a number that does not fit 64 bits.
    Invalid(String),
    /// A key occurs twice in one object.
    DuplicateKey(String),
    /// Nesting deeper than this bound.
    TooDeep(usize),
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(reason) => write!(f, "invalid JSON: {reason}"),
            Self::DuplicateKey(key) => write!(f, "duplicate key `{key}`: each key may occur once"),
            Self::TooDeep(max) => write!(f, "nested deeper than {max} levels"),
        }
    }
}

impl std::error::Error for ValueError {}

impl Value {
    /// Reads one JSON text, which is overwritten while it is decoded.
    ///
    /// # Errors
    /// Text that is not JSON, nesting deeper than `depth_max`, a duplicate key, an integer beyond 64 bits.
    pub fn parse(text: &mut [u8], depth_max: usize) -> Result<Self, ValueError> {
        let tape = simd_json::to_tape(text).map_err(|error| ValueError::Invalid(reason(&error)))?;
        let mut reader = TapeReader { nodes: tape.0.iter(), depth_max };
        reader.value(0)
    }

    /// The value under `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Self::Object(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The characters, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// Appends this value as JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Float(number) if !number.is_finite() => out.extend_from_slice(b"null"),
            // `{:?}` is the shortest text that reads back as the same double, and valid JSON.
            Self::Float(number) => out.extend_from_slice(format!("{number:?}").as_bytes()),
            Self::String(text) => write_string(out, text),
            Self::List(items) => {
                write_separated(out, [b'[', b']'], items, |out, item| item.write(out));
            }
            Self::Object(entries) => write_separated(out, [b'{', b'}'], entries, |out, (key, value)| {
                write_string(out, key);
                out.push(b':');
                value.write(out);
            }),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

fn write_separated<T>(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    items: &[T],
    write: impl Fn(&mut Vec<u8>, &T),
) {
    out.push(open);
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(close);
}

/// Appends `text` as a JSON string, with the escapes that RFC 8259 (section 7) demands and no others.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// `text` as a JSON string, with its quotes.
pub fn quote(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    // What was UTF-8 still is: only ASCII bytes were replaced, by ASCII.
    String::from_utf8(out).unwrap_or_default()
}

fn reason(error: &simd_json::Error) -> String {
    format!("{:?} at byte {}", error.error(), error.index())
}

struct TapeReader<'t, 'text> {
    nodes: std::slice::Iter<'t, simd_json::Node<'text>>,
    depth_max: usize,
}

impl TapeReader<'_, '_> {
    fn value(&mut self, depth: usize) -> Result<Value, ValueError> {
        use simd_json::{Node, StaticNode};
        if depth > self.depth_max {
            return Err(ValueError::TooDeep(self.depth_max));
        }
        match self.nodes.next() {
            None => Err(ValueError::Invalid("the text ends inside a value".into())),
            Some(Node::String(text)) => Ok(Value::String((*text).into())),
            Some(Node::Static(StaticNode::Null)) => Ok(Value::Null),
            Some(Node::Static(StaticNode::Bool(truth))) => Ok(Value::Bool(*truth)),
            Some(Node::Static(StaticNode::I64(number))) => Ok(Value::Int(*number)),
            Some(Node::Static(StaticNode::U64(number))) => match i64::try_from(*number) {
                Ok(number) => Ok(Value::Int(number)),
                Err(_) => Err(ValueError::Invalid(format!("the integer {number} does not fit 64 bits"))),
            },
            Some(Node::Static(StaticNode::F64(number))) => Ok(Value::Float(*number)),
            Some(Node::Array { len, .. }) => {
                (0..*len).map(|_| self.value(depth + 1)).collect::<Result<_, _>>().map(Value::List)
            }
            Some(Node::Object { len, .. }) => self.object(*len, depth),
        }
    }

    fn object(&mut self, len: usize, depth: usize) -> Result<Value, ValueError> {
        let mut entries: Vec<(String, Value)> = Vec::with_capacity(len);
        let mut seen = HashSet::with_capacity(len);
        for _ in 0..len {
            let Value::String(key) = self.value(depth)? else {
                return Err(ValueError::Invalid("a key that is not a string".into()));
            };
            if !seen.insert(key.clone()) {
                return Err(ValueError::DuplicateKey(key));
            }
            entries.push((key, self.value(depth + 1)?));
        }
        Ok(Value::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Value, String> {
        Value::parse(&mut text.as_bytes().to_vec(), 8).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_written_as_it_was_read() {
        let text = r#"{"a":[1,-2.5,true,null,"x\"\\\n\u0001é"],"b":{},"c":[],"d":1e300}"#;
        assert_eq!(parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in ["", "[1,]", "nul", "NaN", r#""\ud800""#, "\u{feff}1", "1 2", "18446744073709551616"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse(r#"{"a":1,"a":2}"#).unwrap_err(), "duplicate key `a`: each key may occur once");
        assert_eq!(parse("[[[[[[[[[1]]]]]]]]]").unwrap_err(), "nested deeper than 8 levels");
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
