//! Tests of the protocol's rules, one for each, named by the rule.

use super::{
    rig::{Rig, play, play_with, subscribe},
    *,
};
use crate::limits::Limits;

const ACK: &str = r#"< {"type":"connection_ack"}"#;

/// Plays `lines` on a connection that is acknowledged.
fn play_ready(lines: &[&str]) {
    play(&[["> INIT", "* authenticate", "! accept", ACK].as_slice(), lines].concat());
}

fn ready(limits: &Limits) -> Rig {
    let mut rig = Rig::new(limits);
    assert_eq!([rig.input("> INIT"), rig.input("! accept")].concat(), ["* authenticate", ACK]);
    rig
}

fn limits(change: impl Fn(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

#[test]
fn the_modern_subprotocol_is_picked_in_any_order_and_nothing_else_is() {
    let row =
        |offered: &[&str], answer| assert_eq!(negotiate(offered.iter().copied()), answer, "{offered:?}");
    row(&[], None);
    row(&["foo"], None);
    row(&["graphql-ws"], None);
    row(&["GraphQL-Transport-WS"], None);
    row(&["foo", "graphql-transport-ws"], Some("graphql-transport-ws"));
    row(&["graphql-transport-ws", "graphql-ws"], Some("graphql-transport-ws"));
    row(&["graphql-ws", "graphql-transport-ws"], Some("graphql-transport-ws"));
    let close = Close::from(CloseCode::SubprotocolNotAcceptable);
    assert_eq!((close.code(), close.reason()), (4406, "Subprotocol not acceptable"));
}

#[test]
fn the_init_timer_closes_4408() {
    play(&["! init-timeout", "x 4408 Connection initialisation timeout", "> INIT", "! init-timeout"]);
}

#[test]
fn the_init_timer_is_satisfied_by_receipt_not_by_the_acknowledgement() {
    play(&["> INIT", "* authenticate", "! init-timeout", "! accept", ACK, "! init-timeout"]);
}

#[test]
fn a_ping_does_not_satisfy_the_init_timer() {
    let pong = r#"< {"type":"pong"}"#;
    let close = "x 4408 Connection initialisation timeout";
    play(&[r#"> {"type":"ping"}"#, pong, "! init-timeout", close]);
}

#[test]
fn a_second_init_closes_4429() {
    play_ready(&["> INIT", "x 4429 Too many initialisation requests"]);
}

#[test]
fn a_second_init_closes_4429_also_while_the_first_is_pending() {
    let close = "x 4429 Too many initialisation requests";
    play(&["> INIT", "* authenticate", "> INIT", close, "! accept"]);
}

#[test]
fn the_init_payload_reaches_the_host_and_null_is_none() {
    play(&[r#"> {"type":"connection_init","payload":{"t":"x"}}"#, r#"* authenticate {"t":"x"}"#]);
    play(&[r#"> {"type":"connection_init","payload":{}}"#, "* authenticate {}"]);
    play(&[r#"> {"type":"connection_init","payload":null}"#, "* authenticate", "! accept", ACK]);
}

#[test]
fn the_acknowledgement_carries_the_payload_of_the_host() {
    let ack = r#"< {"type":"connection_ack","payload":{"a":1}}"#;
    play(&["> INIT", "* authenticate", r#"! accept {"a":1}"#, ack]);
    play(&["> INIT", "* authenticate", "! accept {}", r#"< {"type":"connection_ack","payload":{}}"#]);
    play(&["> INIT", "* authenticate", "! accept [1]", "x 4500 Internal server error", "! accept"]);
}

#[test]
fn the_acknowledgement_is_sent_once_and_only_when_asked() {
    play(&[
        "! accept",
        "! refuse no",
        "> INIT",
        "* authenticate",
        "! accept",
        ACK,
        "! accept",
        "! refuse no",
    ]);
}

#[test]
fn the_connection_is_ready_before_the_acknowledgement_is_handed_out() {
    let mut machine = Machine::new(&Limits::default());
    assert_eq!(machine.receive(r#"{"type":"connection_init"}"#), Action::Authenticate { payload: None });
    assert_eq!(machine.accepted(None), None);
    assert!(matches!(machine.receive(subscribe("a")), Action::Subscribe(_)));
    assert_eq!(machine.next_reply().as_deref(), Some(r#"{"type":"connection_ack"}"#));
}

#[test]
fn a_refused_init_closes_4403() {
    play(&["> INIT", "* authenticate", "! refuse Forbidden", "x 4403 Forbidden", "! accept", "> SUB a"]);
}

#[test]
fn subscribe_before_the_acknowledgement_closes_4401() {
    play(&["> SUB a", "x 4401 Unauthorized", "> INIT"]);
    play(&["> INIT", "* authenticate", "> SUB a", "x 4401 Unauthorized", "! accept"]);
}

#[test]
fn an_operation_reaches_the_host_as_it_was_sent() {
    let mut rig = ready(&Limits::default());
    let message = r#"{"id":"a","type":"subscribe","payload":{"query":"{a}","operationName":"N","variables":{"v":1},"extensions":{}}}"#;
    let Action::Subscribe(subscribe) = rig.machine.receive(message) else { panic!("no subscribe") };
    assert_eq!((subscribe.operation.id(), &*subscribe.query), ("a", "{a}"));
    assert_eq!(subscribe.operation_name.as_deref(), Some("N"));
    assert_eq!(subscribe.variables.to_string(), r#"{"v":1}"#);
    assert_eq!(subscribe.extensions.unwrap().to_string(), "{}");
}

#[test]
fn an_id_is_taken_from_the_receipt_of_subscribe() {
    play_ready(&[
        "> SUB a",
        "* subscribe a",
        "> SUB a",
        "x 4409 Subscriber for a already exists",
        "! finish 0",
    ]);
}

#[test]
fn the_reason_of_4409_is_cut_between_two_characters() {
    let id = "é".repeat(200);
    let mut rig = ready(&Limits::default());
    rig.input(&format!("> SUB {id}"));
    let expected = format!("x 4409 Subscriber for {}", "é".repeat(54));
    assert_eq!(rig.input(&format!("> SUB {id}")), [expected]);
}

#[test]
fn a_taken_id_closes_4409_also_at_the_limit_of_operations() {
    let limits = limits(|limits| limits.subscriptions_per_subscriber_max = 1);
    let mut rig = ready(&limits);
    assert_eq!(rig.input("> SUB a"), ["* subscribe a"]);
    assert_eq!(rig.input("> SUB a"), ["x 4409 Subscriber for a already exists"]);
}

#[test]
fn a_message_beyond_the_limit_closes_1009() {
    let limits = limits(|limits| limits.message_bytes_max = 15);
    let pong = r#"< {"type":"pong"}"#;
    play_with(&limits, &[r#"> {"type":"ping"}"#, pong, r#"> {"type":"ping" }"#, "x 1009 Message too big"]);
}

#[test]
fn nesting_is_bounded_by_its_limit() {
    let limits = limits(|limits| limits.message_depth_max = 2);
    let fits = r#"> {"type":"pong","payload":{"a":1}}"#;
    let deep = r#"> {"type":"pong","payload":{"a":[]}}"#;
    play_with(&limits, &[fits, deep, "x 4400 nested deeper than 2 levels, at byte 30"]);
}

#[test]
fn unknown_extra_fields_are_ignored() {
    play(&[r#"> {"type":"ping","id":7,"x":[{}]}"#, r#"< {"type":"pong"}"#]);
}

#[test]
fn a_ping_is_answered_at_any_time_with_its_payload() {
    let payload = r#"> {"type":"ping","payload":{"n":12345678901234567890.50, "s":"\u0061"}}"#;
    let echo = r#"< {"type":"pong","payload":{"n":12345678901234567890.50, "s":"\u0061"}}"#;
    let pong = r#"< {"type":"pong"}"#;
    play(&[payload, echo, "> INIT", "* authenticate", payload, echo, "! accept", ACK, payload, echo]);
    play(&[r#"> {"type":"ping"}"#, pong, r#"> {"type":"ping","payload":null}"#, pong]);
    play(&[r#"> {"type":"ping","payload":{}}"#, r#"< {"type":"pong","payload":{}}"#]);
}

#[test]
fn a_pong_is_never_answered() {
    play(&[r#"> {"type":"pong"}"#, r#"> {"type":"pong","payload":{"a":1}}"#, "> INIT", "* authenticate"]);
}

#[test]
fn an_error_is_terminal_and_no_complete_follows() {
    let error = r#"< {"id":"a","type":"error","payload":[{"message":"wrong","extensions":{"code":"CODE"}}]}"#;
    play_ready(&["> SUB a", "* subscribe a", "! fail 0", error, "! finish 0", "! fail 0", "> END a"]);
}

#[test]
fn an_error_has_at_least_one_entry() {
    let mut rig = ready(&Limits::default());
    let Action::Subscribe(subscribe) = rig.machine.receive(subscribe("a")) else { panic!("no subscribe") };
    assert!(rig.machine.failed(&subscribe.operation, &[]));
    let payload = r#"[{"message":"Internal server error","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]"#;
    assert_eq!(rig.machine.next_reply(), Some(format!(r#"{{"id":"a","type":"error","payload":{payload}}}"#)));
}

#[test]
fn a_complete_of_the_server_is_sent_once() {
    play_ready(&[
        "> SUB a",
        "* subscribe a",
        "! finish 0",
        r#"< {"id":"a","type":"complete"}"#,
        "! finish 0",
    ]);
}

#[test]
fn a_complete_of_the_client_is_silent_both_ways() {
    play_ready(&["> SUB a", "* subscribe a", "> END a", "* complete 0", "! finish 0", "! fail 0", "> END a"]);
}

#[test]
fn an_outcome_of_a_cancelled_operation_does_not_touch_the_next_one_with_its_id() {
    play_ready(&[
        "> SUB a",
        "* subscribe a",
        "> END a",
        "* complete 0",
        "> SUB a",
        "* subscribe a",
        "! fail 0",
        "! finish 0",
        "! finish 1",
        r#"< {"id":"a","type":"complete"}"#,
    ]);
}

#[test]
fn an_id_is_free_before_the_terminal_message_is_handed_out() {
    for end in [Machine::completed, |machine: &mut Machine, one: &Operation| machine.failed(one, &[])] {
        let mut rig = ready(&Limits::default());
        let Action::Subscribe(first) = rig.machine.receive(subscribe("a")) else { panic!("no subscribe") };
        assert!(end(&mut rig.machine, &first.operation));
        assert!(matches!(rig.machine.receive(subscribe("a")), Action::Subscribe(_)));
        assert!(rig.machine.next_reply().is_some());
    }
}

#[test]
fn a_complete_of_an_unknown_id_is_ignored() {
    play_ready(&["> END a", "> SUB a", "* subscribe a", "> END b"]);
    play(&["> END a", "> INIT", "* authenticate"]);
}

#[test]
fn ids_are_just_strings() {
    for id in ["\"", "\\", "\u{0}\u{1f}\n", "__proto__", "constructor", " ", "🦀", "é", "\u{2028}"] {
        let quoted = serde_json::json!(id);
        let mut rig = ready(&Limits::default());
        assert_eq!(rig.input(&format!("> SUB {id}")), [format!("* subscribe {id}")]);
        let reply = rig.input("! finish 0").concat();
        let read: serde_json::Value = serde_json::from_str(&reply[2..]).unwrap();
        assert_eq!(read, serde_json::json!({"id": quoted, "type": "complete"}));
        assert_eq!(rig.input(&format!("> END {id}")), [""; 0]);
    }
}

#[test]
fn beyond_the_limit_of_operations_an_error_comes_and_the_connection_stays() {
    let limits = limits(|limits| limits.subscriptions_per_subscriber_max = 1);
    let mut rig = ready(&limits);
    assert_eq!(rig.input("> SUB a"), ["* subscribe a"]);
    let refused = rig.input("> SUB b").concat();
    assert!(
        refused.starts_with(r#"< {"id":"b","type":"error","payload":[{"message":"`subscriptions_per_sub"#)
    );
    assert!(refused.ends_with(r#""extensions":{"code":"LIMIT_EXCEEDED"}}]}"#), "{refused}");
    assert_eq!(rig.input("> END a"), ["* complete 0"]);
    assert_eq!(rig.input("> SUB b"), ["* subscribe b"]);
}

#[test]
fn a_close_frees_everything_and_nothing_is_accepted_or_handed_out_after_it() {
    for end in ["> []", "! go-away", "! disconnect"] {
        let mut rig = ready(&Limits::default());
        rig.input("> SUB a");
        assert_eq!(rig.machine.receive(r#"{"type":"ping"}"#), Action::None);
        let closed = rig.input(end);
        assert!(closed.iter().all(|line| line.starts_with("x ")), "{closed:?}");
        for input in
            ["> INIT", "> SUB b", "> END a", "> []", r#"> {"type":"ping"}"#, "! accept", "! refuse no"]
        {
            assert_eq!(rig.input(input), [""; 0], "{input}");
        }
        for input in ["! finish 0", "! fail 0", "! keep-alive", "! init-timeout", "! go-away"] {
            assert_eq!(rig.input(input), [""; 0], "{input}");
        }
    }
}

#[test]
fn a_host_that_shuts_down_closes_1001() {
    play_ready(&["> SUB a", "* subscribe a", "! go-away", "x 1001 Going away"]);
}

#[test]
fn a_ping_without_a_sign_of_life_closes_4408() {
    let ping = r#"< {"type":"ping"}"#;
    play(&["! keep-alive", ping, "! keep-alive", "x 4408 No answer to a ping"]);
    play(&["! keep-alive", ping, r#"> {"type":"pong"}"#, "! keep-alive", ping]);
    play(&["! keep-alive", ping, "> INIT", "* authenticate", "! keep-alive", ping]);
}

#[test]
fn a_flood_of_pings_that_is_not_read_closes_1008() {
    let limits = Limits::default();
    let mut machine = Machine::new(&limits);
    let answered = (0..100_000).take_while(|_| machine.receive(r#"{"type":"ping"}"#) == Action::None).count();
    assert_eq!(answered, limits.replies_max);
    assert_eq!(machine.next_reply(), None);
}

#[test]
fn a_flood_of_large_pings_is_bounded_in_bytes() {
    let limits = Limits::default();
    let mut machine = Machine::new(&limits);
    let ping = format!(r#"{{"type":"ping","payload":{{"a":"{}"}}}}"#, "x".repeat(500_000));
    let answered = (0..100).take_while(|_| machine.receive(&*ping) == Action::None).count();
    assert_eq!(answered, 3);
}

#[test]
fn a_flood_of_pings_that_is_read_is_answered() {
    let mut machine = Machine::new(&Limits::default());
    for _ in 0..100_000 {
        assert_eq!(machine.receive(r#"{"type":"ping"}"#), Action::None);
        assert_eq!(machine.next_reply().as_deref(), Some(r#"{"type":"pong"}"#));
    }
}

#[test]
fn pongs_do_not_let_a_client_off_reading() {
    let mut machine = Machine::new(&limits(|limits| limits.replies_max = 2));
    let mut tick = || {
        let close = machine.keep_alive().map(|close| close.code());
        assert_eq!(machine.receive(r#"{"type":"pong"}"#), Action::None);
        close
    };
    assert_eq!([tick(), tick(), tick()], [None, None, Some(1008)]);
}

#[test]
fn operations_that_end_at_once_and_are_not_read_close_1008() {
    let limits = limits(|limits| (limits.replies_max, limits.subscriptions_per_subscriber_max) = (8, 4));
    let mut machine = ready(&limits).machine;
    let mut open = Vec::new();
    let code = (0..100).find_map(|number| match machine.receive(subscribe(&number.to_string())) {
        Action::Subscribe(subscribe) => {
            open.push(subscribe.operation);
            None
        }
        Action::Close(close) => Some(close.code()),
        _ => {
            assert!(open.drain(..).all(|one| machine.completed(&one)));
            None
        }
    });
    assert_eq!(code, Some(1008));
}

#[test]
fn subscribe_and_complete_in_turns_leave_nothing_behind() {
    let mut machine = ready(&Limits::default()).machine;
    for number in 0..100_000 {
        let id = number.to_string();
        let Action::Subscribe(subscribe) = machine.receive(subscribe(&id)) else { panic!("refused {id}") };
        let complete = format!(r#"{{"type":"complete","id":"{id}"}}"#);
        assert_eq!(machine.receive(complete), Action::Complete(subscribe.operation.clone()));
        assert!(!machine.is_open(&subscribe.operation));
    }
    assert_eq!(machine.next_reply(), None);
}

const RENEW: &str = r#"> {"type":"ping","payload":{"coulis":{"token":"t"}}}"#;
const ASKED: &str = r#"* authenticate {"token":"t"}"#;

#[test]
fn a_new_token_is_decided_on_and_answered_by_a_pong() {
    let accepted = r#"< {"type":"pong","payload":{"coulis":{"token":"accepted"}}}"#;
    play_ready(&[RENEW, ASKED, "! accept", accepted, RENEW, ASKED, "! accept", accepted]);
    // Meanwhile the connection goes on, as it was.
    let ping = r#"> {"type":"ping"}"#;
    play_ready(&[
        RENEW,
        ASKED,
        ping,
        r#"< {"type":"pong"}"#,
        "> SUB a",
        "* subscribe a",
        "! accept",
        accepted,
    ]);
}

#[test]
fn a_new_token_that_is_refused_closes_4403() {
    play_ready(&[RENEW, ASKED, "! refuse no", "x 4403 no", "! accept", RENEW]);
}

#[test]
fn a_new_token_out_of_turn_closes() {
    play(&[RENEW, "x 4401 Unauthorized"]);
    play(&["> INIT", "* authenticate", RENEW, "x 4401 Unauthorized"]);
    play_ready(&[RENEW, ASKED, RENEW, "x 4429 Too many initialisation requests"]);
}

#[test]
fn a_ping_without_a_token_is_echoed() {
    for payload in [r#"{"coulis":{}}"#, r#"{"coulis":null}"#, r#"{"coulis":"token"}"#, r#"{"token":"t"}"#] {
        let (ping, pong) = (
            format!(r#"> {{"type":"ping","payload":{payload}}}"#),
            format!(r#"< {{"type":"pong","payload":{payload}}}"#),
        );
        play_ready(&[&ping, &pong]);
    }
}

#[test]
fn a_flood_of_new_tokens_that_is_not_read_closes_1008() {
    let limits = limits(|limits| limits.replies_max = 3);
    let mut rig = ready(&limits);
    let mut renew = || {
        let action = rig.machine.receive(&RENEW[2..]);
        assert_eq!(rig.machine.accepted(None), None);
        matches!(action, Action::Authenticate { .. })
    };
    assert_eq!((0..100).take_while(|_| renew()).count(), 3);
}
