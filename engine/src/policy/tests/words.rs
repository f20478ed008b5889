//! Random expressions and what they are about, from a tape of bytes: a shorter tape is a simpler case.

use std::fmt::Write as _;

use super::super::*;

/// An expression in the words of the engine and in those of the oracle, which knows no identities.
#[derive(Clone, Debug)]
pub(super) struct Two {
    pub(super) ours: String,
    pub(super) theirs: String,
}

impl From<&str> for Two {
    fn from(text: &str) -> Self {
        Self { ours: text.into(), theirs: text.into() }
    }
}

/// Puts `parts` where the template has `$`.
fn two(template: &str, parts: &[&Two]) -> Two {
    let fill = |part: fn(&Two) -> &str| {
        let mut parts = parts.iter();
        let mut text = String::new();
        for char in template.chars() {
            match char {
                '$' => text.push_str(part(parts.next().unwrap())),
                char => text.push(char),
            }
        }
        text
    };
    Two { ours: fill(|two| &two.ours), theirs: fill(|two| &two.theirs) }
}

/// A JSON value that keeps its integers apart from its doubles.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    /// Given beside the document: no JSON.
    Id(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    pub(super) fn constant(&self) -> Constant {
        match self {
            Self::Null => Constant::Null,
            Self::Bool(truth) => Constant::Bool(*truth),
            Self::Int(number) => Constant::Int(*number),
            Self::Uint(number) => Constant::Uint(*number),
            Self::Double(number) => Constant::Double(*number),
            Self::Text(text) => Constant::from(&**text),
            Self::Id(text) => Constant::Id((**text).into()),
            Self::List(items) => Constant::List(items.iter().map(Self::constant).collect()),
            Self::Object(entries) => {
                Constant::Map(entries.iter().map(|(key, value)| ((*key).into(), value.constant())).collect())
            }
        }
    }

    pub(super) fn write(&self, to: &mut String) {
        let written = match self {
            Self::Null => write!(to, "null"),
            Self::Bool(truth) => write!(to, "{truth}"),
            Self::Int(number) => write!(to, "{number}"),
            Self::Uint(number) => write!(to, "{number}"),
            Self::Double(number) => write!(to, "{number:?}"),
            // Half of the characters escaped, so that texts do not stand in the document as they are.
            Self::Text(text) | Self::Id(text) => {
                to.push('"');
                text.chars().for_each(|char| match char {
                    'a' | 'é' => write!(to, "\\u{:04x}", char as u32).unwrap(),
                    char => to.push(char),
                });
                write!(to, "\"")
            }
            Self::List(items) => {
                to.push('[');
                items.iter().enumerate().for_each(|(number, item)| {
                    to.push_str(if number > 0 { "," } else { "" });
                    item.write(to);
                });
                write!(to, "]")
            }
            Self::Object(entries) => {
                to.push('{');
                entries.iter().enumerate().for_each(|(number, (key, value))| {
                    write!(to, "{}\"{key}\":", if number > 0 { "," } else { "" }).unwrap();
                    value.write(to);
                });
                write!(to, "}}")
            }
        };
        written.unwrap();
    }
}

/// Bytes to choose by; zeros where it has ended.
pub(super) struct Tape<'a> {
    pub(super) bytes: std::slice::Iter<'a, u8>,
    /// Variables of macros, the innermost last.
    locals: Vec<&'static str>,
}

/// What makes a part of an expression.
type Part<'a> = fn(&mut Tape<'a>, usize) -> Two;

const NUMBERS: [Json; 12] = [
    Json::Int(1),
    Json::Int(0),
    Json::Int(7),
    Json::Int(-1),
    Json::Int(2),
    Json::Double(1.5),
    Json::Double(2.0),
    Json::Double(7.0),
    Json::Double(-0.0),
    Json::Int(i64::MAX),
    Json::Int(i64::MIN),
    Json::Uint(1 << 63),
];
const TEXTS: [&str; 10] = ["a", "", "b", "7", "aé", "é😀", "ab", "1.5", "2024-05-06T07:08:09Z", "n"];
const LITERALS: [&str; 14] = [
    "1",
    "0",
    "2",
    "7",
    "-1",
    "1u",
    "7u",
    "0u",
    "1.5",
    "2.0",
    "-0.5",
    "9223372036854775807",
    "-9223372036854775808",
    "7.0",
];

