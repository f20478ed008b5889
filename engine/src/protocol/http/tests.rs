//! What requests ask for, and which are refused.

use super::*;

const EVENTS: Header<'static> = (b"accept", b"text/event-stream");
const JSON: Header<'static> = (b"content-type", b"application/json");
const TOKEN: Header<'static> = (b"X-GraphQL-Event-Stream-Token", b"t");

fn read(method: &str, query: &str, headers: &[Header<'_>]) -> Result<Exchange, Refusal> {
    Exchange::read(&Head { method, query: query.as_bytes(), headers }, &Limits::default())
}

fn posted(body: impl AsRef<[u8]>) -> Result<Request, Refusal> {
    read("POST", "", &[EVENTS, JSON]).unwrap().request(body.as_ref().to_vec())
}

fn got(query: &str) -> Result<Request, Refusal> {
    read("GET", query, &[EVENTS]).unwrap().request(Vec::new())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, status: u16, told: &str) {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.status, status, "{}", refusal.body());
    assert!(refusal.body().contains(told), "{}", refusal.body());
    assert!(serde_json::from_str::<serde_json::Value>(&refusal.body()).is_ok());
}

#[test]
fn the_method_the_accept_and_the_token_say_what_is_asked_for() {
    let row = |method, query, headers: &[Header<'_>], ask| {
        assert_eq!(read(method, query, headers).unwrap().ask(), &ask, "{method} {query}");
    };
    let token = || "t".to_owned();
    let parts: Header<'_> = (b"accept", b"multipart/mixed;subscriptionSpec=1.0");
    row("GET", "", &[EVENTS], Ask::Answer);
    row("GET", "", &[], Ask::Answer);
    row("POST", "", &[EVENTS, JSON], Ask::Answer);
    row("POST", "", &[parts, JSON], Ask::Answer);
    row("PUT", "", &[], Ask::Reserve { token: None });
    row("PUT", "", &[TOKEN, (b"accept", b"text/plain")], Ask::Reserve { token: Some(token()) });
    row("GET", "", &[EVENTS, TOKEN], Ask::Open { token: token() });
    row("GET", "token=t", &[EVENTS], Ask::Open { token: token() });
    // The stream is asked for by a request without a body, whose type does not matter then.
    row("POST", "", &[EVENTS, TOKEN], Ask::Open { token: token() });
    row("POST", "", &[TOKEN, JSON], Ask::Run { token: token() });
    row("GET", "token=t", &[(b"accept", b"application/json")], Ask::Run { token: token() });
    row("POST", "", &[TOKEN, JSON, (b"accept", b"*/*")], Ask::Run { token: token() });
    let stop = Ask::Stop { token: token(), operation: "é".into() };
    row("DELETE", "operationId=%C3%A9", &[TOKEN], stop);
}

#[test]
fn a_head_that_is_not_served_is_refused() {
    refused(read("PATCH", "", &[EVENTS]), 405, "`PATCH` is not served");
    assert_eq!(read("HEAD", "", &[]).unwrap_err().allow(), Some("GET, POST, PUT, DELETE"));
    refused(read("GET", "", &[(b"accept", b"image/png")]), 406, "application/graphql-response+json");
    refused(read("PUT", "", &[(b"accept", b"application/json")]), 406, "text/plain");
    refused(read("DELETE", "operationId=1", &[]), 400, "x-graphql-event-stream-token");
    refused(read("DELETE", "", &[TOKEN]), 400, "`operationId` is missing");
    refused(read("DELETE", "operationId=", &[TOKEN]), 400, "`operationId` is missing");
    refused(read("GET", "query=%", &[EVENTS]), 400, "hexadecimal");
    refused(read("GET", "a=1&a=2", &[EVENTS]), 400, "occurs twice");
    refused(read("GET", "", &[(b"accept", b"\xff")]), 400, "`accept` is not UTF-8");
    refused(read("GET", &"a".repeat((1 << 20) + 1), &[EVENTS]), 414, "message_bytes_max");
}

