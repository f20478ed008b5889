//! The functions and operators of the language, by the types of their values.
//!
//! Specification: github.com/google/cel-spec, doc/langdef.md, "List of Standard Definitions". All take one or two
//! values. An argument that is no value is the result.

use super::{
    constant::{Constant, Pattern},
    time::{Part, Span, Time},
    val::{Problem, Val, compare, equal},
    work::Work,
};

/// A function or operator; strict: an argument without a value makes it have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is named as in the language")]
pub enum Function {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Negate,
    Not,
    Index,
    Size,
    StartsWith,
    EndsWith,
    Contains,
    Matches,
    Bool,
    Bytes,
    Double,
    Duration,
    Dyn,
    Int,
    String,
    Timestamp,
    Type,
    Uint,
    Get(Part),
}

/// Bytes of a text that is looked through at once, which is no work worth counting.
const SHORT_BYTES_MAX: usize = 64;

impl Function {
    /// The function called `name` with `arguments`, the receiver counted where there is one.
    pub(super) fn named(name: &str, receiver: bool, arguments: usize) -> Option<Self> {
        Some(match (name, receiver, arguments) {
            ("_==_", false, 2) => Self::Equal,
            ("_!=_", false, 2) => Self::NotEqual,
            ("_<_", false, 2) => Self::Less,
            ("_<=_", false, 2) => Self::LessEqual,
            ("_>_", false, 2) => Self::Greater,
            ("_>=_", false, 2) => Self::GreaterEqual,
            ("@in", false, 2) => Self::In,
            ("_+_", false, 2) => Self::Add,
            ("_-_", false, 2) => Self::Subtract,
            ("_*_", false, 2) => Self::Multiply,
            ("_/_", false, 2) => Self::Divide,
            ("_%_", false, 2) => Self::Remainder,
            ("-_", false, 1) => Self::Negate,
            ("!_", false, 1) => Self::Not,
            ("_[_]", false, 2) => Self::Index,
            ("size", _, 1) => Self::Size,
            ("startsWith", true, 2) => Self::StartsWith,
            ("endsWith", true, 2) => Self::EndsWith,
            ("contains", true, 2) => Self::Contains,
            ("matches", _, 2) => Self::Matches,
            ("bool", false, 1) => Self::Bool,
            ("bytes", false, 1) => Self::Bytes,
            ("double", false, 1) => Self::Double,
            ("duration", false, 1) => Self::Duration,
            ("dyn", false, 1) => Self::Dyn,
            ("int", false, 1) => Self::Int,
            ("string", false, 1) => Self::String,
            ("timestamp", false, 1) => Self::Timestamp,
            ("type", false, 1) => Self::Type,
            ("uint", false, 1) => Self::Uint,
            (name, true, 1 | 2) => Self::Get(part(name)?),
            _ => return None,
        })
    }