impl<'a> Tape<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter(), locals: Vec::new() }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.bytes.next().copied().unwrap_or(0)) % bound
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    // What expressions are about.

    fn scalar(&mut self) -> Json {
        match self.below(8) {
            0..3 => self.pick(&NUMBERS),
            3..6 => Json::Text(self.pick(&TEXTS).into()),
            6 => Json::Bool(self.below(2) == 0),
            _ => Json::Null,
        }
    }

    fn items(&mut self) -> Json {
        let len = self.below(4);
        Json::List(
            (0..len).map(|_| if self.below(8) == 7 { self.object(0) } else { self.scalar() }).collect(),
        )
    }

    /// An object with the fields that paths ask for; some are absent, some are of another type.
    pub(super) fn object(&mut self, depth: usize) -> Json {
        let mut entries = Vec::new();
        for key in ["n", "m", "s", "t", "l", "f", "o", "user_id"] {
            let value = match (self.below(8), key) {
                (6, _) => continue,
                (7, _) => self.scalar(),
                (_, "s" | "t") | (0..3, "user_id") => Json::Text(self.pick(&TEXTS).into()),
                (_, "n" | "m" | "user_id") => self.pick(&NUMBERS),
                (_, "l") => self.items(),
                (_, "f") => Json::Bool(self.below(2) == 0),
                (_, "o") if depth > 0 => self.object(depth - 1),
                _ => continue,
            };
            entries.push((key, value));
        }
        Json::Object(entries)
    }

    /// The context as `ctx`: identities or none.
    pub(super) fn context(&mut self) -> Json {
        let id = |tape: &mut Self| match tape.below(4) {
            0 => Json::Null,
            1 | 2 => Json::Id("7".into()),
            _ => Json::Id(
                tape.pick(&["a", "é😀", "07", "+7", "-1", "9223372036854775808", "+9223372036854775808"])
                    .into(),
            ),
        };
        let (user, tenant) = (id(self), id(self));
        let roles = (0..self.below(3)).map(|_| Json::Text(self.pick(&TEXTS).into())).collect();
        let claims = self.object(1);
        Json::Object(vec![
            ("user_id", user),
            ("tenant_id", tenant),
            ("roles", Json::List(roles)),
            ("claims", claims),
        ])
    }

    /// The event's user, where the publisher says it.
    pub(super) fn attribute(&mut self) -> Option<Json> {
        (self.below(2) == 0).then(|| Json::Id(self.pick(&["7", "a", "-1", "07"]).into()))
    }

    // Expressions.

    /// A policy: clauses of which some can be keys.
    pub(super) fn policy(&mut self) -> Two {
        let count = 1 + self.below(3);
        let clauses: Vec<_> =
            (0..count).map(|_| if self.below(2) == 0 { self.key() } else { self.bool(3) }).collect();
        let joint = if self.below(5) == 4 { " || " } else { " && " };
        let template = vec!["$"; count].join(joint);
        two(&template, &clauses.iter().collect::<Vec<_>>())
    }

    fn key(&mut self) -> Two {
        let field: Two =
            self.pick(&["event.n", "event.s", "event.f", "event['s']", "event.o.n", "event.t"]).into();
        let value = match self.below(5) {
            0 => self.path(&["n", "m", "s", "t", "f"], true),
            1 => self.number(0),
            2 => self.text(0),
            3 => "null".into(),
            _ => self.number(1),
        };
        match self.below(8) {
            0 | 1 => two("($ == $)", &[&field, &value]),
            2 => two("($ == $)", &[&value, &field]),
            3 => {
                let list = self.list(1);
                two("($ in $)", &[&field, &list])
            }
            4 => two("(!has(event.n) || event.n == $)", &[&value]),
            5 => two("(!has(event.s) || $ == event.s)", &[&value]),
            6 => {
                let list = self.list(0);
                two("(!has(event.s) || event.s in $)", &[&list])
            }
            _ => self.identity(0),
        }
    }

    /// An identity is the equal of its text, and of the integer of its digits.
    fn identity(&mut self, depth: usize) -> Two {
        let (id, is_id) = self.pick(&[
            ("ctx.user_id", "type(ctx.user_id) == string"),
            ("ctx.tenant_id", "type(ctx.tenant_id) == string"),
            ("event.user_id", "given"),
        ]);
        let other = match self.below(5) {
            0 => "event.user_id".into(),
            1 => self.path(&["n", "s", "m", "t"], false),
            2 => self.pick(&["7", "'7'", "7u", "-1", "7.0", "null"]).into(),
            _ => self.any(depth),
        };
        let equals =
            format!("($ == {id} || (({is_id}) && (type($) == int || type($) == uint) && string($) == {id}))");
        let theirs = two(&equals, &[&other, &other, &other, &other]).theirs;
        // Where both may be identities: either side may be the one that gives its digits.
        let (ours, theirs) = match self.below(4) {
            0 | 1 => (format!("({id} == {})", other.ours), theirs),
            2 => (format!("({} != {id})", other.ours), format!("!{theirs}")),
            _ => (format!("({} == {id})", other.ours), theirs),
        };
        Two { ours, theirs }
    }

    fn path(&mut self, fields: &[&str], known: bool) -> Two {
        let field = self.pick(fields);
        let bound = if known { 3 } else { 9 };
        let local = self.locals.last().copied();
        let text = match (self.below(bound), local) {
            (0, _) => format!("vars.{field}"),
            (1, _) => format!("ctx.claims.{field}"),
            (2, _) => format!("vars['{field}']"),
            (3, Some(local)) => format!("{local}.{field}"),
            (4, _) => format!("event.o.{field}"),
            (5, _) => format!("event['{field}']"),
            (6, _) => format!("vars.o.{field}"),
            _ => format!("event.{field}"),
        };
        (&*text).into()
    }

    fn local(&mut self) -> Option<Two> {
        if self.locals.is_empty() || self.below(2) == 0 {
            return None;
        }
        let locals = self.locals.clone();
        Some(self.pick(&locals).into())
    }

    /// A macro over a list or map; the last part is its result for one element.
    fn fold(&mut self, names: &[&str], map: Part<'a>, depth: usize, part: Part<'a>) -> Two {
        let (name, local) = (self.pick(names), self.pick(&["x", "y"]));
        let range = if self.below(6) == 5 { map(self, depth) } else { self.list(depth) };
        self.locals.push(local);
        let part = part(self, depth);
        self.locals.pop();
        two(&format!("$.{name}({local}, $)"), &[&range, &part])
    }

    fn choice(&mut self, depth: usize, part: Part<'a>) -> Two {
        let (condition, then, otherwise) = (self.bool(depth), part(self, depth), part(self, depth));
        two("($ ? $ : $)", &[&condition, &then, &otherwise])
    }

    pub(super) fn bool(&mut self, depth: usize) -> Two {
        let kinds = if depth == 0 { 4 } else { 16 };
        let less = depth.saturating_sub(1);
        match self.below(kinds) {
            0 => self.pick(&["true", "false", "event.f"]).into(),
            1 => self.path(&["f"], false),
            2 => {
                let (operator, a, b) =
                    (self.pick(&["<", "<=", ">", ">=", "==", "!="]), self.number(less), self.number(less));
                two(&format!("($ {operator} $)"), &[&a, &b])
            }
            3 => {
                let (operator, a, b) =
                    (self.pick(&["<", "<=", ">", ">=", "==", "!="]), self.text(less), self.text(less));
                two(&format!("($ {operator} $)"), &[&a, &b])
            }
            4 => {
                let (operator, a, b) = (self.pick(&["==", "!="]), self.any(less), self.any(less));
                two(&format!("($ {operator} $)"), &[&a, &b])
            }
            5 => {
                let (a, b) = (self.bool(less), self.bool(less));
                two("($ && $)", &[&a, &b])
            }
            6 => {
                let (a, b) = (self.bool(less), self.bool(less));
                two("($ || $)", &[&a, &b])
            }
            7 => two("!$", &[&self.bool(less)]),
            8 => self.choice(less, Self::bool),
            9 => {
                let (value, list) = (self.any(less), self.list(less));
                two("($ in $)", &[&value, &list])
            }
            10 => {
                let (value, map) = (self.text(less), self.map(less));
                // The oracle knows no `in` for what cannot be a key, where the answer is false.
                two("('' + $ in $)", &[&value, &map])
            }
            11 => {
                let path = self.path(&["n", "s", "l", "o", "f", "user_id"], false);
                if path.ours.ends_with(']') { "has(event.n)".into() } else { two("has($)", &[&path]) }
            }
            12 => {
                let function = self.pick(&["startsWith", "endsWith", "contains", "matches"]);
                let text = if self.below(4) == 3 { "ctx.user_id".into() } else { self.text(less) };
                let part = match self.below(3) {
                    0 if function == "matches" => self.path(&["s", "t"], true),
                    1 => self.text(less),
                    _ => self.pick(&["'a'", "'^a.$'", "''", "'é'"]).into(),
                };
                two(&format!("$.{function}($)"), &[&text, &part])
            }
            13 => self.fold(&["exists", "all", "exists_one"], Self::map, less, Self::bool),
            14 => self.identity(less),
            _ => match self.below(3) {
                0 => self.any(less),
                1 => {
                    let text = self.text(less);
                    two("(timestamp($) > timestamp('2024-01-01T00:00:00Z'))", &[&text])
                }
                _ => two("(type($) == type($))", &[&self.any(less), &self.any(less)]),
            },
        }
    }

    fn number(&mut self, depth: usize) -> Two {
        let kinds = if depth == 0 { 3 } else { 9 };
        let less = depth.saturating_sub(1);
        match self.below(kinds) {
            0 => self.path(&["n", "m"], false),
            1 => self.pick(&LITERALS).into(),
            2 => self.local().unwrap_or_else(|| "1".into()),
            3 => {
                let (operator, a, b) = (self.pick(&["+", "-", "*"]), self.number(less), self.number(less));
                two(&format!("($ {operator} $)"), &[&a, &b])
            }
            4 => {
                let (operator, divisor) =
                    (self.pick(&["/", "%"]), self.pick(&["2", "0", "-1", "2u", "2.5", "event.l.size()"]));
                two(&format!("($ {operator} {divisor})"), &[&self.number(less)])
            }
            5 => two("size($)", &[&self.any(less)]),
            6 => {
                let (list, at) = (self.list(less), self.number(less));
                two("$[$]", &[&list, &at])
            }
            7 => self.choice(less, Self::number),
            _ => two("int($)", &[&self.any(less)]),
        }
    }

    fn text(&mut self, depth: usize) -> Two {
        let kinds = if depth == 0 { 3 } else { 7 };
        let less = depth.saturating_sub(1);
        match self.below(kinds) {
            0 => self.path(&["s", "t"], false),
            1 => (&*format!("'{}'", self.pick(&TEXTS))).into(),
            2 => self.local().unwrap_or_else(|| "'n'".into()),
            3 => {
                let (a, b) = (self.text(less), self.text(less));
                two("($ + $)", &[&a, &b])
            }
            4 => self.choice(less, Self::text),
            5 => two("string($)", &[&self.number(less)]),
            _ => two("('' + ctx.user_id + $)", &[&self.text(less)]),
        }
    }

    fn list(&mut self, depth: usize) -> Two {
        let kinds = if depth == 0 { 3 } else { 7 };
        let less = depth.saturating_sub(1);
        match self.below(kinds) {
            0 => self.path(&["l"], false),
            1 => self
                .pick(&[
                    "[]",
                    "[1, 2]",
                    "['a', 'b']",
                    "ctx.roles",
                    "[1, 7u, 2.0]",
                    "[null, true, 'é😀']",
                    "[['a'], {'n': 1}]",
                ])
                .into(),
            2 => {
                let (a, b) = (self.any(0), self.any(0));
                two("[$, $]", &[&a, &b])
            }
            3 => self.fold(&["filter"], Self::entry, less, Self::bool),
            4 => self.fold(&["map"], Self::entry, less, Self::any),
            5 => {
                let (a, b) = (self.list(less), self.list(less));
                two("($ + $)", &[&a, &b])
            }
            _ => self.choice(less, Self::list),
        }
    }

    fn map(&mut self, depth: usize) -> Two {
        match self.below(if depth == 0 { 2 } else { 4 }) {
            0 => self.path(&["o"], false),
            1 => self
                .pick(&["{}", "{'n': 1, 's': 'a'}", "{'a': 'b'}", "event", "vars", "{1: 'a', true: 2}"])
                .into(),
            _ => {
                let (key, value) = (self.text(depth - 1), self.any(depth - 1));
                two("{$: $, 'n': 7}", &[&key, &value])
            }
        }
    }

    /// A map of one entry at most. A list made of several would have them in an order that CEL leaves
    /// open, and that of the oracle is another in every run.
    fn entry(&mut self, depth: usize) -> Two {
        if self.below(4) == 0 {
            return "{}".into();
        }
        let less = depth.saturating_sub(1);
        let (key, value) = (self.text(less), self.any(less));
        two("{$: $}", &[&key, &value])
    }

    fn any(&mut self, depth: usize) -> Two {
        match self.below(8) {
            0 | 1 => self.number(depth),
            2 | 3 => self.text(depth),
            4 => self.list(depth),
            5 => self.bool(depth.min(1)),
            6 => self.path(&["n", "s", "l", "o", "f", "m", "t"], false),
            _ => self.pick(&["null", "true", "b'a'", "[[1]]", "duration('1s')"]).into(),
        }
    }
}
