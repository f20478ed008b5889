//! An event's JSON text with an index of its values, made in one pass and read without allocation.

use std::borrow::Cow;

use super::scan::{self, DocumentError};

/// What a JSON value is. Integers and other numbers are told apart by their text (RFC 8259, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number without fraction or exponent, of any size.
    Integer,
    /// A number with fraction or exponent.
    Float,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// One value's place: its text, and where the next value after it stands in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Index of the entry after this value and all that is inside it.
    pub(super) next: u32,
    pub(super) kind: Kind,
    /// A string that holds at least one backslash.
    pub(super) escaped: bool,
}

/// A validated JSON text and the index of its values, in document order; an object's keys stand before its values.
#[derive(Debug)]
pub struct Document {
    text: Box<str>,
    entries: Vec<Entry>,
}

impl Document {
    /// Reads `text` as one JSON value (RFC 8259) in one pass, O(length).
    ///
    /// # Errors
    /// Anything that is not JSON, nesting deeper than `depth_max`, a key that occurs twice in an object, and a
    /// lone surrogate escape, each with its byte position.
    pub fn parse(text: impl Into<String>, depth_max: usize) -> Result<Self, DocumentError> {
        let text: String = text.into();
        let entries = scan::index(&text, depth_max)?;
        Ok(Self { text: text.into_boxed_str(), entries })
    }

    /// The same for bytes that may not be UTF-8.
    ///
    /// # Errors
    /// As [`Document::parse`], and bytes that are not UTF-8.
    pub fn parse_bytes(bytes: Vec<u8>, depth_max: usize) -> Result<Self, DocumentError> {
        let text = String::from_utf8(bytes)
            .map_err(|error| DocumentError::not_utf8(error.utf8_error().valid_up_to()))?;
        Self::parse(text, depth_max)
    }

    /// Bytes of memory that the document holds.
    pub fn size(&self) -> usize {
        self.text.len() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The whole value.
    pub fn root(&self) -> Node<'_> {
        Node { document: self, at: 0 }
    }

    /// The JSON text as given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// One value of a document: a reference that is copied freely.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    document: &'a Document,
    at: u32,
}

impl<'a> Node<'a> {
    fn entry(self) -> &'a Entry {
        &self.document.entries[self.at as usize]
    }

    /// What this value is.
    pub fn kind(self) -> Kind {
        self.entry().kind
    }

    /// Whether this value is `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The value's JSON text, byte for byte as given; a string with its quotes.
    pub fn raw(self) -> &'a str {
        let Entry { start, end, .. } = *self.entry();
        &self.document.text[start as usize..end as usize]
    }

    /// A string's characters; borrowed unless it holds escapes. `None` for other kinds.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| self.decoded())
    }

    /// An integer that fits 64 bits. `None` for other kinds and sizes.
    pub fn as_i64(self) -> Option<i64> {
        (self.kind() == Kind::Integer).then(|| self.raw().parse().ok()).flatten()
    }

    /// A number as the nearest double. `None` for other kinds.
    pub fn as_f64(self) -> Option<f64> {
        matches!(self.kind(), Kind::Integer | Kind::Float).then(|| self.raw().parse().ok()).flatten()
    }

    /// A boolean. `None` for other kinds.
    pub fn as_bool(self) -> Option<bool> {
        match self.kind() {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }

    /// The value under `key` of an object, O(number of keys). `None` where there is none, and for other kinds.
    pub fn get(self, key: &str) -> Option<Node<'a>> {
        self.entries()?.find(|(name, _)| name.is(key)).map(|(_, value)| value)
    }

    /// Looks up several keys of an object, each search starting behind the last find: keys that are asked for in the
    /// order of the text are found in one pass over it. Other kinds have no keys.
    pub fn lookup(self) -> Lookup<'a> {
        let all = if self.kind() == Kind::Object {
            self.inside()
        } else {
            Items { end: self.at + 1, ..self.inside() }
        };
        Lookup { all: Entries(all.clone()), ahead: Entries(all) }
    }

    /// The keys and values of an object, in the order of the text. `None` for other kinds.
    pub fn entries(self) -> Option<Entries<'a>> {
        (self.kind() == Kind::Object).then(|| Entries(self.inside()))
    }

    /// The values of an array. `None` for other kinds.
    pub fn items(self) -> Option<Items<'a>> {
        (self.kind() == Kind::Array).then(|| self.inside())
    }

    /// Whether this is the string `text`.
    #[inline]
    pub fn is(self, text: &str) -> bool {
        let entry = self.entry();
        match (entry.kind, entry.escaped) {
            // As bytes, which need no look at the borders of characters.
            (Kind::String, false) => {
                let between_quotes = entry.start as usize + 1..entry.end as usize - 1;
                between_quotes.len() == text.len()
                    && self.document.text.as_bytes()[between_quotes] == *text.as_bytes()
            }
            (Kind::String, true) => self.decoded() == text,
            _ => false,
        }
    }

    fn inside(self) -> Items<'a> {
        Items { document: self.document, at: self.at + 1, end: self.entry().next }
    }

    fn between_quotes(self) -> &'a str {
        let raw = self.raw();
        &raw[1..raw.len() - 1]
    }

    fn decoded(self) -> Cow<'a, str> {
        let inner = self.between_quotes();
        if self.entry().escaped { Cow::Owned(scan::unescape(inner)) } else { Cow::Borrowed(inner) }
    }
}