#[test]
fn a_body_must_say_that_it_is_json() {
    let row = |content: &str| {
        let headers: [Header<'_>; 2] = [EVENTS, (b"content-type", content.as_bytes())];
        read("POST", "", &headers)
    };
    for content in
        ["application/json", "Application/JSON; charset=UTF-8", r#"application/json;charset="utf-8""#]
    {
        assert!(row(content).unwrap().has_body(), "{content}");
    }
    for content in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/json, text/plain",
        "application/jsonp",
        "application/json; charset=latin-1",
    ] {
        refused(row(content), 415, "UNSUPPORTED_MEDIA_TYPE");
    }
    refused(read("POST", "", &[EVENTS]), 415, "send application/json");
    refused(read("POST", "", &[EVENTS, JSON, JSON]), 415, "send application/json");
    refused(read("POST", "", &[EVENTS, JSON, (b"content-encoding", b"gzip")]), 415, "gzip");
}

#[test]
fn a_body_is_bounded_before_and_after_it_was_read() {
    refused(read("POST", "", &[EVENTS, JSON, (b"content-length", b"1048577")]), 413, "message_bytes_max");
    refused(posted(vec![b' '; 1_048_577]), 413, "message_bytes_max");
}

#[test]
fn a_request_is_read_from_a_body_or_from_the_url() {
    let body = r#"{"query":"{a}","operationName":"N","variables":{"a":[1]},"extensions":{"b":{}},"c":1}"#;
    let from_body = posted(body).unwrap();
    let query =
        "query=%7Ba%7D&operationName=N&variables=%7B%22a%22%3A%5B1%5D%7D&extensions=%7B%22b%22:%7B%7D%7D&c=1";
    assert_eq!(got(query).unwrap(), from_body);
    assert_eq!(from_body.query, "{a}");
    assert_eq!(from_body.operation_name.as_deref(), Some("N"));
    assert_eq!(from_body.variables.to_string(), r#"{"a":[1]}"#);
    assert_eq!(
        got("query=x&operationName=&variables=&extensions=null").unwrap(),
        posted(r#"{"query":"x"}"#).unwrap()
    );
}

#[test]
fn what_is_no_request_is_refused_by_name() {
    for body in ["", "{", "{}{}", "\u{feff}{}", r#"{"query":NaN}"#, "[[[[["] {
        refused(posted(body), 400, "BAD_REQUEST");
    }
    refused(posted(b"{\"query\":\"\xff\"}"), 400, "not UTF-8");
    refused(posted(r#"{"query":"a","query":"b"}"#), 400, "duplicate key");
    refused(posted(r#"[{"query":"a"}]"#), 400, "no batch");
    refused(posted("null"), 400, "no batch");
    refused(posted("[".repeat(100_000)), 400, "nested deeper");
    refused(posted("{}"), 400, "`query` is missing");
    refused(posted(r#"{"query":null}"#), 400, "`query` must be a string");
    refused(posted(r#"{"query":"a","operationName":1}"#), 400, "`operationName` must be a string");
    refused(posted(r#"{"query":"a","variables":[]}"#), 400, "`variables` must be an object");
    refused(posted(r#"{"query":"a","extensions":"x"}"#), 400, "`extensions` must be an object");
    refused(got(""), 400, "`query` is missing");
    refused(got("query=a&variables=1"), 400, "`variables` must be an object");
    refused(got("query=a&variables=%7B"), 400, "`variables`: ");
    // Nothing of a parameter becomes a part of the object around it.
    refused(got("query=a&variables=%7B%7D,%22operationName%22:%22b%22"), 400, "`variables`: ");
    refused(got("query=a&variables=%7B%7D%7D,%7B"), 400, "`variables`: ");
}

#[test]
fn a_browser_that_comes_back_resumes_by_its_header() {
    let exchange = |headers: &[Header<'_>]| read("GET", "query=a", headers).unwrap();
    let request = posted(r#"{"query":"a","extensions":{"coulis":{"resume":"1.a.0.1"}}}"#).unwrap();
    let resume = |headers: &[Header<'_>]| exchange(headers).resume(&request).unwrap();
    assert_eq!(resume(&[EVENTS, (b"last-event-id", b"1.a.0.9")]).as_deref(), Some("1.a.0.9"));
    assert_eq!(resume(&[EVENTS, (b"last-event-id", b"")]).as_deref(), Some("1.a.0.1"));
    assert_eq!(resume(&[EVENTS]).as_deref(), Some("1.a.0.1"));
    let parts: Header<'_> = (b"accept", b"multipart/mixed;subscriptionSpec=1.0");
    assert_eq!(resume(&[parts, (b"last-event-id", b"1.a.0.9")]).as_deref(), Some("1.a.0.1"));
    let plain = posted(r#"{"query":"a"}"#).unwrap();
    assert_eq!(exchange(&[EVENTS]).resume(&plain).unwrap(), None);
    let wrong = posted(r#"{"query":"a","extensions":{"coulis":{"resume":1}}}"#).unwrap();
    assert_eq!(exchange(&[EVENTS]).resume(&wrong).unwrap_err().code, "BAD_USER_INPUT");
}

#[test]
fn an_operation_of_a_shared_stream_brings_its_id() {
    let exchange = read("POST", "", &[TOKEN, JSON]).unwrap();
    let id = |extensions: &str| {
        let request = posted(format!(r#"{{"query":"a","extensions":{extensions}}}"#)).unwrap();
        exchange.operation_id(&request)
    };
    assert_eq!(id(r#"{"operationId":"é"}"#).unwrap(), "é");
    refused(id("null"), 400, "is missing");
    refused(id("{}"), 400, "is missing");
    refused(id(r#"{"operationId":1}"#), 400, "must be a string");
    refused(id(r#"{"operationId":""}"#), 400, "must not be empty");
    refused(id(&format!(r#"{{"operationId":"{}"}}"#, "i".repeat(1025))), 400, "1025 bytes");
}

fn form(method: &str, headers: &[Header<'_>], query: &str, origin: Origin) -> Result<Form, Refusal> {
    let request = posted(serde_json::json!({ "query": query }).to_string()).unwrap();
    read(method, "", headers).unwrap().form(&request, origin)
}

const QUERY: &str = "{ a }";
const SUBSCRIPTION: &str = "subscription { a }";

#[test]
fn the_operation_and_the_accept_say_how_it_is_answered() {
    let (json, response) = (Form::Whole(Media::Json), Form::Whole(Media::Response));
    let row = |accept: &str, query: &str, expected| {
        let headers: [Header<'_>; 2] = [(b"accept", accept.as_bytes()), JSON];
        assert_eq!(form("POST", &headers, query, Origin::Unknown), Ok(expected), "{accept}: {query}");
    };
    for query in [QUERY, "mutation { a }", "{"] {
        row("*/*", query, json);
        row("application/json", query, json);
        row("application/graphql-response+json, application/json;q=0.9", query, response);
        row("text/event-stream", query, Form::Events);
        row("multipart/mixed;subscriptionSpec=1.0", query, Form::Parts);
        row("multipart/mixed;subscriptionSpec=1.0,application/json", query, json);
        row("text/event-stream, */*", query, Form::Events);
        row("text/event-stream;q=0.5, application/json", query, json);
        row("text/event-stream, application/json;q=0.5", query, Form::Events);
    }
    row("*/*", SUBSCRIPTION, Form::Events);
    row("application/json, */*;q=0.1", SUBSCRIPTION, Form::Events);
    row("multipart/mixed;subscriptionSpec=1.0,application/json", SUBSCRIPTION, Form::Parts);
    assert_eq!(form("POST", &[JSON], QUERY, Origin::Unknown), Ok(json));
    for accept in ["application/json", "application/graphql-response+json", "application/*"] {
        let headers: [Header<'_>; 2] = [(b"accept", accept.as_bytes()), JSON];
        refused(form("POST", &headers, SUBSCRIPTION, Origin::Allowed), 406, "served here: text/event-stream");
    }
    assert_eq!(form("POST", &[TOKEN, JSON], QUERY, Origin::Unknown), Ok(Form::SharedEvents));
}

#[test]
fn a_refusal_has_the_media_type_that_the_client_takes() {
    let row = |headers: &[Header<'_>], media| {
        assert_eq!(Exchange::media(&Head { method: "GET", query: b"", headers }), media);
    };
    row(&[], Media::Json);
    row(&[EVENTS], Media::Json);
    row(&[(b"accept", b"\xff")], Media::Json);
    row(&[(b"accept", b"application/graphql-response+json")], Media::Response);
}

#[test]
fn a_get_of_a_mutation_is_405_and_names_post() {
    for headers in [&[EVENTS][..], &[], &[TOKEN], &[JSON]] {
        let refusal = form("GET", headers, "mutation { a }", Origin::Allowed).unwrap_err();
        assert_eq!((refusal.status, refusal.allow()), (405, Some("POST")));
    }
}

#[test]
fn a_query_by_get_comes_from_no_page_of_another_origin() {
    let unasked: [&[Header<'_>]; 7] = [
        &[],
        &[EVENTS],
        &[(b"authorization", b"Basic eA==")],
        &[(b"content-type", b"text/plain; charset=application/json")],
        &[(b"graphql-require-preflight", b"")],
        &[(b"sec-fetch-site", b"cross-site")],
        &[(b"sec-fetch-site", b"same-site"), (b"graphql-require-preflight", b"1")],
    ];
    for headers in unasked {
        refused(form("GET", headers, QUERY, Origin::Unknown), 403, "PREFLIGHT_REQUIRED");
        assert!(form("GET", headers, QUERY, Origin::Allowed).is_ok(), "{headers:?}");
        // Nothing is read by who only has it sent.
        assert!(form("GET", headers, SUBSCRIPTION, Origin::Unknown).is_ok(), "{headers:?}");
    }
    for name in PREFLIGHTED.iter().filter(|name| **name != TOKEN_HEADER) {
        assert!(form("GET", &[(name.as_bytes(), b"1")], QUERY, Origin::Unknown).is_ok(), "{name}");
    }
    for headers in [JSON, (b"sec-fetch-site", b"same-origin"), (b"Sec-Fetch-Site", b"none")] {
        assert!(form("GET", &[headers], QUERY, Origin::Unknown).is_ok(), "{headers:?}");
    }
    // A body of JSON is never sent unasked.
    assert!(form("POST", &[JSON], QUERY, Origin::Unknown).is_ok());
}

#[test]
fn what_is_wrong_is_told_by_the_request_where_the_results_go_elsewhere() {
    let errors = [GraphQlError::new("CODE", "wrong")];
    assert_eq!(read("POST", "", &[EVENTS, JSON]).unwrap().refusal(&errors), None);
    let shared = read("POST", "", &[TOKEN, JSON]).unwrap();
    let elsewhere = shared.refusal(&errors).unwrap();
    assert_eq!((elsewhere.status, elsewhere.allow()), (400, None));
    assert_eq!(elsewhere.body(), r#"{"errors":[{"message":"wrong","extensions":{"code":"CODE"}}]}"#);
    assert_eq!(shared.refusal(&[]).unwrap().status, 500);
    assert_eq!(shared.refusal(&[GraphQlError::new("RATE_LIMITED", "")]).unwrap().status, 429);
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_or_read(
        method in "(GET|POST|PUT|DELETE|[A-Z]{0,8})",
        query: Vec<u8>,
        accept: Vec<u8>,
        content in r#"(application/json)?[;="\\, a-z]{0,12}"#,
        body: Vec<u8>,
    ) {
        let headers: [Header<'_>; 2] = [(b"accept", &accept), (b"content-type", content.as_bytes())];
        let head = Head { method: &method, query: &query, headers: &headers };
        let request = Exchange::read(&head, &Limits::default()).and_then(|exchange| exchange.request(body));
        if let Err(refusal) = request {
            proptest::prop_assert!((400..=415).contains(&refusal.status));
            proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&refusal.body()).is_ok());
        }
    }
}
