//! Answers that carry results, written down whole.

use super::*;
use crate::{
    id::{ChannelId, Offset},
    link::End,
    payload::Payload,
    subscriber::{Gap, GapReason},
};

const CURSOR: &str = r#"{"data":{"a":1},"extensions":{"coulis":{"cursor":"1.5eed.2.1f"}}}"#;

fn stream(form: Form) -> Stream {
    Stream::new(form, &Limits::default())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn written(stream: &mut Stream, id: &str, content: Content<'_>) -> String {
    let mut out = Vec::new();
    stream.write(&Delivery { id, id_json: &crate::value::quote(id), content }, &mut out);
    text(out)
}

fn result(stream: &mut Stream, body: &str) -> String {
    let payload = Payload::new(ChannelId(0), Offset(1), body.into());
    written(stream, "1", Content::Result(&payload))
}

fn error() -> GraphQlError {
    GraphQlError::new("CODE", "wrong")
}

fn part(json: &str) -> String {
    format!("\r\nContent-Type: application/json\r\n\r\n{json}\r\n--graphql")
}

#[test]
fn an_answer_begins_with_a_sign_of_life() {
    assert_eq!(stream(Form::Events).take(), b":\n\n");
    assert_eq!(stream(Form::SharedEvents).take(), b":\n\n");
    assert_eq!(text(stream(Form::Parts).take()), format!("--graphql{}", part("{}")));
}

#[test]
fn a_sign_of_life_is_not_heaped_on_what_waits() {
    for form in [Form::Events, Form::SharedEvents, Form::Parts] {
        let mut stream = stream(form);
        let first = stream.waiting.len();
        (0..100).for_each(|_| stream.keep_alive());
        assert_eq!(stream.take().len(), first);
        (0..100).for_each(|_| stream.keep_alive());
        assert!((3..=first).contains(&stream.take().len()));
    }
}

#[test]
fn the_cursor_of_a_result_is_the_id_of_its_event() {
    let events = &mut stream(Form::Events);
    assert_eq!(result(events, CURSOR), format!("id: 1.5eed.2.1f\nevent: next\ndata: {CURSOR}\n\n"));
    let tombstone = r#"{"data":{"a":null},"extensions":{"coulis":{"tombstone":true,"cursor":"1.a.0.1"}}}"#;
    assert_eq!(result(events, tombstone), format!("id: 1.a.0.1\nevent: next\ndata: {tombstone}\n\n"));
    let payload = Payload::new(ChannelId(0), Offset(1), CURSOR.into());
    let shared = written(&mut stream(Form::SharedEvents), "o", Content::Result(&payload));
    assert_eq!(shared, format!("event: next\ndata: {{\"id\":\"o\",\"payload\":{CURSOR}}}\n\n"));
    assert_eq!(result(&mut stream(Form::Parts), CURSOR), part(&format!("{{\"payload\":{CURSOR}}}")));
}

#[test]
fn a_publisher_cannot_set_the_id_of_an_event() {
    let forged = r#"{"data":{"a":{"b":{"cursor":"1.a.0.1"}}}}"#;
    let without_log = &mut Stream::new(Form::Events, &Limits { log_events_max: 0, ..Limits::default() });
    assert_eq!(result(without_log, forged), format!("event: next\ndata: {forged}\n\n"));
    for body in [
        r#"{"a":{"b":{"cursor":"1\nevent: x"}}}"#,
        "{\"a\":{\"b\":{\"cursor\":\"1\nevent: x\"}}}",
        r#"{"a":{"b":{"cursor":"é"}}}"#,
        r#"{"a":{"b":{"other":"1"}}}"#,
        r#""}}}"#,
        "",
    ] {
        assert_eq!(cursor(body.as_bytes()), None, "{body}");
    }
}

#[test]
fn what_fails_as_a_whole_is_a_result_with_errors_and_the_end() {
    let errors = r#"{"errors":[{"message":"wrong","extensions":{"code":"CODE"}}]}"#;
    let failed = |form| {
        let mut stream = stream(form);
        stream.take();
        let operation = stream.start("o").unwrap();
        stream.failed(&operation, &[error()]);
        // Only once, whatever the host says.
        stream.failed(&operation, &[error()]);
        stream.completed(&operation);
        (text(stream.take()), stream.is_over())
    };
    let events = format!("event: next\ndata: {errors}\n\nevent: complete\ndata:\n\n");
    assert_eq!(failed(Form::Events), (events, true));
    let shared =
        "event: next\ndata: {\"id\":\"o\",\"payload\":{errors}}\n\nevent: complete\ndata: {\"id\":\"o\"}\n\n";
    assert_eq!(failed(Form::SharedEvents), (shared.replace("{errors}", errors), false));
    let parts = part(&format!("{{\"payload\":{errors}}}")) + "--\r\n";
    assert_eq!(failed(Form::Parts), (parts, true));
}

#[test]
fn what_the_engine_ends_is_told_and_frees_its_id() {
    let end = End::Expired;
    let mut shared = stream(Form::SharedEvents);
    shared.start("1").unwrap();
    assert_eq!(shared.start("1").unwrap_err().status, 409);
    let told = written(&mut shared, "1", Content::Closed(&end));
    assert!(told.contains("TOKEN_EXPIRED") && told.ends_with("event: complete\ndata: {\"id\":\"1\"}\n\n"));
    assert!(shared.start("1").is_ok());
    let mut parts = stream(Form::Parts);
    parts.start("1").unwrap();
    result(&mut parts, CURSOR);
    let told = written(&mut parts, "1", Content::Closed(&end));
    assert!(
        told.contains(r#"{"payload":null,"errors":[{"#) && told.ends_with("\r\n--graphql--\r\n"),
        "{told}"
    );
    assert!(parts.is_over());
}

#[test]
fn a_loss_that_ends_a_subscription_ends_the_answer_without_complete() {
    let gap = Gap { from: Offset(1), to: Some(Offset(2)), count: 2, reason: GapReason::Overflow };
    for form in [Form::Events, Form::SharedEvents] {
        let mut stream = stream(form);
        stream.start("1").unwrap();
        let told = written(&mut stream, "1", Content::Ended(gap));
        assert!(told.contains("\"gap\"") && !told.contains("complete") && stream.is_over(), "{told}");
    }
    let told = written(&mut stream(Form::Parts), "1", Content::Ended(gap));
    assert!(told.contains("TOO_SLOW") && told.ends_with("--graphql--\r\n"), "{told}");
}

#[test]
fn a_stopped_operation_is_completed_once_and_its_id_is_free() {
    let mut shared = stream(Form::SharedEvents);
    shared.take();
    let operation = shared.start("o").unwrap();
    assert_eq!(shared.stop("o"), Some(operation));
    assert_eq!(shared.stop("o"), None);
    assert_eq!(text(shared.take()), "event: complete\ndata: {\"id\":\"o\"}\n\n");
    assert!(!shared.is_over());
    let again = shared.start("o").unwrap();
    shared.forget(&again);
    assert!(shared.take().is_empty() && shared.start("o").is_ok());
}

#[test]
fn an_end_is_told_to_every_operation_in_order() {
    let mut shared = stream(Form::SharedEvents);
    shared.take();
    for id in ["b", "a"] {
        shared.start(id).unwrap();
    }
    shared.end(&error());
    let told = text(shared.take());
    let at = |text: &str| told.find(text).unwrap();
    assert!(at(r#"{"id":"b","payload""#) < at(r#"{"id":"b"}"#) && at(r#"{"id":"b"}"#) < at(r#"{"id":"a","#));
    assert!(shared.is_over());
    shared.keep_alive();
    assert!(shared.take().is_empty());
    assert_eq!(shared.start("c").unwrap_err().status, 404);
}

#[test]
fn operations_and_what_waits_are_bounded() {
    let limits = Limits { subscriptions_per_subscriber_max: 2, message_bytes_max: 100, ..Limits::default() };
    let mut shared = Stream::new(Form::SharedEvents, &limits);
    shared.start("1").unwrap();
    shared.start("2").unwrap();
    assert_eq!(shared.start("3").unwrap_err().status, 429);
    // A client that starts and stops and does not read.
    let rounds = (0..100).take_while(|_| shared.stop("2").is_some() && shared.start("2").is_ok()).count();
    assert!(rounds < 10 && shared.waiting.len() < 200, "{rounds}");
    shared.take();
    assert!(shared.start("2").is_ok());
}

#[test]
fn an_answer_of_one_result_is_that_and_its_status() {
    for (media, failed) in [(Media::Json, 200), (Media::Response, 400)] {
        let mut whole = stream(Form::Whole(media));
        let operation = whole.start("1").unwrap();
        whole.keep_alive();
        assert_eq!(whole.take(), b"", "nothing stands before the result");
        assert_eq!(text(whole.result(&operation, br#"{"data":{"a":1}}"#)), r#"{"data":{"a":1}}"#);
        assert!(whole.is_open(&operation) && !whole.is_over());
        whole.completed(&operation);
        assert!(whole.is_over() && !whole.is_open(&operation));
        assert_eq!((whole.take(), whole.status()), (Vec::new(), 200));

        let mut whole = stream(Form::Whole(media));
        let operation = whole.start("1").unwrap();
        whole.failed(&operation, &[error()]);
        let result = r#"{"errors":[{"message":"wrong","extensions":{"code":"CODE"}}]}"#;
        assert_eq!((text(whole.take()), whole.status(), whole.is_over()), (result.into(), failed, true));

        let mut whole = stream(Form::Whole(media));
        whole.start("1").unwrap();
        whole.end(&GraphQlError::new("TOKEN_EXPIRED", "late"));
        assert_eq!((whole.status(), whole.is_over()), (401, true));
    }
}

#[test]
fn errors_that_the_host_has_written_end_an_operation_in_every_form() {
    let list = r#"[{"message":"own"}]"#;
    for (form, expected) in [
        (
            Form::Events,
            "event: next\ndata: {\"errors\":[{\"message\":\"own\"}]}\n\nevent: complete\ndata:\n\n",
        ),
        (Form::Whole(Media::Json), r#"{"errors":[{"message":"own"}]}"#),
    ] {
        let mut stream = stream(form);
        stream.take();
        let operation = stream.start("1").unwrap();
        stream.failed_with(&operation, list);
        assert_eq!(text(stream.take()), expected);
        stream.failed_with(&operation, list);
        assert!(stream.take().is_empty(), "it was over before");
    }
    let mut parts = stream(Form::Parts);
    let operation = parts.start("1").unwrap();
    parts.take();
    assert_eq!(text(parts.result(&operation, b"{}")), part(r#"{"payload":{}}"#));
    parts.failed_with(&operation, list);
    assert_eq!(text(parts.take()), part(&format!(r#"{{"payload":null,"errors":{list}}}"#)) + "--\r\n");
}
