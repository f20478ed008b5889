//! What an expression computes with: values that borrow from the event, from constants or from the run's scratch.
//!
//! Semantics: the Common Expression Language specification (github.com/google/cel-spec, doc/langdef.md), sections
//! "Values" and "Equality". JSON numbers without fraction or exponent are `int` (`uint` beyond 63 bits), all others
//! `double`.

use std::{cmp::Ordering, fmt};

use bumpalo::Bump;

use super::{
    constant::{Constant, Pattern},
    time::{Span, Time},
};
use crate::value::{Kind, Node};

/// Why an expression has no value. As a decision it is a no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// A key or field that is not there.
    NoSuchKey,
    /// No function or operator of this name takes values of these types.
    NoSuchOverload,
    /// An integer, time or duration beyond its range.
    Overflow,
    /// Division or remainder by zero.
    DivisionByZero,
    /// A text or number that the conversion does not take.
    Conversion,
    /// An index outside its list.
    OutOfBounds,
    /// Not a regular expression, or one that is too large.
    Pattern,
    /// A key that occurs twice, or cannot be a key.
    BadKey,
    /// An unknown time zone.
    TimeZone,
    /// `policy_steps_max` was spent.
    Steps,
    /// `policy_bytes_max` was spent.
    Memory,
    /// A name that means nothing here.
    UnknownName,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchKey => "no such key",
            Self::NoSuchOverload => "no such overload",
            Self::Overflow => "out of range",
            Self::DivisionByZero => "division by zero",
            Self::Conversion => "cannot be converted",
            Self::OutOfBounds => "index out of bounds",
            Self::Pattern => "not a regular expression, or too large a one",
            Self::BadKey => "repeated key, or a value that cannot be a key",
            Self::TimeZone => "unknown time zone",
            Self::Steps => "policy_steps_max is spent",
            Self::Memory => "policy_bytes_max is spent",
            Self::UnknownName => "undeclared reference",
        })
    }
}

