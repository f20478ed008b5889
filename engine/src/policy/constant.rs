//! Values that outlive a run: literals of a program, and what a subscription brings along.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use bumpalo::Bump;
use regex::{Regex, RegexBuilder};

use super::{
    time::{Span, Time},
    val::{DEPTH_MAX, Problem, Val},
    work::Work,
};
use crate::{limits::PATTERN_BYTES_MAX, value::Value};

/// A regular expression that was compiled once; equal if its text is. Matching takes time linear in the text.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// `Problem::Pattern`.
    pub fn new(text: &str) -> Result<Self, Problem> {
        let compiled = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
        compiled.map(Self).map_err(|_| Problem::Pattern)
    }

    /// The expression's text.
    pub fn text(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the expression occurs in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// A value that owns what it holds. Equality is structural, doubles by their bits: `1` is not `1.0` here.
#[derive(Clone, Debug, Default)]
pub enum Constant {
    /// `null`
    #[default]
    Null,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `uint`
    Uint(u64),
    /// `double`
    Double(f64),
    /// `string`
    Text(Arc<str>),
    /// See [`Val::Id`].
    Id(Arc<str>),
    /// `bytes`
    Bytes(Arc<[u8]>),
    /// `google.protobuf.Timestamp`
    Time(Time),
    /// `google.protobuf.Duration`
    Span(Span),
    /// `type`
    Type(&'static str),
    /// `list`
    List(Arc<[Constant]>),
    /// `map`
    Map(Arc<[(Constant, Constant)]>),
    /// A `string` that is used as a regular expression.
    Pattern(Arc<Pattern>),
    /// No value.
    Error(Problem),
}

impl Constant {
    /// Borrows this as a value.
    #[inline]
    pub fn val(&self) -> Val<'_> {
        match self {
            Self::Null => Val::Null,
            Self::Bool(truth) => Val::Bool(*truth),
            Self::Int(number) => Val::Int(*number),
            Self::Uint(number) => Val::Uint(*number),
            Self::Double(number) => Val::Double(*number),
            Self::Text(text) => Val::Text(text),
            Self::Id(text) => Val::Id(text),
            Self::Bytes(bytes) => Val::Bytes(bytes),
            Self::Time(time) => Val::Time(*time),
            Self::Span(span) => Val::Span(*span),
            Self::Type(name) => Val::Type(name),
            Self::List(items) => Val::Items(items),
            Self::Map(entries) => Val::Entries(entries),
            Self::Pattern(pattern) => Val::Pattern(pattern),
            Self::Error(problem) => Val::Error(*problem),
        }
    }

    /// A copy of a value that outlives its run; no value where that would be too large.
    pub fn keep(value: Val<'_>, arena: &Bump) -> Self {
        Self::keep_within(value, &mut Work { arena, steps: u32::MAX }, DEPTH_MAX).unwrap_or_else(Self::Error)
    }

    /// The same within a budget: what a run shares within a value is copied each time that it occurs.
    pub(super) fn keep_within<'a>(
        value: Val<'a>,
        work: &mut Work<'a>,
        depth: usize,
    ) -> Result<Self, Problem> {
        work.spend(1)?;
        work.look_at(value.bytes().map_or(0, <[u8]>::len))?;
        Ok(match value {
            Val::Null => Self::Null,
            Val::Bool(truth) => Self::Bool(truth),
            Val::Int(number) => Self::Int(number),
            Val::Uint(number) => Self::Uint(number),
            Val::Double(number) => Self::Double(number),
            Val::Text(text) => Self::Text(text.into()),
            Val::Id(text) => Self::Id(text.into()),
            Val::Bytes(bytes) => Self::Bytes(bytes.into()),
            Val::Time(time) => Self::Time(time),
            Val::Span(span) => Self::Span(span),
            Val::Type(name) => Self::Type(name),
            Val::Pattern(pattern) => Self::Pattern(Arc::new(pattern.clone())),
            Val::Error(problem) => return Err(problem),
            Val::Unread | Val::Chain(_) => return Err(Problem::NoSuchOverload),
            Val::List(_) | Val::Items(_) | Val::Array(_) => {
                let depth = depth.checked_sub(1).ok_or(Problem::Steps)?;
                let (mut kept, mut elements) = (Vec::new(), value.elements());
                while let Some(element) = elements.as_mut().and_then(|elements| elements.next(work.arena)) {
                    kept.push(Self::keep_within(element, work, depth)?);
                }
                Self::List(kept.into())
            }
            Val::Map(_) | Val::Entries(_) | Val::Object(_) => {
                let depth = depth.checked_sub(1).ok_or(Problem::Steps)?;
                let (mut kept, mut entries) = (Vec::new(), value.entries());
                while let Some((key, value)) = entries.as_mut().and_then(|entries| entries.next(work.arena)) {
                    let key = Self::keep_within(key, work, depth)?;
                    kept.push((key, Self::keep_within(value, work, depth)?));
                }
                Self::Map(kept.into())
            }
        })
    }

    /// What kind of constant this is, for telling and hashing.
    fn kind(&self) -> std::mem::Discriminant<Self> {
        std::mem::discriminant(self)
    }
}

impl From<&Value> for Constant {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Int(number) => Self::Int(*number),
            Value::Float(number) => Self::Double(*number),
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::List(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => Self::Map(
                entries.iter().map(|(key, value)| (Self::Text(key.as_str().into()), value.into())).collect(),
            ),
        }
    }
}

impl From<&str> for Constant {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Uint(a), Self::Uint(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) | (Self::Id(a), Self::Id(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Time(a), Self::Time(b)) => a == b,
            (Self::Span(a), Self::Span(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Pattern(a), Self::Pattern(b)) => a.text() == b.text(),
            (Self::Error(a), Self::Error(b)) => a == b,
            _ => self.kind() == other.kind() && matches!(self, Self::Null),
        }
    }
}

impl Eq for Constant {}

impl Hash for Constant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind().hash(state);
        match self {
            Self::Null => {}
            Self::Bool(truth) => truth.hash(state),
            Self::Int(number) => number.hash(state),
            Self::Uint(number) => number.hash(state),
            Self::Double(number) => number.to_bits().hash(state),
            Self::Text(text) | Self::Id(text) => text.hash(state),
            Self::Bytes(bytes) => bytes.hash(state),
            Self::Time(time) => time.hash(state),
            Self::Span(span) => span.hash(state),
            Self::Type(name) => name.hash(state),
            Self::List(items) => items.hash(state),
            Self::Map(entries) => entries.hash(state),
            Self::Pattern(pattern) => pattern.text().hash(state),
            Self::Error(problem) => problem.hash(state),
        }
    }
}