/// The values of an array, in order.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    document: &'a Document,
    at: u32,
    end: u32,
}

impl<'a> Iterator for Items<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        (self.at < self.end).then(|| {
            let node = Node { document: self.document, at: self.at };
            self.at = node.entry().next;
            node
        })
    }
}

/// The keys (string nodes) and values of an object, in order.
#[derive(Clone, Debug)]
pub struct Entries<'a>(Items<'a>);

impl<'a> Iterator for Entries<'a> {
    type Item = (Node<'a>, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

/// See [`Node::lookup`].
#[derive(Clone, Debug)]
pub struct Lookup<'a> {
    all: Entries<'a>,
    ahead: Entries<'a>,
}

impl<'a> Lookup<'a> {
    /// The value under `key`.
    pub fn get(&mut self, key: &str) -> Option<Node<'a>> {
        let behind = self.ahead.0.at;
        if let Some((_, value)) = self.ahead.find(|(name, _)| name.is(key)) {
            return Some(value);
        }
        self.ahead = self.all.clone();
        let before = |ahead: &Entries<'_>| ahead.0.at < behind;
        while before(&self.ahead) {
            if let Some((name, value)) = self.ahead.next()
                && name.is(key)
            {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text, 64).unwrap()
    }

    #[test]
    fn values_keep_their_text() {
        let d = document(
            r#" {"big": 123456789012345678901234567890, "f": 1.50e3, "s": "a\u00e9\n", "l": [1, {"x": null}], "t": true} "#,
        );
        let root = d.root();
        assert_eq!(root.get("big").unwrap().raw(), "123456789012345678901234567890");
        assert_eq!(root.get("big").unwrap().as_i64(), None);
        assert_eq!(root.get("f").unwrap().raw(), "1.50e3");
        assert_eq!(root.get("f").unwrap().as_f64(), Some(1500.0));
        assert_eq!(root.get("s").unwrap().as_str().unwrap(), "aé\n");
        let items: Vec<_> = root.get("l").unwrap().items().unwrap().map(Node::raw).collect();
        assert_eq!(items, ["1", r#"{"x": null}"#]);
        assert_eq!(root.get("t").unwrap().as_bool(), Some(true));
        assert!(root.get("absent").is_none());
        assert!(root.get("l").unwrap().get("x").is_none());
    }

    #[test]
    fn escaped_keys_are_found_by_their_characters() {
        let d = document(r#"{"\u0061b": 1}"#);
        assert_eq!(d.root().get("ab").unwrap().as_i64(), Some(1));
    }
}