    /// How the function is written, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract | Self::Negate => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Not => "!",
            Self::Index => "[]",
            Self::Size => "size",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Contains => "contains",
            Self::Matches => "matches",
            Self::Bool => "bool",
            Self::Bytes => "bytes",
            Self::Double => "double",
            Self::Duration => "duration",
            Self::Dyn => "dyn",
            Self::Int => "int",
            Self::String => "string",
            Self::Timestamp => "timestamp",
            Self::Type => "type",
            Self::Uint => "uint",
            Self::Get(_) => "get…",
        }
    }

    /// The function that answers the same for the arguments in the other order.
    pub(super) fn mirrored(self) -> Option<Self> {
        Some(match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            _ => return None,
        })
    }

    /// The answer for the types that most clauses have; `None`: ask [`Self::binary`].
    #[inline(always)]
    pub(super) fn at_once(self, a: &Val<'_>, b: &Constant) -> Option<bool> {
        match (a, b) {
            (Val::Text(a) | Val::Id(a), Constant::Text(b) | Constant::Id(b)) => Some(match self {
                Self::Equal => same(a.as_bytes(), b.as_bytes()),
                Self::NotEqual => !same(a.as_bytes(), b.as_bytes()),
                Self::StartsWith => {
                    a.as_bytes().get(..b.len()).is_some_and(|start| same(start, b.as_bytes()))
                }
                Self::EndsWith => a.ends_with(&**b),
                Self::Contains if a.len() <= SHORT_BYTES_MAX => contains(a.as_bytes(), b.as_bytes()),
                _ => return None,
            }),
            (Val::Int(a), Constant::Int(b)) => self.ordered(a, b),
            (Val::Double(a), Constant::Double(b)) => self.ordered(a, b),
            (Val::Bool(a), Constant::Bool(b)) => self.ordered(a, b),
            _ => None,
        }
    }

    #[inline(always)]
    fn ordered<T: PartialOrd>(self, a: &T, b: &T) -> Option<bool> {
        Some(match self {
            Self::Equal => a == b,
            Self::NotEqual => a != b,
            Self::Less => a < b,
            Self::LessEqual => a <= b,
            Self::Greater => a > b,
            Self::GreaterEqual => a >= b,
            _ => return None,
        })
    }

    /// The result for one argument.
    pub(super) fn unary<'a>(self, a: Val<'a>, work: &mut Work<'a>) -> Val<'a> {
        if let Val::Error(_) = a {
            return a;
        }
        self.try_unary(a, work).unwrap_or_else(Val::Error)
    }

    /// The result for two arguments.
    #[inline(never)]
    pub(super) fn binary<'a>(self, a: Val<'a>, b: Val<'a>, work: &mut Work<'a>) -> Val<'a> {
        match (a, b) {
            (Val::Error(_), _) => a,
            (_, Val::Error(_)) => b,
            _ => self.try_binary(a, b, work).unwrap_or_else(Val::Error),
        }
    }

    fn try_unary<'a>(self, a: Val<'a>, work: &mut Work<'a>) -> Result<Val<'a>, Problem> {
        Ok(match self {
            Self::Not => match a {
                Val::Bool(truth) => Val::Bool(!truth),
                _ => return Err(Problem::NoSuchOverload),
            },
            Self::Negate => match a {
                Val::Int(number) => Val::Int(number.checked_neg().ok_or(Problem::Overflow)?),
                Val::Double(number) => Val::Double(-number),
                _ => return Err(Problem::NoSuchOverload),
            },
            Self::Size => Val::Int(size(a, work)? as i64),
            Self::Dyn => a,
            Self::Type => Val::Type(a.type_name()),
            Self::Bool => to_bool(a)?,
            Self::Bytes => match (a, a.text()) {
                (Val::Bytes(_), _) => a,
                (_, Some(text)) => Val::Bytes(text.as_bytes()),
                _ => return Err(Problem::NoSuchOverload),
            },
            Self::Int => Val::Int(to_int(a)?),
            Self::Uint => Val::Uint(to_uint(a)?),
            Self::Double => Val::Double(to_double(a)?),
            Self::String => to_text(a, work)?,
            Self::Timestamp => Val::Time(match (a, a.text()) {
                (Val::Time(time), _) => time,
                (Val::Int(seconds), _) => Time::from_nanos(i128::from(seconds) * 1_000_000_000)?,
                (_, Some(text)) => Time::parse(text)?,
                _ => return Err(Problem::NoSuchOverload),
            }),
            Self::Duration => Val::Span(match (a, a.text()) {
                (Val::Span(span), _) => span,
                (_, Some(text)) => Span::parse(text)?,
                _ => return Err(Problem::NoSuchOverload),
            }),
            Self::Get(part) => Val::Int(match a {
                Val::Time(time) => time.part(part, None)?,
                Val::Span(span) => span.part(part)?,
                _ => return Err(Problem::NoSuchOverload),
            }),
            _ => return Err(Problem::NoSuchOverload),
        })
    }

    fn try_binary<'a>(self, a: Val<'a>, b: Val<'a>, work: &mut Work<'a>) -> Result<Val<'a>, Problem> {
        use std::cmp::Ordering::{Greater, Less};
        Ok(Val::Bool(match self {
            Self::Equal => equal(a, b, work)?,
            Self::NotEqual => !equal(a, b, work)?,
            Self::Less => order(a, b, work)? == Some(Less),
            Self::LessEqual => order(a, b, work)?.is_some_and(|order| order != Greater),
            Self::Greater => order(a, b, work)? == Some(Greater),
            Self::GreaterEqual => order(a, b, work)?.is_some_and(|order| order != Less),
            Self::In => is_in(a, b, work)?,
            Self::StartsWith | Self::EndsWith | Self::Contains => self.texts(a, b, work)?,
            Self::Matches => matches(a, b, work)?,
            Self::Index => return index(a, b, work),
            Self::Get(part) => match (a, b.text()) {
                (Val::Time(time), Some(zone)) => return time.part(part, Some(zone)).map(Val::Int),
                _ => return Err(Problem::NoSuchOverload),
            },
            _ => return self.arithmetic(a, b, work),
        }))
    }

    fn texts(self, a: Val<'_>, b: Val<'_>, work: &mut Work<'_>) -> Result<bool, Problem> {
        let (Some(text), Some(part)) = (a.text(), b.text()) else { return Err(Problem::NoSuchOverload) };
        work.look_at(if self == Self::Contains { text.len() } else { part.len() })?;
        Ok(match self {
            Self::StartsWith => text.starts_with(part),
            Self::EndsWith => text.ends_with(part),
            _ => text.contains(part),
        })
    }

    fn arithmetic<'a>(self, a: Val<'a>, b: Val<'a>, work: &mut Work<'a>) -> Result<Val<'a>, Problem> {
        use Val::{Double, Int, Span as Length, Time as Moment, Uint};
        let zero = matches!(self, Self::Divide | Self::Remainder) && matches!(b, Int(0) | Uint(0));
        match (a, b) {
            (Int(_), Int(_)) | (Uint(_), Uint(_)) if zero => Err(Problem::DivisionByZero),
            (Int(a), Int(b)) => match self {
                Self::Add => a.checked_add(b),
                Self::Subtract => a.checked_sub(b),
                Self::Multiply => a.checked_mul(b),
                Self::Divide => a.checked_div(b),
                _ => a.checked_rem(b),
            }
            .map(Int)
            .ok_or(Problem::Overflow),
            (Uint(a), Uint(b)) => match self {
                Self::Add => a.checked_add(b),
                Self::Subtract => a.checked_sub(b),
                Self::Multiply => a.checked_mul(b),
                Self::Divide => a.checked_div(b),
                _ => a.checked_rem(b),
            }
            .map(Uint)
            .ok_or(Problem::Overflow),
            (Double(a), Double(b)) => match self {
                Self::Add => Ok(Double(a + b)),
                Self::Subtract => Ok(Double(a - b)),
                Self::Multiply => Ok(Double(a * b)),
                Self::Divide => Ok(Double(a / b)),
                _ => Err(Problem::NoSuchOverload),
            },
            (Moment(time), Length(span)) => match self {
                Self::Add => Time::from_nanos(time.nanos() + span.nanos()).map(Moment),
                Self::Subtract => Time::from_nanos(time.nanos() - span.nanos()).map(Moment),
                _ => Err(Problem::NoSuchOverload),
            },
            (Length(span), Moment(time)) if self == Self::Add => {
                Time::from_nanos(time.nanos() + span.nanos()).map(Moment)
            }
            (Moment(a), Moment(b)) if self == Self::Subtract => {
                Span::from_nanos(a.nanos() - b.nanos()).map(Length)
            }
            (Length(a), Length(b)) => match self {
                Self::Add => Span::from_nanos(a.nanos() + b.nanos()).map(Length),
                Self::Subtract => Span::from_nanos(a.nanos() - b.nanos()).map(Length),
                _ => Err(Problem::NoSuchOverload),
            },
            _ if self == Self::Add => concatenate(a, b, work),
            _ => Err(Problem::NoSuchOverload),
        }
    }
}

