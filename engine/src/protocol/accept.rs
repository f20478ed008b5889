//! Reads media types and ranges of them (RFC 9110, sections 8.3.1 and 12.5.1): the form of answer that a client wants.

use super::{stream::Form, whole::Media};

/// A media type or range, and its parameters; names in lower case.
#[derive(Debug)]
pub(super) struct MediaType {
    pub(super) essence: String,
    parameters: Vec<(String, String)>,
}

impl MediaType {
    pub(super) fn read(text: &str) -> Self {
        let mut parts = split(text, ';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameter = |part: &str| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), unquoted(value.trim())))
        };
        Self { essence, parameters: parts.filter_map(parameter).collect() }
    }

    pub(super) fn parameter(&self, wanted: &str) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    /// The weight in thousandths; what is none counts as not acceptable.
    fn weight(&self) -> u16 {
        let Some(text) = self.parameter("q") else { return 1000 };
        match text.parse::<f32>() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
            Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u16,
            _ => 0,
        }
    }

    /// The form for many results that it covers, and whether it names it.
    fn stream(&self) -> Option<(Form, bool)> {
        match &*self.essence {
            "text/event-stream" => Some((Form::Events, true)),
            "multipart/mixed" if self.parameter("subscriptionspec") == Some("1.0") => {
                Some((Form::Parts, true))
            }
            "text/*" | "*/*" => Some((Form::Events, false)),
            _ => None,
        }
    }

    /// The same for one result.
    fn whole(&self) -> Option<(Form, bool)> {
        match &*self.essence {
            "application/graphql-response+json" => Some((Form::Whole(Media::Response), true)),
            "application/json" => Some((Form::Whole(Media::Json), true)),
            "application/*" | "*/*" => Some((Form::Whole(Media::Json), false)),
            _ => None,
        }
    }
}

/// What a client wants best, of the forms that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) form: Form,
    weight: u16,
    /// The client named the form.
    pub(super) named: bool,
}

impl Wanted {
    /// Whether a client wants this more than another.
    pub(super) fn beats(self, other: Self) -> bool {
        (self.weight, self.named) > (other.weight, other.named)
    }
}

/// The form for many results with the highest weight: of equal ones that which is named, then the first.
pub(super) fn wanted(accept: &str) -> Option<Wanted> {
    best(accept, MediaType::stream)
}

/// The same for one result.
pub(super) fn wanted_whole(accept: &str) -> Option<Wanted> {
    best(accept, MediaType::whole)
}

fn best(accept: &str, covers: fn(&MediaType) -> Option<(Form, bool)>) -> Option<Wanted> {
    let ranges: Vec<_> = split(accept, ',').map(MediaType::read).collect();
    // At most one of each form, however many ranges a client sends.
    let mut refused = Vec::new();
    for (form, named) in ranges.iter().filter(|range| range.weight() == 0).filter_map(covers) {
        if named && !refused.contains(&form) {
            refused.push(form);
        }
    }
    let acceptable = ranges.iter().filter_map(|range| {
        let (form, named) = covers(range)?;
        Some(Wanted { form, weight: range.weight(), named })
    });
    let mut best: Option<Wanted> = None;
    for wanted in acceptable.filter(|wanted| wanted.weight > 0 && !refused.contains(&wanted.form)) {
        if best.is_none_or(|best| wanted.beats(best)) {
            best = Some(wanted);
        }
    }
    best
}

/// Whether a client takes `essence`, whatever its weight.
pub(super) fn takes(accept: &str, essence: &str) -> bool {
    let kind = essence.split_once('/').map_or("", |(kind, _)| kind);
    split(accept, ',').map(MediaType::read).any(|range| {
        let wild = range.essence.strip_suffix("/*").is_some_and(|of| of == "*" || of == kind);
        (range.essence == essence || wild) && range.weight() > 0
    })
}

/// The parts between separators that stand in no quoted text.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character: char| {
        let separates = character == separator && !quoted;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        separates
    })
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut escaped = false;
    inner
        .chars()
        .filter(|character| {
            escaped = *character == '\\' && !escaped;
            !escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_found_in_any_spelling_of_accept() {
        let row = |accept: &str, form, named| {
            let found = wanted(accept).map(|wanted| (wanted.form, wanted.named));
            assert_eq!(found, Some((form, named)), "{accept}");
        };
        row("text/event-stream", Form::Events, true);
        row("Text/Event-Stream; charset=utf-8", Form::Events, true);
        row("application/json, text/event-stream;q=0.5", Form::Events, true);
        row("*/*", Form::Events, false);
        row("text/*, application/json", Form::Events, false);
        row("*/*, text/event-stream", Form::Events, true);
        let apollo = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json";
        row(apollo, Form::Parts, true);
        row(r#"multipart/mixed; SubscriptionSpec="1.0", application/json"#, Form::Parts, true);
        row(r#"multipart/mixed;boundary="a,;b";subscriptionSpec="1\.0""#, Form::Parts, true);
        row("multipart/mixed;subscriptionSpec=1.0, */*", Form::Parts, true);
        row("text/event-stream;q=0.4, multipart/mixed;subscriptionSpec=1.0;q=0.5", Form::Parts, true);
        row("multipart/mixed;subscriptionSpec=1.0;q=0.4, text/event-stream;q=0.5", Form::Events, true);
    }

    #[test]
    fn what_names_no_form_that_is_served_wants_none() {
        for accept in [
            "",
            ",;,",
            "application/json",
            "multipart/mixed",
            "multipart/mixed;deferSpec=20220824",
            "multipart/mixed;subscriptionSpec=2.0",
            "text/event-stream;q=0",
            "text/event-stream;q=0, */*",
            "text/event-stream;q=x",
            "text/event-stream;q=2",
            "text/event-streams",
            "\"text/event-stream",
            "\"a\\\",text/event-stream",
        ] {
            assert_eq!(wanted(accept), None, "{accept}");
        }
    }

    #[test]
    fn one_result_is_json_of_the_name_that_the_client_gives_it() {
        let row = |accept: &str, media, named| {
            let found = wanted_whole(accept).map(|wanted| (wanted.form, wanted.named));
            assert_eq!(found, Some((Form::Whole(media), named)), "{accept}");
        };
        row("application/json", Media::Json, true);
        row("Application/GraphQL-Response+JSON; charset=utf-8", Media::Response, true);
        row("application/graphql-response+json, application/json;q=0.9", Media::Response, true);
        row("application/graphql-response+json;q=0.8, application/json;q=0.9", Media::Json, true);
        row("*/*", Media::Json, false);
        row("text/html, application/*;q=0.1", Media::Json, false);
        row("*/*, application/graphql-response+json", Media::Response, true);
        for accept in ["", "text/*", "text/event-stream", "application/json;q=0", "*/*, application/json;q=0"]
        {
            assert_eq!(wanted_whole(accept), None, "{accept}");
        }
    }

    #[test]
    fn ranges_take_what_they_cover() {
        for accept in ["text/plain", "text/*", "*/*", "a/b, TEXT/plain;q=0.1"] {
            assert!(takes(accept, "text/plain"), "{accept}");
        }
        for accept in ["", "text/html", "text/plain;q=0", "application/*", "/*"] {
            assert!(!takes(accept, "text/plain"), "{accept}");
        }
    }
}
