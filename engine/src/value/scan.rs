//! The one pass over a JSON text: checks the grammar of RFC 8259 and notes where each value stands.
//!
//! No recursion: open containers stand on a stack bounded by `depth_max`, so nesting cannot exhaust the thread's
//! stack. Duplicate keys are refused because readers disagree on which one counts, and a policy must not.

use std::{collections::HashSet, fmt};

use super::document::{Entry, Kind};

/// Why a text is not a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// What is wrong.
    pub problem: DocumentProblem,
    /// Byte position in the text, from 0.
    pub at: usize,
}

/// What can be wrong with a JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentProblem {
    /// Something else was expected here.
    Expected(&'static str),
    /// The text ends inside a value.
    Ends,
    /// More text after the value.
    Trailing,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// A key occurs twice in one object.
    DuplicateKey(String),
    /// Nesting deeper than this bound.
    TooDeep(usize),
    /// A `\uD800`–`\uDFFF` escape that is not part of a pair: no character.
    LoneSurrogate,
    /// Longer than 4 GiB.
    TooLong,
}

impl DocumentError {
    pub(super) fn not_utf8(at: usize) -> Self {
        Self { problem: DocumentProblem::NotUtf8, at }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            DocumentProblem::Expected(what) => write!(f, "invalid JSON: {what} expected")?,
            DocumentProblem::Ends => write!(f, "invalid JSON: the text ends inside a value")?,
            DocumentProblem::Trailing => write!(f, "invalid JSON: more text after the value")?,
            DocumentProblem::NotUtf8 => write!(f, "invalid JSON: not UTF-8")?,
            DocumentProblem::DuplicateKey(key) => {
                write!(f, "duplicate key `{key}`: each key may occur once")?
            }
            DocumentProblem::TooDeep(max) => write!(f, "nested deeper than {max} levels")?,
            DocumentProblem::LoneSurrogate => write!(f, "lone surrogate escape: not a character")?,
            DocumentProblem::TooLong => write!(f, "longer than 4 GiB")?,
        }
        write!(f, ", at byte {}", self.at)
    }
}

impl std::error::Error for DocumentError {}

/// The index of `text`, in document order.
pub(super) fn index(text: &str, depth_max: usize) -> Result<Vec<Entry>, DocumentError> {
    if u32::try_from(text.len()).is_err() {
        return Err(DocumentError { problem: DocumentProblem::TooLong, at: 0 });
    }
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        entries: Vec::with_capacity(text.len() / 8 + 4),
        open: Vec::with_capacity(8),
        depth_max,
    };
    scanner.document()?;
    Ok(scanner.entries)
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    entries: Vec<Entry>,
    /// Entries of the containers that are open here, outermost first.
    open: Vec<u32>,
    depth_max: usize,
}

