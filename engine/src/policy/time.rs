//! Points in time and spans of it, with the ranges and texts of `google.protobuf.Timestamp` and `Duration`.
//!
//! The calendar and the time zones are jiff's; the texts are read here, because RFC 3339 is stricter than what
//! libraries accept.

use std::fmt::{self, Write as _};

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use super::val::Problem;

const NANOS: i128 = 1_000_000_000;
/// 0001-01-01T00:00:00Z
const FIRST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z
const LAST: i64 = 253_402_300_799;
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A point in time: nanoseconds since 1970, from the year 1 to the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time {
    seconds: i64,
    nanos: u32,
}

/// A span of time in nanoseconds, about 292 years at most either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span(i64);

/// What a time or a span is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// `getFullYear`
    FullYear,
    /// `getMonth`, from 0
    Month,
    /// `getDate`, from 1
    Date,
    /// `getDayOfMonth`, from 0
    DayOfMonth,
    /// `getDayOfWeek`, Sunday is 0
    DayOfWeek,
    /// `getDayOfYear`, from 0
    DayOfYear,
    /// `getHours`
    Hours,
    /// `getMinutes`
    Minutes,
    /// `getSeconds`
    Seconds,
    /// `getMilliseconds`
    Milliseconds,
}

impl Time {
    /// A time `nanos` nanoseconds after 1970.
    ///
    /// # Errors
    /// `Problem::Overflow` outside the years 1 to 9999.
    pub fn from_nanos(nanos: i128) -> Result<Self, Problem> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).map_err(|_| Problem::Overflow)?;
        let in_range = (FIRST..=LAST).contains(&seconds);
        in_range.then_some(Self { seconds, nanos: nanos.rem_euclid(NANOS) as u32 }).ok_or(Problem::Overflow)
    }

    /// Nanoseconds after 1970.
    pub fn nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    /// Whole seconds after 1970.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Reads an RFC 3339 date-time (section 5.6).
    ///
    /// # Errors
    /// `Problem::Conversion` for other texts and dates that do not exist, `Problem::Overflow` out of range.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        read_time(text).ok_or(Problem::Conversion).and_then(Self::from_nanos)
    }

    /// A part of the time in `zone` (`None`: UTC): a name of the IANA database or an offset such as `-07:30`.
    ///
    /// # Errors
    /// `Problem::TimeZone`.
    pub fn part(self, part: Part, zone: Option<&str>) -> Result<i64, Problem> {
        let there = self.civil(match zone {
            None => 0,
            Some(zone) => self.offset(zone).ok_or(Problem::TimeZone)?,
        })?;
        Ok(match part {
            Part::FullYear => i64::from(there.year()),
            Part::Month => i64::from(there.month()) - 1,
            Part::Date => i64::from(there.day()),
            Part::DayOfMonth => i64::from(there.day()) - 1,
            Part::DayOfWeek => i64::from(there.weekday().to_sunday_zero_offset()),
            Part::DayOfYear => i64::from(there.day_of_year()) - 1,
            Part::Hours => i64::from(there.hour()),
            Part::Minutes => i64::from(there.minute()),
            Part::Seconds => i64::from(there.second()),
            Part::Milliseconds => i64::from(there.millisecond()),
        })
    }

    /// The calendar's date and time `offset` seconds east of Greenwich.
    fn civil(self, offset: i32) -> Result<DateTime, Problem> {
        let since = SignedDuration::new(self.seconds + i64::from(offset), self.nanos as i32);
        EPOCH.checked_add(since).map_err(|_| Problem::Overflow)
    }

    /// How many seconds a zone is east of Greenwich at this time.
    fn offset(self, zone: &str) -> Option<i32> {
        read_offset(zone).or_else(|| {
            let zone = TimeZone::get(zone).ok()?;
            let at = Timestamp::new(self.seconds, 0).unwrap_or(Timestamp::MAX);
            Some(zone.to_offset(at).seconds())
        })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.civil(0).map_err(|_| fmt::Error)?;
        write!(f, "{:04}-{:02}-{:02}T", at.year(), at.month(), at.day())?;
        write!(f, "{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())?;
        write_fraction(f, self.nanos)?;
        f.write_char('Z')
    }
}