/// The part of a time or span that a method gets.
fn part(name: &str) -> Option<Part> {
    Some(match name {
        "getFullYear" => Part::FullYear,
        "getMonth" => Part::Month,
        "getDate" => Part::Date,
        "getDayOfMonth" => Part::DayOfMonth,
        "getDayOfWeek" => Part::DayOfWeek,
        "getDayOfYear" => Part::DayOfYear,
        "getHours" => Part::Hours,
        "getMinutes" => Part::Minutes,
        "getSeconds" => Part::Seconds,
        "getMilliseconds" => Part::Milliseconds,
        _ => return None,
    })
}

/// The order of two values. A NaN has none with any number; what has none otherwise has no such overload.
fn order(a: Val<'_>, b: Val<'_>, work: &mut Work<'_>) -> Result<Option<std::cmp::Ordering>, Problem> {
    if let (Some(a), Some(b)) = (a.bytes(), b.bytes()) {
        work.look_at(a.len().min(b.len()))?;
    }
    let is_number = |value| matches!(value, Val::Int(_) | Val::Uint(_) | Val::Double(_));
    match compare(a, b) {
        None if !(is_number(a) && is_number(b)) => Err(Problem::NoSuchOverload),
        order => Ok(order),
    }
}

fn size(a: Val<'_>, work: &mut Work<'_>) -> Result<usize, Problem> {
    if let Some(text) = a.text() {
        work.look_at(text.len())?;
        return Ok(text.chars().count());
    }
    match a {
        Val::Bytes(bytes) => Ok(bytes.len()),
        _ => work.len(a)?.ok_or(Problem::NoSuchOverload),
    }
}

