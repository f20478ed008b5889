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
    row("GET", "", &[EVENTS], Ask::Stream(Form::Events));
    row("GET", "", &[], Ask::Stream(Form::Events));
    row("POST", "", &[EVENTS, JSON], Ask::Stream(Form::Events));
    row("POST", "", &[parts, JSON], Ask::Stream(Form::Parts));
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
    refused(read("GET", "", &[(b"accept", b"application/json")]), 406, "text/event-stream");
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
    assert_eq!(got("query=x&variables=&extensions=null").unwrap(), posted(r#"{"query":"x"}"#).unwrap());
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

#[test]
fn a_get_of_another_operation_is_405_and_names_post() {
    let errors = [GraphQlError::new("CODE", "wrong")];
    let refusal = |method, headers: &[Header<'_>], query: &str| {
        let request = posted(serde_json::json!({ "query": query }).to_string()).unwrap();
        read(method, "", headers).unwrap().refusal(&request, &errors)
    };
    for query in ["mutation { a }", "query { a }", "{ a }"] {
        let refusal = refusal("GET", &[EVENTS], query).unwrap();
        assert_eq!((refusal.status, refusal.allow()), (405, Some("POST")));
    }
    // In the stream: what is wrong with a subscription, and whatever was posted.
    for (method, query) in [("GET", "subscription { a }"), ("GET", "{"), ("POST", "mutation { a }")] {
        assert_eq!(refusal(method, &[EVENTS, JSON], query), None);
    }
    let elsewhere = refusal("POST", &[TOKEN, JSON], "mutation { a }").unwrap();
    assert_eq!((elsewhere.status, elsewhere.allow()), (400, None));
    assert_eq!(elsewhere.body(), r#"{"errors":[{"message":"wrong","extensions":{"code":"CODE"}}]}"#);
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