impl Span {
    /// A span of `nanos` nanoseconds.
    ///
    /// # Errors
    /// `Problem::Overflow` beyond 64 bits.
    pub fn from_nanos(nanos: i128) -> Result<Self, Problem> {
        i64::try_from(nanos).map(Self).map_err(|_| Problem::Overflow)
    }

    /// Nanoseconds, negative for spans into the past.
    pub fn nanos(self) -> i128 {
        self.0.into()
    }

    /// Reads a text such as `1h30m`, `-1.5s` or `250ms`; the units are `h m s ms us ns`.
    ///
    /// # Errors
    /// `Problem::Conversion` for other texts, `Problem::Overflow` out of range.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        read_span(text).ok_or(Problem::Conversion).and_then(Self::from_nanos)
    }

    /// The span in whole hours, minutes or seconds, or its milliseconds beyond the second.
    ///
    /// # Errors
    /// `Problem::NoSuchOverload` for parts of a date.
    pub fn part(self, part: Part) -> Result<i64, Problem> {
        let nanos = self.nanos();
        let whole = match part {
            Part::Hours => nanos / (NANOS * 3600),
            Part::Minutes => nanos / (NANOS * 60),
            Part::Seconds => nanos / NANOS,
            Part::Milliseconds => nanos % NANOS / 1_000_000,
            _ => return Err(Problem::NoSuchOverload),
        };
        i64::try_from(whole).map_err(|_| Problem::Overflow)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.nanos();
        let sign = if nanos < 0 { "-" } else { "" };
        write!(f, "{sign}{}", nanos.abs() / NANOS)?;
        write_fraction(f, (nanos.abs() % NANOS) as u32)?;
        f.write_char('s')
    }
}

fn write_fraction(f: &mut fmt::Formatter<'_>, nanos: u32) -> fmt::Result {
    if nanos == 0 {
        return Ok(());
    }
    f.write_char('.')?;
    f.write_str(format!("{nanos:09}").trim_end_matches('0'))
}

/// Takes `len` decimal digits off the front.
fn digits(text: &mut &str, len: usize) -> Option<i64> {
    let (number, rest) = text.split_at_checked(len)?;
    *text = rest;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok()).flatten()
}

/// Takes one of `marks` off the front.
fn mark(text: &mut &str, marks: &[char]) -> Option<char> {
    let mark = text.chars().next().filter(|mark| marks.contains(mark))?;
    *text = &text[mark.len_utf8()..];
    Some(mark)
}

fn read_time(mut text: &str) -> Option<i128> {
    let text = &mut text;
    let year = digits(text, 4)?;
    mark(text, &['-'])?;
    let month = digits(text, 2)?;
    mark(text, &['-'])?;
    let day = digits(text, 2)?;
    mark(text, &['T', 't'])?;
    let hour = digits(text, 2)?;
    mark(text, &[':'])?;
    let minute = digits(text, 2)?;
    mark(text, &[':'])?;
    let second = digits(text, 2)?;
    let nanos = if mark(text, &['.']).is_some() { read_fraction(text)? } else { 0 };
    let offset = match mark(text, &['Z', 'z', '+', '-'])? {
        'Z' | 'z' => 0,
        sign => {
            let hours = digits(text, 2)?;
            mark(text, &[':'])?;
            let minutes = digits(text, 2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if sign == '-' { -1 } else { 1 }
        }
    };
    if !text.is_empty() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let date = Date::new(year as i16, month as i8, day as i8).ok()?;
    let midnight = date.at(0, 0, 0, 0).duration_since(EPOCH);
    let seconds = midnight.as_secs() + hour * 3600 + minute * 60 + second - offset;
    Some(i128::from(seconds) * NANOS + i128::from(nanos))
}

/// Digits behind a point, as nanoseconds; at least one, and what is finer is cut off.
fn read_fraction(text: &mut &str) -> Option<i64> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, rest) = text.split_at(len);
    *text = rest;
    let fraction = fraction.get(..len.min(9))?;
    (len > 0).then(|| fraction.parse::<i64>().ok().map(|nanos| nanos * 10_i64.pow(9 - fraction.len() as u32)))?
}