/// What follows after a value or an opening bracket.
enum Step {
    Value,
    Close,
    Done,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), DocumentError> {
        let mut step = Step::Value;
        loop {
            step = match step {
                Step::Value => self.value()?,
                Step::Close => self.close()?,
                Step::Done => break,
            };
        }
        self.space();
        if self.at < self.bytes.len() { Err(self.error(DocumentProblem::Trailing)) } else { Ok(()) }
    }

    fn value(&mut self) -> Result<Step, DocumentError> {
        self.space();
        match self.peek() {
            Some(b'{') => return self.open(Kind::Object, b'}'),
            Some(b'[') => return self.open(Kind::Array, b']'),
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Kind::True)?,
            Some(b'f') => self.word("false", Kind::False)?,
            Some(b'n') => self.word("null", Kind::Null)?,
            Some(_) => return Err(self.expected("a value")),
            None => return Err(self.error(DocumentProblem::Ends)),
        }
        self.after_value()
    }

    fn open(&mut self, kind: Kind, end: u8) -> Result<Step, DocumentError> {
        if self.open.len() >= self.depth_max {
            return Err(self.error(DocumentProblem::TooDeep(self.depth_max)));
        }
        self.open.push(self.entries.len() as u32);
        self.push(self.at, kind, false);
        self.at += 1;
        self.space();
        if self.peek() == Some(end) {
            return Ok(Step::Close);
        }
        if kind == Kind::Object {
            self.key()?;
        }
        Ok(Step::Value)
    }

    /// After a value: a comma and the next one, the end of its container, or the end of the document.
    fn after_value(&mut self) -> Result<Step, DocumentError> {
        let Some(&open) = self.open.last() else { return Ok(Step::Done) };
        self.space();
        let kind = self.entries[open as usize].kind;
        match (self.peek(), kind) {
            (Some(b','), Kind::Array) => {
                self.at += 1;
                Ok(Step::Value)
            }
            (Some(b','), _) => {
                self.at += 1;
                self.space();
                self.key()?;
                Ok(Step::Value)
            }
            (Some(b']'), Kind::Array) | (Some(b'}'), Kind::Object) => Ok(Step::Close),
            (Some(_), Kind::Array) => Err(self.expected("`,` or `]`")),
            (Some(_), _) => Err(self.expected("`,` or `}`")),
            (None, _) => Err(self.error(DocumentProblem::Ends)),
        }
    }

    fn close(&mut self) -> Result<Step, DocumentError> {
        self.at += 1;
        let Some(open) = self.open.pop() else { return Ok(Step::Done) };
        let (next, end) = (self.entries.len() as u32, self.at as u32);
        let entry = &mut self.entries[open as usize];
        entry.next = next;
        entry.end = end;
        if entry.kind == Kind::Object {
            self.refuse_duplicates(open as usize)?;
        }
        self.after_value()
    }

    fn key(&mut self) -> Result<(), DocumentError> {
        if self.peek() != Some(b'"') {
            return Err(match self.peek() {
                Some(_) => self.expected("a key in double quotes"),
                None => self.error(DocumentProblem::Ends),
            });
        }
        self.string()?;
        self.space();
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(self.expected("`:`")),
            None => return Err(self.error(DocumentProblem::Ends)),
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), DocumentError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.expected("an escape instead of a control character")),
                None => return Err(self.error(DocumentProblem::Ends)),
            }
        }
        self.at += 1;
        self.push(start, Kind::String, escaped);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), DocumentError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit = self.code_unit(self.at)?;
                match unit {
                    0xD800..=0xDBFF => {
                        let low = self.bytes[self.at + 6..]
                            .starts_with(b"\\u")
                            .then(|| self.code_unit(self.at + 6));
                        if !matches!(low.transpose()?, Some(0xDC00..=0xDFFF)) {
                            return Err(self.error(DocumentProblem::LoneSurrogate));
                        }
                        self.at += 12;
                    }
                    0xDC00..=0xDFFF => return Err(self.error(DocumentProblem::LoneSurrogate)),
                    _ => self.at += 6,
                }
            }
            Some(_) => return Err(self.expected("a known escape")),
            None => return Err(self.error(DocumentProblem::Ends)),
        }
        Ok(())
    }

    /// The four hexadecimal digits of the `\u` escape that starts at `at`.
    fn code_unit(&self, at: usize) -> Result<u32, DocumentError> {
        let digits = self.bytes.get(at + 2..at + 6).ok_or_else(|| self.error(DocumentProblem::Ends))?;
        hexadecimal(digits).ok_or_else(|| self.expected("four hexadecimal digits"))
    }

    fn number(&mut self) -> Result<(), DocumentError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let mut kind = Kind::Integer;
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            kind = Kind::Float;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            kind = Kind::Float;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.push(start, kind, false);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), DocumentError> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        match (count, self.peek()) {
            (0, None) => Err(self.error(DocumentProblem::Ends)),
            (0, Some(_)) => Err(self.expected("a digit")),
            _ => Ok(()),
        }
    }

    fn word(&mut self, word: &'static str, kind: Kind) -> Result<(), DocumentError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected(word));
        }
        let start = self.at;
        self.at += word.len();
        self.push(start, kind, false);
        Ok(())
    }

    fn push(&mut self, start: usize, kind: Kind, escaped: bool) {
        let next = self.entries.len() as u32 + 1;
        self.entries.push(Entry { start: start as u32, end: self.at as u32, next, kind, escaped });
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Each key sets one of 256 bits by its length and ends. A bit that is set already may be a duplicate, and the
    /// keys decide; objects with many keys, where that could cost, and with escapes go through a set.
    fn refuse_duplicates(&self, object: usize) -> Result<(), DocumentError> {
        const KEYS_MAX: usize = 48;
        let end = self.entries[object].next as usize;
        let mut bits = [0u64; 4];
        let (mut at, mut count) = (object + 1, 0);
        while at < end {
            let key = self.entries[at];
            if key.escaped || count == KEYS_MAX {
                return self.refuse_duplicates_of_many(object);
            }
            let hash = fingerprint(self.between_quotes(&key));
            let (word, bit) = (&mut bits[usize::from(hash >> 6)], 1 << (hash & 63));
            if *word & bit != 0 {
                self.refuse_duplicate_of(at, object)?;
            }
            *word |= bit;
            count += 1;
            at = self.entries[at + 1].next as usize;
        }
        Ok(())
    }

    /// Compares the key at `key` with those before it in its object.
    fn refuse_duplicate_of(&self, key: usize, object: usize) -> Result<(), DocumentError> {
        let this = &self.entries[key];
        let mut at = object + 1;
        while at < key {
            if self.between_quotes(&self.entries[at]) == self.between_quotes(this) {
                return Err(self.duplicate(this));
            }
            at = self.entries[at + 1].next as usize;
        }
        Ok(())
    }

    fn between_quotes(&self, string: &Entry) -> &[u8] {
        &self.bytes[string.start as usize + 1..string.end as usize - 1]
    }

    fn refuse_duplicates_of_many(&self, object: usize) -> Result<(), DocumentError> {
        let end = self.entries[object].next as usize;
        let mut seen = HashSet::new();
        let mut at = object + 1;
        while at < end {
            let key = self.entries[at];
            if !seen.insert(self.characters(&key)) {
                return Err(self.duplicate(&key));
            }
            at = self.entries[at + 1].next as usize;
        }
        Ok(())
    }

    fn characters(&self, string: &Entry) -> std::borrow::Cow<'_, str> {
        let inner = &self.text[string.start as usize + 1..string.end as usize - 1];
        if string.escaped { unescape(inner).into() } else { inner.into() }
    }

    fn duplicate(&self, key: &Entry) -> DocumentError {
        let name = self.characters(key).chars().take(64).collect();
        DocumentError { problem: DocumentProblem::DuplicateKey(name), at: key.start as usize }
    }

    fn expected(&self, what: &'static str) -> DocumentError {
        self.error(DocumentProblem::Expected(what))
    }

    fn error(&self, problem: DocumentProblem) -> DocumentError {
        DocumentError { problem, at: self.at }
    }
}