/// A value, or the reason why there is none.
#[derive(Clone, Copy, Debug)]
pub enum Val<'a> {
    /// `null`
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
    Text(&'a str),
    /// A user's or tenant's id in canonical text: a `string` that also equals the integer of the same digits.
    Id(&'a str),
    /// `bytes`
    Bytes(&'a [u8]),
    /// `google.protobuf.Timestamp`
    Time(Time),
    /// `google.protobuf.Duration`
    Span(Span),
    /// `type`
    Type(&'static str),
    /// A list made by the run.
    List(&'a [Val<'a>]),
    /// A constant list.
    Items(&'a [Constant]),
    /// A JSON array.
    Array(Node<'a>),
    /// A map made by the run.
    Map(&'a [(Val<'a>, Val<'a>)]),
    /// A constant map.
    Entries(&'a [(Constant, Constant)]),
    /// A JSON object.
    Object(Node<'a>),
    /// A list that a macro is making: the last element and those before it.
    Chain(Option<&'a Link<'a>>),
    /// A regular expression, compiled.
    Pattern(&'a Pattern),
    /// No value.
    Error(Problem),
    /// A field that was not read yet; only the machine sees it.
    Unread,
}

/// One element of a [`Val::Chain`].
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The element.
    pub value: Val<'a>,
    /// The elements before it.
    pub before: Option<&'a Link<'a>>,
    /// How many elements there are, this one counted.
    pub len: usize,
}

impl<'a> Val<'a> {
    /// The value of a JSON node. `arena` takes the characters of strings with escapes.
    pub fn of(node: Node<'a>, arena: &'a Bump) -> Self {
        match node.kind() {
            Kind::Null => Self::Null,
            Kind::True => Self::Bool(true),
            Kind::False => Self::Bool(false),
            Kind::Integer => integer(node.raw()),
            Kind::Float => node.raw().parse().map_or(Self::Error(Problem::Conversion), Self::Double),
            Kind::String => match node.as_str() {
                Some(std::borrow::Cow::Borrowed(text)) => Self::Text(text),
                Some(std::borrow::Cow::Owned(text)) => copy_text(arena, &text),
                None => Self::Error(Problem::Conversion),
            },
            Kind::Array => Self::Array(node),
            Kind::Object => Self::Object(node),
        }
    }

    /// The name of the value's type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) | Self::Id(_) | Self::Pattern(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Span(_) => "google.protobuf.Duration",
            Self::Type(_) => "type",
            Self::List(_) | Self::Items(_) | Self::Array(_) | Self::Chain(_) => "list",
            Self::Map(_) | Self::Entries(_) | Self::Object(_) => "map",
            Self::Error(_) | Self::Unread => "error",
        }
    }

    /// The characters of a string.
    pub fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) | Self::Id(text) => Some(text),
            Self::Pattern(pattern) => Some(pattern.text()),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn elements(&self) -> Option<Elements<'a>> {
        Some(match *self {
            Self::List(values) => Elements::Values(values.iter()),
            Self::Items(constants) => Elements::Constants(constants.iter()),
            Self::Array(node) => Elements::Nodes(node.items()?),
            _ => return None,
        })
    }

    /// The keys and values of a map.
    pub fn entries(&self) -> Option<Pairs<'a>> {
        Some(match *self {
            Self::Map(entries) => Pairs::Values(entries.iter()),
            Self::Entries(constants) => Pairs::Constants(constants.iter()),
            Self::Object(node) => Pairs::Nodes(node.entries()?),
            _ => return None,
        })
    }

    /// Elements of a list, entries of a map.
    pub fn len(&self) -> Option<usize> {
        Some(match *self {
            Self::List(values) => values.len(),
            Self::Items(constants) => constants.len(),
            Self::Array(node) => node.items()?.count(),
            Self::Map(entries) => entries.len(),
            Self::Entries(constants) => constants.len(),
            Self::Object(node) => node.entries()?.count(),
            _ => return None,
        })
    }

    /// The value under `key` of a map; `None` where there is none, and for what is no map.
    pub fn get(&self, key: Val<'_>, arena: &'a Bump) -> Option<Val<'a>> {
        match *self {
            Self::Map(entries) => {
                entries.iter().find(|(other, _)| equal(*other, key, arena)).map(|(_, value)| *value)
            }
            Self::Entries(entries) => entries
                .iter()
                .find(|(other, _)| equal(other.val(), key, arena))
                .map(|(_, value)| value.val()),
            Self::Object(node) => node.get(key.text()?).map(|value| Val::of(value, arena)),
            _ => None,
        }
    }
}

/// See [`Val::elements`].
#[derive(Clone, Debug)]
pub enum Elements<'a> {
    /// Values.
    Values(std::slice::Iter<'a, Val<'a>>),
    /// Constants.
    Constants(std::slice::Iter<'a, Constant>),
    /// JSON nodes.
    Nodes(crate::value::Items<'a>),
}

impl<'a> Elements<'a> {
    /// The next element; `arena` takes the characters of strings with escapes.
    pub fn next(&mut self, arena: &'a Bump) -> Option<Val<'a>> {
        match self {
            Self::Values(values) => values.next().copied(),
            Self::Constants(constants) => constants.next().map(Constant::val),
            Self::Nodes(nodes) => nodes.next().map(|node| Val::of(node, arena)),
        }
    }
}

/// See [`Val::entries`].
#[derive(Clone, Debug)]
pub enum Pairs<'a> {
    /// Values.
    Values(std::slice::Iter<'a, (Val<'a>, Val<'a>)>),
    /// Constants.
    Constants(std::slice::Iter<'a, (Constant, Constant)>),
    /// JSON nodes.
    Nodes(crate::value::Entries<'a>),
}

impl<'a> Pairs<'a> {
    /// The next entry; `arena` takes the characters of strings with escapes.
    pub fn next(&mut self, arena: &'a Bump) -> Option<(Val<'a>, Val<'a>)> {
        match self {
            Self::Values(entries) => entries.next().copied(),
            Self::Constants(entries) => entries.next().map(|(key, value)| (key.val(), value.val())),
            Self::Nodes(nodes) => {
                nodes.next().map(|(key, value)| (Val::of(key, arena), Val::of(value, arena)))
            }
        }
    }
}

/// A JSON number without fraction or exponent.
fn integer<'a>(text: &str) -> Val<'a> {
    text.parse()
        .map(Val::Int)
        .or_else(|_| text.parse().map(Val::Uint))
        .or_else(|_| text.parse().map(Val::Double))
        .unwrap_or(Val::Error(Problem::Conversion))
}

/// Puts text into the arena, if it has room.
pub(super) fn copy_text<'a>(arena: &'a Bump, text: &str) -> Val<'a> {
    arena.try_alloc_str(text).map_or(Val::Error(Problem::Memory), |text| Val::Text(text))
}

/// Whether two values are equal. Numbers compare by their mathematical value whatever their types; values of other
/// types that differ are unequal.
pub(super) fn equal<'v>(a: Val<'v>, b: Val<'v>, arena: &'v Bump) -> bool {
    use Val::{Bool, Bytes, Double, Id, Int, Null, Span, Text, Time, Type, Uint};
    match (a, b) {
        (Text(a) | Id(a), Text(b) | Id(b)) => a == b,
        (Int(a), Int(b)) => a == b,
        (Bool(a), Bool(b)) => a == b,
        (Null, Null) => true,
        (Uint(a), Uint(b)) => a == b,
        (Double(a), Double(b)) => a == b,
        (Int(a), Uint(b)) | (Uint(b), Int(a)) => u64::try_from(a) == Ok(b),
        (Double(a), Int(b)) | (Int(b), Double(a)) => is_integer(a, b.into()),
        (Double(a), Uint(b)) | (Uint(b), Double(a)) => is_integer(a, b.into()),
        (Id(text), Int(number)) | (Int(number), Id(text)) => is_decimal(text, number),
        (Id(text), Uint(number)) | (Uint(number), Id(text)) => text.parse() == Ok(number),
        (Bytes(a), Bytes(b)) => a == b,
        (Time(a), Time(b)) => a == b,
        (Span(a), Span(b)) => a == b,
        (Type(a), Type(b)) => a == b,
        _ => equal_aggregates(a, b, arena),
    }
}

/// Exactly: a conversion would round.
fn is_integer(double: f64, integer: i128) -> bool {
    double.fract() == 0.0 && double.abs() < 1e30 && double as i128 == integer
}

/// Whether `text` is how `number` is written.
fn is_decimal(text: &str, number: i64) -> bool {
    // Cheap first: most ids differ in their first character.
    text.as_bytes().first().is_some_and(|&first| first == b'-' || first.is_ascii_digit())
        && !text.starts_with("-0")
        && (text == "0" || !text.starts_with('0'))
        && text.parse() == Ok(number)
}

fn equal_aggregates<'v>(a: Val<'v>, b: Val<'v>, arena: &'v Bump) -> bool {
    if let (Some(mut left), Some(mut right)) = (a.elements(), b.elements()) {
        loop {
            match (left.next(arena), right.next(arena)) {
                (None, None) => return true,
                (Some(a), Some(b)) if equal(a, b, arena) => {}
                _ => return false,
            }
        }
    }
    let (Some(mut left), Some(_)) = (a.entries(), b.entries()) else { return false };
    if a.len() != b.len() {
        return false;
    }
    while let Some((key, value)) = left.next(arena) {
        match b.get(key, arena) {
            Some(other) if equal(value, other, arena) => {}
            _ => return false,
        }
    }
    true
}

/// The order of two values; `None` where there is none (other types, or a NaN). Against a double integers are rounded
/// to doubles, as the specification has it.
pub(super) fn compare(a: Val<'_>, b: Val<'_>) -> Option<Ordering> {
    use Val::{Bool, Bytes, Double, Id, Int, Span, Text, Time, Uint};
    match (a, b) {
        (Int(a), Int(b)) => Some(a.cmp(&b)),
        (Uint(a), Uint(b)) => Some(a.cmp(&b)),
        (Double(a), Double(b)) => a.partial_cmp(&b),
        (Text(a) | Id(a), Text(b) | Id(b)) => Some(a.cmp(b)),
        (Int(a), Uint(b)) => Some(i128::from(a).cmp(&i128::from(b))),
        (Uint(a), Int(b)) => Some(i128::from(a).cmp(&i128::from(b))),
        (Double(a), Int(b)) => a.partial_cmp(&(b as f64)),
        (Double(a), Uint(b)) => a.partial_cmp(&(b as f64)),
        (Int(a), Double(b)) => (a as f64).partial_cmp(&b),
        (Uint(a), Double(b)) => (a as f64).partial_cmp(&b),
        (Bool(a), Bool(b)) => Some(a.cmp(&b)),
        (Bytes(a), Bytes(b)) => Some(a.cmp(b)),
        (Time(a), Time(b)) => Some(a.cmp(&b)),
        (Span(a), Span(b)) => Some(a.cmp(&b)),
        _ => None,
    }
}
