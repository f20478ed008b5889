//! Reads the query of a URL (`application/x-www-form-urlencoded`, WHATWG URL Standard, section 5.1), strictly.

use super::message::Malformed;

/// The parameters of a request, each at most once.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// A name occurs twice, on which readers disagree, or something is not UTF-8 or not a percent encoding.
    pub(super) fn read(query: &[u8]) -> Result<Self, Malformed> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            let (name, value) = (decoded(&pair[..at])?, decoded(pair.get(at + 1..).unwrap_or_default())?);
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(Malformed(format!("the parameter `{name}` occurs twice: send it once")));
            }
            if parameters.len() == PARAMETERS_MAX {
                return Err(Malformed(format!("there are more than {PARAMETERS_MAX} parameters")));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    pub(super) fn get(&self, wanted: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}

/// Parameters of one URL: few enough that a search by name looks at each.
const PARAMETERS_MAX: usize = 64;

fn decoded(text: &[u8]) -> Result<String, Malformed> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => percent(rest.next(), rest.next())?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| Malformed("the query of the URL is not UTF-8".into()))
}

fn percent(high: Option<&u8>, low: Option<&u8>) -> Result<u8, Malformed> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let value = digit(high).zip(digit(low)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
    value.ok_or_else(|| {
        Malformed("`%` in the query of the URL must stand before two hexadecimal digits".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let read = Parameters::read(b"query=%7Ba%7D+%2B&&b=&c&d=1=2&%C3%A9=%F0%9F%A6%80").unwrap();
        for (name, value) in [("query", "{a} +"), ("b", ""), ("c", ""), ("d", "1=2"), ("é", "🦀")] {
            assert_eq!(read.get(name), Some(value), "{name}");
        }
        assert_eq!(read.get("e"), None);
    }

    #[test]
    fn what_readers_disagree_on_is_refused() {
        let row = |query: &[u8], told: &str| {
            let Malformed(reason) = Parameters::read(query).unwrap_err();
            assert!(reason.contains(told), "{reason}");
        };
        row(b"a=1&a=1", "`a` occurs twice");
        row(b"a=1&%61=1", "`a` occurs twice");
        row(b"a=%", "two hexadecimal digits");
        row(b"a=%f", "two hexadecimal digits");
        row(b"a=%+f", "two hexadecimal digits");
        row(b"a=%gg", "two hexadecimal digits");
        row(b"a=%ff", "not UTF-8");
        row(b"a=\xff", "not UTF-8");
        let many: Vec<_> = (0..65).map(|number| format!("{number}=")).collect();
        row(many.join("&").as_bytes(), "more than 64");
    }
}
