//! Writes what a server sends, except results: each message of the protocol as one JSON text.

use crate::{
    error::{GraphQlError, Location},
    value::{Value, quote},
};

pub(super) fn connection_ack(payload: Option<&Value>) -> String {
    match payload {
        Some(payload) => format!(r#"{{"type":"connection_ack","payload":{payload}}}"#),
        None => r#"{"type":"connection_ack"}"#.into(),
    }
}

pub(super) fn ping() -> String {
    r#"{"type":"ping"}"#.into()
}

/// `payload` is a JSON text.
pub(super) fn pong(payload: Option<&str>) -> String {
    match payload {
        Some(payload) => format!(r#"{{"type":"pong","payload":{payload}}}"#),
        None => r#"{"type":"pong"}"#.into(),
    }
}

pub(super) fn complete(id: &str) -> String {
    format!(r#"{{"id":{},"type":"complete"}}"#, quote(id))
}

pub(super) fn error(id: &str, errors: &[GraphQlError]) -> String {
    self::errors(id, &graphql_errors(errors))
}

/// The list of errors of a result.
pub(super) fn graphql_errors(errors: &[GraphQlError]) -> String {
    let errors: Vec<_> = errors.iter().map(graphql_error).collect();
    format!("[{}]", errors.join(","))
}

/// `errors` is the JSON text of a list.
pub(super) fn errors(id: &str, errors: &str) -> String {
    format!(r#"{{"id":{},"type":"error","payload":{errors}}}"#, quote(id))
}

/// One error as the GraphQL specification shapes it (section 7.1.2).
pub(super) fn graphql_error(error: &GraphQlError) -> String {
    let (message, code) = (quote(&error.message), quote(error.code));
    format!(r#"{{"message":{message}{},"extensions":{{"code":{code}}}}}"#, locations(&error.locations))
}

fn locations(locations: &[Location]) -> String {
    if locations.is_empty() {
        return String::new();
    }
    let places: Vec<_> = locations
        .iter()
        .map(|Location { line, column }| format!(r#"{{"line":{line},"column":{column}}}"#))
        .collect();
    format!(r#","locations":[{}]"#, places.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_places_and_its_code() {
        let mut error = GraphQlError::new("CODE", "a \"b\"");
        error.locations = vec![Location { line: 1, column: 2 }, Location { line: 3, column: 4 }];
        let text = super::error("i", &[error, GraphQlError::new("OTHER", "c")]);
        let place = r#"[{"line":1,"column":2},{"line":3,"column":4}]"#;
        let first = format!(r#"{{"message":"a \"b\"","locations":{place},"extensions":{{"code":"CODE"}}}}"#);
        let second = r#"{"message":"c","extensions":{"code":"OTHER"}}"#;
        assert_eq!(text, format!(r#"{{"id":"i","type":"error","payload":[{first},{second}]}}"#));
    }
}
