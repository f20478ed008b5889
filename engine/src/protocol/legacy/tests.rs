//! Tests of the older protocol's rules, one for each, named by the rule.

use super::super::{Action, Dialect, Machine, Operation};
use super::*;
use crate::{
    id::{ChannelId, Offset},
    link::End,
    payload::Payload,
};

const INIT: &str = r#"{"type":"connection_init","payload":{"t":1}}"#;
const ACK: &str = r#"{"type":"connection_ack"}"#;

fn machine() -> Machine {
    Machine::speaking(Dialect::Legacy, &Limits::default())
}

fn ready() -> Machine {
    let mut machine = machine();
    assert!(matches!(machine.receive(INIT), Action::Authenticate { payload: Some(_) }));
    assert_eq!(machine.accepted(None), None);
    assert_eq!(machine.next_reply().as_deref(), Some(ACK));
    machine
}

fn start(id: &str) -> String {
    format!(r#"{{"type":"start","id":"{id}","payload":{{"query":"subscription {{ a }}"}}}}"#)
}

fn started(action: Action) -> Operation {
    let Action::Subscribe(subscribe) = action else { panic!("not started: {action:?}") };
    subscribe.operation
}

fn code(action: &Action) -> u16 {
    let Action::Close(close) = action else { panic!("not closed: {action:?}") };
    close.code()
}

#[test]
fn nothing_starts_before_connection_init() {
    let mut machine = machine();
    assert_eq!(code(&machine.receive(start("a"))), 4401);
    assert_eq!(machine.receive(INIT), Action::None);
    assert!(machine.next_held().is_none());
}

#[test]
fn what_comes_while_the_host_decides_waits_for_the_answer() {
    let mut machine = machine();
    _ = machine.receive(INIT);
    for id in ["a", "b", "c"] {
        assert_eq!(machine.receive(start(id)), Action::None);
        assert!(machine.next_held().is_none(), "not before the acknowledgement");
    }
    _ = machine.receive(r#"{"type":"stop","id":"b"}"#);
    assert_eq!(machine.accepted(None), None);
    let held: Vec<_> =
        std::iter::from_fn(|| machine.next_held()).map(|held| held.operation.id().to_owned()).collect();
    assert_eq!(held, ["a", "c"]);
}

#[test]
fn what_waits_is_dropped_with_a_refusal() {
    let mut machine = machine();
    _ = machine.receive(INIT);
    _ = machine.receive(start("a"));
    assert_eq!(machine.refused("no"), None);
    assert_eq!(machine.receive(start("b")), Action::None);
    assert_eq!(machine.last_words(), None, "after the reply");
    let reply = machine.next_reply().unwrap();
    assert_eq!(reply, r#"{"type":"connection_error","payload":{"message":"no"}}"#);
    let close = machine.last_words().unwrap();
    assert_eq!((close.code(), close.reason()), (1011, "no"));
    assert_eq!((machine.last_words(), machine.accepted(None)), (None, None));
    assert!(machine.next_held().is_none() && machine.next_reply().is_none());
}

#[test]
fn what_waits_is_bounded_in_bytes_and_number() {
    let limits = Limits { message_bytes_max: 1_000, ..Limits::default() };
    let mut small = Machine::speaking(Dialect::Legacy, &limits);
    _ = small.receive(INIT);
    let large = format!(r#"{{"type":"start","id":"a","payload":{{"query":"{}"}}}}"#, "x".repeat(600));
    assert_eq!(small.receive(large.as_str()), Action::None);
    assert_eq!(code(&small.receive(large.replace(r#""a""#, r#""b""#))), 1008);
    // One id again and again, and all of it beside the query.
    let mut named = Machine::speaking(Dialect::Legacy, &limits);
    _ = named.receive(INIT);
    let name = format!(
        r#"{{"type":"start","id":"a","payload":{{"query":"","operationName":"{}"}}}}"#,
        "x".repeat(600)
    );
    assert_eq!(named.receive(name.as_str()), Action::None);
    assert_eq!(code(&named.receive(name.as_str())), 1008);
    let mut many = machine();
    _ = many.receive(INIT);
    (0..101).for_each(|id| assert_eq!(many.receive(start(&id.to_string())), Action::None));
    assert!(many.next_reply().unwrap().contains("LIMIT_EXCEEDED"));
}

#[test]
fn a_taken_id_ends_the_old_operation_and_starts_the_new() {
    let mut machine = ready();
    let old = started(machine.receive(start("a")));
    assert_eq!(machine.receive(start("a")), Action::Complete(old.clone()));
    let new = machine.next_held().unwrap().operation;
    assert!(machine.is_open(&new) && !machine.is_open(&old));
    assert_eq!(machine.receive(r#"{"type":"stop","id":"a"}"#), Action::Complete(new));
}

#[test]
fn what_cannot_be_read_is_answered_and_the_connection_stays() {
    let mut machine = ready();
    for text in
        ["{", "null", r#"{"type":"subscribe","id":"a"}"#, r#"{"type":"start","id":1}"#, "{\"type\":\"ping\"}"]
    {
        assert_eq!(machine.receive(text), Action::None);
        assert!(machine.next_reply().unwrap().starts_with(r#"{"type":"connection_error""#), "{text}");
    }
    assert_eq!(machine.receive(Message::Binary), Action::None);
    assert!(machine.next_reply().unwrap().contains("not binary"));
    started(machine.receive(start("a")));
    // One that does not read is not answered for ever.
    let closed = (0..2_000).map(|_| machine.receive("{")).find(|action| *action != Action::None).unwrap();
    assert_eq!(code(&closed), 1008);
}

#[test]
fn a_client_may_say_that_it_goes() {
    assert_eq!(code(&ready().receive(r#"{"type":"connection_terminate"}"#)), 1000);
}

#[test]
fn a_sign_of_life_asks_for_no_answer() {
    let mut machine = ready();
    for _ in 0..3 {
        assert_eq!(machine.keep_alive(), None);
        assert_eq!(machine.next_reply().as_deref(), Some(r#"{"type":"ka"}"#));
    }
}

#[test]
fn an_operation_that_fails_is_an_error_with_one_error() {
    let mut machine = ready();
    let operation = started(machine.receive(start("a")));
    assert!(machine.failed(&operation, &[GraphQlError::new("A", "first"), GraphQlError::new("B", "second")]));
    let error = r#"{"id":"a","type":"error","payload":{"message":"first","extensions":{"code":"A"}}}"#;
    assert_eq!(machine.next_reply().as_deref(), Some(error));
    started(machine.receive(start("a")));
}

#[test]
fn results_are_data_and_an_end_is_an_error() {
    let payload = Payload::new(ChannelId(0), Offset(1), br#"{"data":{}}"#.to_vec());
    let written = |content| {
        let mut out = Vec::new();
        Dialect::Legacy.write(&Delivery { id: "a", id_json: r#""a""#, content }, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written(Content::Result(&payload)), r#"{"type":"data","id":"a","payload":{"data":{}}}"#);
    let ended = written(Content::Closed(&End::Revoked));
    assert!(
        ended.starts_with(r#"{"id":"a","type":"error","payload":{"message":"#) && ended.contains("REVOKED")
    );
}
