//! How deep the tree of a text can become, before anything makes one.
//!
//! `a + b + c` and `a.b.c` are as deep as they are long, and the parser counts brackets only: a long chain would
//! overflow the stack, of whoever walks the tree or drops it. So tokens are counted first. A token can add a level to
//! what stands beside it, up to the next separator, and to what its bracket stands in.
//!
//! Texts and comments are passed over, since what stands in them is no token. What the parser would not take for a
//! text, and then for tokens, is refused here. So the count may be too high, but never too low.

use super::{PolicyError, ir::Position};
use crate::limits::POLICY_CHAIN_TOKENS_MAX as TOKENS_MAX;

/// How deep the tree of a text can be at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Depth {
    /// Tokens of the longest chain.
    pub(super) tokens: usize,
    /// Brackets in one another.
    pub(super) brackets: usize,
}

/// Refuses a text with a chain that is too long.
pub(super) fn check(text: &str, part: u16) -> Result<Depth, PolicyError> {
    let mut reader =
        Reader { text, at: 0, open: Vec::new(), run: 0, depth: Depth::default(), after_dot: false };
    match reader.read() {
        Ok(()) => Ok(reader.depth),
        Err(message) => Err(PolicyError::new(reader.position(part), message)),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Tokens up to each open bracket.
    open: Vec<usize>,
    /// Tokens since the last separator, with those up to the open brackets.
    run: usize,
    depth: Depth,
    /// The last token was a dot: a question mark is then no separator.
    after_dot: bool,
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> Result<(), String> {
        while let Some(first) = self.rest().chars().next() {
            let rest = self.rest();
            if first.is_whitespace() {
                self.at += first.len_utf8();
                continue;
            }
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            let len = match first {
                '"' | '\'' => self.text(first, false)?,
                '`' => self.quoted_name()?,
                _ if is_word(first) => self.word()?,
                '(' | '[' | '{' => {
                    self.count()?;
                    self.open.push(self.run);
                    self.depth.brackets = self.depth.brackets.max(self.open.len());
                    1
                }
                ')' | ']' | '}' => {
                    self.run = self.open.pop().unwrap_or(self.run);
                    1
                }
                '&' if rest.starts_with("&&") => self.separate(2),
                '|' if rest.starts_with("||") => self.separate(2),
                ',' | ':' => self.separate(1),
                '?' if !self.after_dot => self.separate(1),
                other => {
                    self.count()?;
                    other.len_utf8()
                }
            };
            self.after_dot = first == '.';
            self.at += len;
        }
        Ok(())
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn count(&mut self) -> Result<(), String> {
        self.run += 1;
        self.depth.tokens = self.depth.tokens.max(self.run);
        if self.run > TOKENS_MAX {
            return Err(format!("a chain of more than {TOKENS_MAX} parts: use fewer, or a list"));
        }
        Ok(())
    }

    /// What comes is beside what was, not on top of it.
    fn separate(&mut self, len: usize) -> usize {
        self.run = self.open.last().copied().unwrap_or(0);
        len
    }

    /// A name, a number or a keyword; or what says how the text behind it is to be read.
    fn word(&mut self) -> Result<usize, String> {
        let rest = self.rest();
        let len = rest.find(|next| !is_word(next)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(len);
        let quote = behind.chars().next().filter(|next| matches!(next, '"' | '\''));
        let raw = match (quote, word) {
            (None, _) => return self.count().map(|()| len),
            (_, "r" | "R" | "br" | "bR" | "Br" | "BR") => true,
            (_, "b" | "B" | "in") => false,
            _ => return Err("a text directly behind a name".into()),
        };
        self.count()?;
        self.at += len;
        self.text(quote.unwrap_or('"'), raw)
    }

    fn quoted_name(&mut self) -> Result<usize, String> {
        let inside = self.rest()[1..].split('`').next().unwrap_or("");
        let is_name = |next| is_word(next) || matches!(next, '.' | '-' | '/' | ' ');
        if inside.is_empty() || inside.len() + 1 == self.rest().len() || !inside.chars().all(is_name) {
            return Err("not a name between backticks".into());
        }
        self.count()?;
        Ok(inside.len() + 2)
    }

    /// A text that starts here; answers its length.
    fn text(&mut self, quote: char, raw: bool) -> Result<usize, String> {
        self.count()?;
        let (three, rest) = (quote.to_string().repeat(3), self.rest());
        let mark = if rest.starts_with(&three) { &*three } else { &three[..1] };
        let mut len = mark.len();
        while let Some(next) = rest[len..].chars().next() {
            if rest[len..].starts_with(mark) {
                return Ok(len + mark.len());
            }
            len += match next {
                '\n' | '\r' if mark.len() == 1 => break,
                '\\' if !raw => escape(&rest[len..]).ok_or("a text with an escape that is none")?,
                _ => next.len_utf8(),
            };
        }
        Err("a text without an end".into())
    }

    fn position(&self, part: u16) -> Position {
        let before = &self.text[..self.at];
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Position { part, line: line as u32, column: column as u32 }
    }
}

/// The length of the escape that `text` starts with.
fn escape(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize, len: usize, radix: u32| {
        let digits = text.get(from..from + len)?;
        digits.chars().all(|digit| digit.is_digit(radix)).then_some(from + len)
    };
    match bytes.get(1)? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => Some(2),
        b'x' | b'X' => digits(2, 2, 16),
        b'u' => digits(2, 4, 16),
        b'U' => digits(2, 8, 16),
        b'0'..=b'3' => digits(1, 3, 8),
        _ => None,
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

#[cfg(all(test, not(coulis_loom)))]
mod tests {
    use super::*;

    fn longest(chain: impl Fn(usize) -> String) -> usize {
        let fits = |len: &usize| check(&chain(*len), 0).is_ok();
        (1..2 * TOKENS_MAX).take_while(fits).last().unwrap_or(0)
    }

    #[test]
    fn each_kind_of_chain_has_a_bound() {
        let links = |unit: &str| longest(|len| format!("x{}", unit.repeat(len)));
        assert_eq!(links(" + 1"), 63);
        assert_eq!(links(".a"), 63);
        assert_eq!(links(".?a"), 42);
        assert_eq!(links(". // it's\n ?a"), 42);
        assert_eq!(links("[0]"), 126);
        assert_eq!(links("[?0]"), 126);
        assert_eq!(links(".f(1, 2)"), 42);
        assert_eq!(links(" in y"), 63);
        assert_eq!(links(" + ','"), 63);
        assert_eq!(links(r" + ',\''"), 63);
        assert_eq!(links(r" + r',\'"), 42);
        assert_eq!(links(" + // it's ,\n1"), 63);
        assert_eq!(links(" + '''it's, \"\n'''"), 63);
        assert_eq!(links(".`a//b-c`"), 63);
        assert_eq!(links("-"), 127);
        assert_eq!(longest(|len| "(".repeat(len)), TOKENS_MAX);
        assert_eq!(longest(|len| "f(1 + ".repeat(len)), 32);
    }

    #[test]
    fn what_stands_beside_each_other_has_none() {
        let units =
            ["a.b == 1 && ", "f(a) || ", "a ? b : ", "[a, b][0], ", "{a: b} ? ", "'x' || ", "a in'b' && "];
        for unit in units {
            assert!(check(&unit.repeat(10_000), 0).is_ok_and(|depth| depth.tokens < 10), "{unit}");
        }
        let long = "x".repeat(100_000);
        let text = format!("'{long}' + \"{long}\" + {long} + '''{long}''' // {long}");
        assert_eq!(check(&text, 0), Ok(Depth { tokens: 7, brackets: 0 }));
        assert_eq!(check("[1, f(a)] + g(b) || (c + (d))", 0), Ok(Depth { tokens: 5, brackets: 2 }));
    }

    #[test]
    fn what_the_parser_would_not_take_for_a_text_is_refused_where_it_starts() {
        let refused = |text: &str| check(text, 0).unwrap_err().to_string();
        assert_eq!(refused("a +\n 'b"), "2:2: a text without an end");
        assert_eq!(refused("'a\n'"), "1:1: a text without an end");
        assert_eq!(refused("'''a'"), "1:1: a text without an end");
        assert_eq!(refused("1r'a'"), "1:1: a text directly behind a name");
        assert_eq!(refused("1 + `a"), "1:5: not a name between backticks");
        assert_eq!(refused("`a'`"), "1:1: not a name between backticks");
        for bad in [r"\", r"\d", r"\x0", r"\x0g", r"\u012", r"\U0001f60", r"\400", r"\08", r"\é"] {
            assert_eq!(refused(&format!("'{bad}")), "1:1: a text with an escape that is none", "{bad}");
        }
        let good = [
            "x in'a'",
            "b'a'",
            r#"R"\""#,
            r"bR'\'",
            "''",
            "''''''",
            r"r'''\'''",
            r"'🦀\'\x0A\u00e9\U0001F600\377'",
        ];
        for good in good {
            assert!(check(good, 0).is_ok(), "{good}");
        }
    }
}