/// Eight bits of a key's length, first, middle and last byte.
fn fingerprint(key: &[u8]) -> u8 {
    let length = key.len();
    let (Some(first), Some(last)) = (key.first(), key.last()) else { return 0 };
    let mix =
        u32::from(*first) | u32::from(key[length / 2]) << 8 | u32::from(*last) << 16 | (length as u32) << 24;
    // The multiplier is the odd number nearest to 2^32 divided by the golden ratio (Knuth, volume 3, section 6.4).
    (mix.wrapping_mul(0x9E37_79B1) >> 24) as u8
}

/// How many bytes of `bytes` come before the first quote, backslash or control character; eight at a time.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, _) = bytes.as_chunks::<8>();
    for (position, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let special =
            has_zero(word ^ (ONES * u64::from(b'"'))) | has_zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if special != 0 {
            // A borrow can flag a byte above a special one, never below: the lowest flag is exact.
            return position * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let done = words.len() * 8;
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    done + bytes[done..].iter().position(special).unwrap_or(bytes.len() - done)
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| Some(number * 16 + char::from(digit).to_digit(16)?))
}

/// The characters of a string that [`index`] accepted, without its quotes.
pub(super) fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (character, length) = one_escape(&rest.as_bytes()[at..]);
        out.push(character);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

