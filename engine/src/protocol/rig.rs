//! Test rig: plays a script against a machine and writes down all it says, one line each.
//!
//! Inputs: `> text` is a message of the client (`> INIT`, `> SUB id`, `> END id` for short), `! verb …` an act of
//! the host, which names operations by their order, from 0. Outputs: `* …` an action, `x code reason` a close,
//! `< text` a reply.

use super::{Action, Close, CloseCode, Machine, Message, Operation};
use crate::{error::GraphQlError, limits::Limits, value::Value};

pub(super) struct Rig {
    pub(super) machine: Machine,
    operations: Vec<Operation>,
}

/// Plays the inputs among `lines` and compares what comes out with the other lines.
pub(super) fn play(lines: &[&str]) {
    play_with(&Limits::default(), lines);
}

pub(super) fn play_with(limits: &Limits, lines: &[&str]) {
    let mut rig = Rig::new(limits);
    let mut played = Vec::new();
    for line in lines.iter().filter(|line| line.starts_with(['>', '!'])) {
        played.push((*line).to_owned());
        played.extend(rig.input(line));
    }
    assert_eq!(played, lines);
}

impl Rig {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { machine: Machine::new(limits), operations: Vec::new() }
    }

    /// One input and all that comes out: the action, then the replies.
    pub(super) fn input(&mut self, line: &str) -> Vec<String> {
        let mut out = match line.split_once(' ') {
            Some((">", text)) => self.receive(message(text)),
            Some(("!", act)) => self.host(act).map(|close| closed(&close)),
            _ => panic!("not an input: {line}"),
        }
        .into_iter()
        .collect();
        self.read(&mut out);
        out
    }

    fn read(&mut self, out: &mut Vec<String>) {
        while let Some(reply) = self.machine.next_reply() {
            out.push(format!("< {reply}"));
        }
    }

    pub(super) fn receive(&mut self, message: Message) -> Option<String> {
        match self.machine.receive(message) {
            Action::None => None,
            Action::Authenticate { payload: None } => Some("* authenticate".into()),
            Action::Authenticate { payload: Some(payload) } => Some(format!("* authenticate {payload}")),
            Action::Subscribe(subscribe) => {
                let line = format!("* subscribe {}", subscribe.operation.id());
                self.operations.push(subscribe.operation);
                Some(line)
            }
            Action::Complete(operation) => Some(format!("* complete {}", self.number(&operation))),
            Action::Close(close) => Some(closed(&close)),
        }
    }

    fn number(&self, operation: &Operation) -> usize {
        self.operations.iter().position(|one| one == operation).unwrap()
    }

    fn host(&mut self, act: &str) -> Option<Close> {
        let (verb, rest) = act.split_once(' ').unwrap_or((act, ""));
        let operation = || self.operations[rest.parse::<usize>().unwrap()].clone();
        match verb {
            "accept" if rest.is_empty() => self.machine.accepted(None),
            "accept" => {
                let payload = Value::parse(&mut rest.as_bytes().to_vec(), 8).unwrap();
                self.machine.accepted(Some(&payload))
            }
            "refuse" => self.machine.refused(rest),
            "fail" => {
                let (operation, errors) = (operation(), [GraphQlError::new("CODE", "wrong")]);
                let open = self.machine.is_open(&operation);
                assert_eq!(self.machine.failed(&operation, &errors), open);
                None
            }
            "finish" => {
                let operation = operation();
                let open = self.machine.is_open(&operation);
                assert_eq!(self.machine.completed(&operation), open);
                None
            }
            "init-timeout" => self.machine.init_timed_out(),
            "keep-alive" => self.machine.keep_alive(),
            "go-away" => self.machine.close(CloseCode::GoingAway),
            "disconnect" => {
                self.machine.disconnected();
                None
            }
            _ => panic!("not an act of the host: {act}"),
        }
    }
}

fn message(text: &str) -> Message {
    match text.split_once(' ') {
        _ if text == "INIT" => r#"{"type":"connection_init"}"#.into(),
        Some(("SUB", id)) => subscribe(id).into(),
        Some(("END", id)) => format!(r#"{{"id":{},"type":"complete"}}"#, serde_json::json!(id)).into(),
        _ => text.into(),
    }
}

pub(super) fn subscribe(id: &str) -> String {
    let query = "subscription { a }";
    serde_json::json!({"id": id, "type": "subscribe", "payload": {"query": query}}).to_string()
}

fn closed(close: &Close) -> String {
    format!("x {} {}", close.code(), close.reason())
}