/// An offset such as `-07:30` or `02:00`, in seconds; `None`: a name.
fn read_offset(mut zone: &str) -> Option<i32> {
    if zone == "UTC" || zone == "Z" {
        return Some(0);
    }
    let text = &mut zone;
    let sign = if mark(text, &['+', '-']) == Some('-') { -1 } else { 1 };
    let hours = digits(text, 2)?;
    mark(text, &[':'])?;
    let minutes = digits(text, 2)?;
    (text.is_empty() && hours <= 24 && minutes <= 59).then_some((hours * 3600 + minutes * 60) as i32 * sign)
}

fn read_span(text: &str) -> Option<i128> {
    let (sign, mut text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if text == "0" {
        return Some(0);
    }
    if text.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !text.is_empty() {
        let len = text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, rest) = text.split_at(len);
        text = rest;
        let fraction = text.strip_prefix('.').map(|rest| {
            let len = rest.bytes().take_while(u8::is_ascii_digit).count();
            text = &rest[len..];
            &rest[..len]
        });
        if whole.is_empty() && fraction.is_none_or(str::is_empty) {
            return None;
        }
        let unit = unit(&mut text)?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let mut scale = unit;
        for digit in fraction.unwrap_or_default().bytes() {
            scale /= 10;
            total += i128::from(digit - b'0') * scale;
        }
    }
    Some(total * sign)
}

/// Takes a unit off the front, in nanoseconds.
fn unit(text: &mut &str) -> Option<i128> {
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", NANOS),
        ("m", 60 * NANOS),
        ("h", 3600 * NANOS),
    ];
    let (name, nanos) = UNITS.iter().find(|(name, _)| text.starts_with(name))?;
    *text = &text[name.len()..];
    Some(*nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_as_rfc_3339() {
        let round = |text: &str| Time::parse(text).map(|time| time.to_string());
        for text in ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"] {
            assert_eq!(round(text).unwrap(), text);
        }
        assert_eq!(round("2024-02-29t12:00:00.500-07:30").unwrap(), "2024-02-29T19:30:00.5Z");
        for text in ["", "2024-02-30T00:00:00Z", "2024-01-01", "2024-01-01 00:00:00Z", "2024-01-01T24:00:00Z"] {
            assert_eq!(round(text), Err(Problem::Conversion), "{text}");
        }
        assert_eq!(round("0001-01-01T00:00:00+01:00"), Err(Problem::Overflow));
    }

    #[test]
    fn spans_are_read_and_written() {
        let round = |text: &str| Span::parse(text).map(|span| span.to_string());
        for (text, written) in
            [("1h30m", "5400s"), ("-1.5s", "-1.5s"), ("250ms", "0.25s"), ("1us", "0.000001s"), ("0", "0s"), ("-.5m", "-30s")]
        {
            assert_eq!(round(text).unwrap(), written);
        }
        for text in ["", "1", "s", ".s", "1 s", "1d", "--1s"] {
            assert_eq!(round(text), Err(Problem::Conversion), "{text}");
        }
        assert_eq!(round("320000000000s"), Err(Problem::Overflow));
    }

    #[test]
    fn parts_know_their_zone() {
        let at = Time::parse("2009-02-13T23:31:30.123Z").unwrap();
        let part = |part, zone| at.part(part, zone);
        assert_eq!(part(Part::FullYear, None), Ok(2009));
        assert_eq!(part(Part::Month, None), Ok(1));
        assert_eq!(part(Part::Milliseconds, None), Ok(123));
        assert_eq!(part(Part::DayOfWeek, None), Ok(5));
        assert_eq!(part(Part::Date, Some("Australia/Sydney")), Ok(14));
        assert_eq!(part(Part::Minutes, Some("Asia/Kathmandu")), Ok(16));
        assert_eq!(part(Part::Hours, Some("-02:30")), Ok(21));
        assert_eq!(part(Part::Hours, Some("Nowhere/Else")), Err(Problem::TimeZone));
    }
}