/// The character that `escape` starts with, and how many bytes it takes.
fn one_escape(escape: &[u8]) -> (char, usize) {
    let unit = |at: usize| escape.get(at..at + 4).and_then(hexadecimal).unwrap_or(0xFFFD);
    let short = |character| (character, 2);
    match escape.get(1) {
        Some(b'u') => match unit(2) {
            high @ 0xD800..=0xDBFF => {
                let code = 0x10000 + ((high - 0xD800) << 10) + (unit(8) & 0x3FF);
                (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
            }
            code => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        },
        Some(b'b') => short('\u{8}'),
        Some(b'f') => short('\u{c}'),
        Some(b'n') => short('\n'),
        Some(b'r') => short('\r'),
        Some(b't') => short('\t'),
        Some(&other) => short(char::from(other)),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) -> Result<(), String> {
        index(text, 64).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn bad_texts_are_refused_with_the_reason_and_the_place() {
        let row = |text: &str, message: &str| assert_eq!(check(text).unwrap_err(), message, "{text}");
        row("", "invalid JSON: the text ends inside a value, at byte 0");
        row("{", "invalid JSON: the text ends inside a value, at byte 1");
        row(r#"{"a":1,}"#, "invalid JSON: a key in double quotes expected, at byte 7");
        row("[1 2]", "invalid JSON: `,` or `]` expected, at byte 3");
        row("01", "invalid JSON: more text after the value, at byte 1");
        row("1.", "invalid JSON: the text ends inside a value, at byte 2");
        row("NaN", "invalid JSON: a value expected, at byte 0");
        row("\u{feff}1", "invalid JSON: a value expected, at byte 0");
        row("\"\t\"", "invalid JSON: an escape instead of a control character expected, at byte 1");
        row(r#""\ud800""#, "lone surrogate escape: not a character, at byte 1");
        row(r#""\ud800\u0041""#, "lone surrogate escape: not a character, at byte 1");
        row(r#"{"a":1,"\u0061":2}"#, "duplicate key `a`: each key may occur once, at byte 7");
        let deep = "[".repeat(100_000);
        row(&deep, "nested deeper than 64 levels, at byte 64");
    }

    #[test]
    fn duplicate_keys_of_large_objects_are_refused() {
        let keys: Vec<_> = (0..100).map(|key| format!(r#""k{key}":0"#)).collect();
        assert!(check(&format!("{{{}}}", keys.join(","))).is_ok());
        let message = check(&format!(r#"{{{},"k\u0037":1}}"#, keys.join(","))).unwrap_err();
        assert!(message.starts_with("duplicate key `k7`"), "{message}");
    }

    #[test]
    fn duplicate_keys_are_refused_wherever_they_stand() {
        for count in [1, 2, 12, 47, 48, 49, 200] {
            let keys: Vec<_> = (0..count).map(|key| format!("k{key}")).collect();
            let object = |keys: &[String]| {
                let entries: Vec<_> = keys.iter().map(|key| format!(r#""{key}":{{"k0":0}}"#)).collect();
                format!("{{{}}}", entries.join(","))
            };
            assert_eq!(check(&object(&keys)), Ok(()), "{count}");
            for (twice, at) in [(0, count), (count - 1, count), (count / 2, count), (count - 1, 0)] {
                let mut keys = keys.clone();
                keys.insert(at, format!("k{twice}"));
                assert!(check(&object(&keys)).unwrap_err().starts_with("duplicate key"), "{count} {twice}");
            }
        }
        assert!(check(r#"{"":1,"":2}"#).is_err());
        assert!(check(r#"{"":1,"a":2}"#).is_ok());
    }

    #[test]
    fn a_special_byte_is_found_at_every_distance() {
        for distance in 0..40 {
            for special in [b'"', b'\\', 0, 0x1f] {
                let mut bytes = vec![0xC3; distance];
                bytes.extend([special, b'x', b'"', 0x80, 0xff]);
                assert_eq!(plain_prefix(&bytes), distance);
            }
        }
    }

    proptest! {
        /// serde_json is the oracle: the same texts are JSON, and the strings are the same.
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:,"\\u0dD8C1a.eE\-+ tfn/é]{0,24}"#) {
            let ours = index(&text, 64);
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(value) => {
                    let ours = ours.map_err(|error| error.problem);
                    if !matches!(ours, Err(DocumentProblem::DuplicateKey(_))) {
                        prop_assert!(ours.is_ok(), "{ours:?}");
                        if let Some(string) = value.as_str() {
                            let trimmed = text.trim();
                            prop_assert_eq!(unescape(&trimmed[1..trimmed.len() - 1]), string);
                        }
                    }
                }
                // serde_json also refuses numbers beyond a double's range; they are JSON, and stay text here.
                Err(error) if error.to_string().starts_with("number out of range") => {}
                Err(error) => prop_assert!(ours.is_err(), "{error}"),
            }
        }
    }
}