fn is_in<'a>(a: Val<'a>, b: Val<'a>, work: &mut Work<'a>) -> Result<bool, Problem> {
    if let Some(mut elements) = b.elements() {
        while let Some(element) = elements.next(work.arena) {
            work.spend(1)?;
            if equal(a, element, work)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if b.entries().is_none() {
        return Err(Problem::NoSuchOverload);
    }
    work.spend(b.len().unwrap_or(0))?;
    Ok(b.get(a, work.arena).is_some())
}

fn matches(a: Val<'_>, b: Val<'_>, work: &mut Work<'_>) -> Result<bool, Problem> {
    let Some(text) = a.text() else { return Err(Problem::NoSuchOverload) };
    work.look_at(text.len())?;
    match (b, b.text()) {
        (Val::Pattern(pattern), _) => Ok(pattern.is_match(text)),
        // A pattern that is not known before the event: compiled for this once.
        (_, Some(pattern)) => {
            work.spend(1_000)?;
            Pattern::new(pattern).map(|pattern| pattern.is_match(text))
        }
        _ => Err(Problem::NoSuchOverload),
    }
}

fn index<'a>(a: Val<'a>, b: Val<'a>, work: &mut Work<'a>) -> Result<Val<'a>, Problem> {
    if a.entries().is_some() {
        work.spend(a.len().unwrap_or(0))?;
        return a.get(b, work.arena).ok_or(Problem::NoSuchKey);
    }
    let Some(mut elements) = a.elements() else { return Err(Problem::NoSuchOverload) };
    let at = match b {
        Val::Int(at) => usize::try_from(at).ok(),
        Val::Uint(at) => usize::try_from(at).ok(),
        Val::Double(at) if at.fract() == 0.0 && (0.0..1e15).contains(&at) => Some(at as usize),
        Val::Double(_) => None,
        _ => return Err(Problem::NoSuchOverload),
    };
    let len = work.len(a)?.unwrap_or(0);
    let at = at.filter(|at| *at < len).ok_or(Problem::OutOfBounds)?;
    work.spend(at)?;
    for _ in 0..at {
        elements.next(work.arena);
    }
    elements.next(work.arena).ok_or(Problem::OutOfBounds)
}

fn concatenate<'a>(a: Val<'a>, b: Val<'a>, work: &mut Work<'a>) -> Result<Val<'a>, Problem> {
    if let (Some(left), Some(right)) = (a.bytes(), b.bytes()) {
        let is_text = a.text().is_some();
        if is_text != b.text().is_some() {
            return Err(Problem::NoSuchOverload);
        }
        work.look_at(left.len() + right.len())?;
        let room = work.room(left.len() + right.len(), 0)?;
        room[..left.len()].copy_from_slice(left);
        room[left.len()..].copy_from_slice(right);
        return if is_text {
            std::str::from_utf8(room).map(Val::Text).map_err(|_| Problem::Conversion)
        } else {
            Ok(Val::Bytes(room))
        };
    }
    let (Some(mut left), Some(mut right)) = (a.elements(), b.elements()) else {
        return Err(Problem::NoSuchOverload);
    };
    let len = a.len().unwrap_or(0) + b.len().unwrap_or(0);
    work.spend(len)?;
    let arena = work.arena;
    let next = |_| left.next(arena).or_else(|| right.next(arena)).unwrap_or(Val::Null);
    let joined = work.list((0..len).map(next))?;
    match joined.iter().find_map(Val::problem) {
        Some(problem) => Err(problem),
        None => Ok(Val::List(joined)),
    }
}

