//! Answers that are one result: their media type and, by what the result says, their status.
//!
//! "GraphQL over HTTP" (draft of the GraphQL foundation, section 6.4): with `application/graphql-response+json` the status
//! tells of what went wrong with the request; with `application/json` whatever GraphQL itself says is 200, since clients
//! cannot tell who else on the way may have answered. What a server refuses or fails at for reasons of its own has the
//! status that HTTP has for it, with both.

use super::stream::Form;
use crate::{
    error::GraphQlError,
    value::{Document, Node},
};

/// The media type of an answer that is one result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// `application/json`.
    #[default]
    Json,
    /// `application/graphql-response+json`.
    Response,
}

impl Media {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::Response => "application/graphql-response+json; charset=utf-8",
        }
    }

    /// The status of an answer with this result, a JSON text nested up to `depth_max`; O(its length).
    pub fn status(self, result: &[u8], depth_max: usize) -> u16 {
        let Ok(document) = Document::parse_bytes(result.to_vec(), depth_max) else { return 500 };
        if document.root().get("data").is_some() {
            return 200;
        }
        let code = first_code(document.root());
        self.of(status_of(code.as_deref()))
    }

    /// The status of an answer that is nothing but these errors.
    pub fn status_of_errors(self, errors: &[GraphQlError]) -> u16 {
        self.of(status_of(errors.first().map(|error| error.code)))
    }

    fn of(self, status: u16) -> u16 {
        if self == Self::Json && status == 400 { 200 } else { status }
    }
}

impl From<Media> for Form {
    fn from(media: Media) -> Self {
        Self::Whole(media)
    }
}

/// The status that HTTP has for a code of errors: 400 where that is about the request.
pub(super) fn status_of(code: Option<&str>) -> u16 {
    match code {
        Some("UNAUTHENTICATED" | "TOKEN_EXPIRED") => 401,
        Some("FORBIDDEN") => 403,
        Some("RATE_LIMITED" | "TOO_MANY_OPERATIONS") => 429,
        Some("INTERNAL_SERVER_ERROR") => 500,
        Some("ENGINE_CLOSED") => 503,
        Some("TIMEOUT") => 504,
        _ => 400,
    }
}

/// The code of a result's first error.
fn first_code(result: Node<'_>) -> Option<String> {
    let first = result.get("errors")?.items()?.next()?;
    Some(first.get("extensions")?.get("code")?.as_str()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn row(result: &str, json: u16, response: u16) {
        assert_eq!(Media::Json.status(result.as_bytes(), 32), json, "{result}");
        assert_eq!(Media::Response.status(result.as_bytes(), 32), response, "{result}");
    }

    #[test]
    fn a_result_with_data_is_200_whatever_its_errors() {
        row(r#"{"data":{"a":1}}"#, 200, 200);
        row(r#"{"data":null,"errors":[{"message":"m"}]}"#, 200, 200);
        let failed =
            r#"{"errors":[{"message":"m","extensions":{"code":"INTERNAL_SERVER_ERROR"}}],"data":{}}"#;
        row(failed, 200, 200);
    }

    #[test]
    fn what_is_wrong_with_the_request_is_told_by_the_status_where_the_media_type_has_it() {
        row(r#"{"errors":[{"message":"m"}]}"#, 200, 400);
        row(r#"{"errors":[{"message":"m","extensions":{"code":"GRAPHQL_PARSE_FAILED"}}]}"#, 200, 400);
        for odd in [
            "{}",
            r#"{"errors":{}}"#,
            r#"{"errors":[]}"#,
            r#"{"errors":[1]}"#,
            r#"{"errors":[{"extensions":1}]}"#,
        ] {
            row(odd, 200, 400);
        }
    }

    #[test]
    fn refusals_and_failures_of_the_server_have_their_own_status() {
        for (code, status) in [
            ("TOKEN_EXPIRED", 401),
            ("FORBIDDEN", 403),
            ("RATE_LIMITED", 429),
            ("INTERNAL_SERVER_ERROR", 500),
            ("ENGINE_CLOSED", 503),
            ("TIMEOUT", 504),
        ] {
            let result = format!(r#"{{"errors":[{{"message":"m","extensions":{{"code":"{code}"}}}}]}}"#);
            row(&result, status, status);
        }
        row("{", 500, 500);
        let errors = [GraphQlError::new("TIMEOUT", "late")];
        assert_eq!(Media::Json.status_of_errors(&errors), 504);
        assert_eq!(Media::Json.status_of_errors(&[GraphQlError::new("ELSE", "")]), 200);
    }
}