fn to_bool(a: Val<'_>) -> Result<Val<'_>, Problem> {
    match (a, a.text()) {
        (Val::Bool(_), _) => Ok(a),
        (_, Some("true" | "True" | "TRUE" | "t" | "T" | "1")) => Ok(Val::Bool(true)),
        (_, Some("false" | "False" | "FALSE" | "f" | "F" | "0")) => Ok(Val::Bool(false)),
        (_, Some(_)) => Err(Problem::Conversion),
        _ => Err(Problem::NoSuchOverload),
    }
}

fn to_int(a: Val<'_>) -> Result<i64, Problem> {
    /// 2⁶³
    const END: f64 = 9_223_372_036_854_775_808.0;
    match (a, a.text()) {
        (Val::Int(number), _) => Ok(number),
        (Val::Uint(number), _) => i64::try_from(number).map_err(|_| Problem::Overflow),
        (Val::Double(number), _) if number > -END && number < END => Ok(number as i64),
        (Val::Double(_), _) => Err(Problem::Overflow),
        (Val::Time(time), _) => Ok(time.seconds()),
        (_, Some(text)) => text.parse().map_err(|_| Problem::Conversion),
        _ => Err(Problem::NoSuchOverload),
    }
}

fn to_uint(a: Val<'_>) -> Result<u64, Problem> {
    match (a, a.text()) {
        (Val::Uint(number), _) => Ok(number),
        (Val::Int(number), _) => u64::try_from(number).map_err(|_| Problem::Overflow),
        // 2⁶⁴
        (Val::Double(number), _) if number > -1.0 && number < 18_446_744_073_709_551_616.0 => {
            if number < 0.0 { Err(Problem::Overflow) } else { Ok(number as u64) }
        }
        (Val::Double(_), _) => Err(Problem::Overflow),
        (_, Some(text)) => text.parse().map_err(|_| Problem::Conversion),
        _ => Err(Problem::NoSuchOverload),
    }
}

fn to_double(a: Val<'_>) -> Result<f64, Problem> {
    match (a, a.text()) {
        (Val::Double(number), _) => Ok(number),
        (Val::Int(number), _) => Ok(number as f64),
        (Val::Uint(number), _) => Ok(number as f64),
        (_, Some(text)) => text.parse().map_err(|_| Problem::Conversion),
        _ => Err(Problem::NoSuchOverload),
    }
}

fn to_text<'a>(a: Val<'a>, work: &mut Work<'a>) -> Result<Val<'a>, Problem> {
    if let Some(text) = a.text() {
        return Ok(Val::Text(text));
    }
    let text = match a {
        Val::Bytes(bytes) => {
            work.look_at(bytes.len())?;
            return std::str::from_utf8(bytes).map(Val::Text).map_err(|_| Problem::Conversion);
        }
        Val::Bool(truth) => return Ok(Val::Text(if truth { "true" } else { "false" })),
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => number.to_string(),
        Val::Double(number) => double_text(number),
        Val::Time(time) => time.to_string(),
        Val::Span(span) => span.to_string(),
        _ => return Err(Problem::NoSuchOverload),
    };
    Ok(work.text(&text))
}

/// The shortest text that reads back as the same double; powers of ten from 21 up and below -6 with an exponent.
fn double_text(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        "NaN".into()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else if size == 0.0 || (1e-6..1e21).contains(&size) {
        format!("{number}")
    } else {
        let text = format!("{number:e}");
        if text.contains("e-") { text } else { text.replace('e', "e+") }
    }
}

/// Whether a short text holds `part`. The search of the standard library prepares itself for long texts, which takes
/// longer than looking through a short one.
#[inline]
fn contains(text: &[u8], part: &[u8]) -> bool {
    let Some((first, rest)) = part.split_first() else { return true };
    let starts = text.len().saturating_sub(rest.len());
    (0..starts).any(|at| text[at] == *first && same(&text[at + 1..][..rest.len()], rest))
}

/// Whether two short texts are equal: compared where they stand, since a call of `memcmp` costs more than that. Two words
/// that overlap cover all lengths from one word to two.
#[inline(always)]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0..4 => a.iter().zip(b).all(|(a, b)| a == b),
        4..8 => a.first_chunk::<4>() == b.first_chunk::<4>() && a.last_chunk::<4>() == b.last_chunk::<4>(),
        8..=16 => a.first_chunk::<8>() == b.first_chunk::<8>() && a.last_chunk::<8>() == b.last_chunk::<8>(),
        _ => a == b,
    }
}

#[cfg(all(test, not(coulis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn texts_of_all_lengths_are_same_where_no_byte_differs() {
        for len in 0..40 {
            let text: Vec<u8> = (0..len).map(|at| b'a' + at % 26).collect();
            assert!(same(&text, &text.clone()), "{len}");
            assert!(!same(&text, &[&text[..], b"a"].concat()), "{len}");
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!same(&text, &other), "{len}: byte {at}");
            }
        }
    }

    #[test]
    fn a_short_text_holds_what_the_standard_library_finds() {
        let text = "abcabcdabcdeabcdefghabcdefghijklmnopqrst";
        for from in 0..text.len() {
            for to in from..=text.len() {
                let part = &text[from..to];
                assert!(contains(text.as_bytes(), part.as_bytes()), "{part}");
                let other = format!("{part}z");
                assert!(!contains(text.as_bytes(), other.as_bytes()), "{other}");
            }
        }
    }
}
