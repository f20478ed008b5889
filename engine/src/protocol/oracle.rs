//! Random conversations against the simplest model of the protocol, and promises read off the transcripts alone.

use std::collections::HashSet;

use proptest::{prelude::*, sample::Index};

use super::{Action, CloseCode, Machine, Message, Operation, rig::subscribe};
use crate::{error::GraphQlError, limits::Limits};

const IDS: [&str; 4] = ["a", "b", "\"\u{1}", "__proto__"];
const OPERATIONS_MAX: usize = 3;
const REPLIES_MAX: usize = 4;

#[derive(Clone, Debug)]
enum Input {
    Init,
    Ping,
    Pong,
    Subscribe(&'static str),
    End(&'static str),
    Binary,
    Garbage(Vec<u8>),
    Accept,
    Refuse,
    Fail(Index),
    Finish(Index),
    InitTimeout,
    KeepAlive,
    GoAway,
    Disconnect,
    Read,
}

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq)]
enum Line {
    Nothing,
    Authenticate,
    /// The id, and the operation's place among all of the conversation.
    Started(String, usize),
    Stopped(usize),
    Closed(u16),
    /// Type and id of a message that was written.
    Reply(String, String),
}

fn reply(of_type: &str, id: &str) -> Line {
    Line::Reply(of_type.into(), id.into())
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let id = || prop::sample::select(IDS.as_slice());
    let some = || any::<Index>();
    let frequent = prop_oneof![
        3 => id().prop_map(Input::Subscribe),
        2 => id().prop_map(Input::End),
        2 => some().prop_map(Input::Fail),
        2 => some().prop_map(Input::Finish),
        5 => Just(Input::Read),
        2 => Just(Input::Ping),
        1 => Just(Input::Pong),
        1 => Just(Input::KeepAlive),
        1 => Just(Input::InitTimeout),
        1 => Just(Input::Accept),
    ];
    let rare = prop_oneof![
        Just(Input::Init),
        Just(Input::Refuse),
        Just(Input::Binary),
        Just(Input::GoAway),
        Just(Input::Disconnect),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(Input::Garbage),
    ];
    let start = prop::sample::subsequence(vec![Input::Init, Input::Accept], 0..=2);
    let rest = prop::collection::vec(prop_oneof![20 => frequent, 1 => rare], 0..60);
    (start, rest).prop_map(|(start, rest)| [start, rest].concat())
}

/// The oracle: flags and lists, no maps, no texts.
#[derive(Default)]
struct Model {
    /// 0 before `connection_init`, 1 until the host accepts, then 2.
    phase: u8,
    closed: bool,
    pinged: bool,
    started: Vec<&'static str>,
    ended: Vec<usize>,
    queue: Vec<Line>,
}

impl Model {
    fn step(&mut self, input: &Input) -> Line {
        if self.closed {
            return Line::Nothing;
        }
        if matches!(input, Input::Init | Input::Ping | Input::Pong | Input::Subscribe(_) | Input::End(_)) {
            self.pinged = false;
        }
        match input {
            Input::Init if self.phase > 0 => self.close(4429),
            Input::Init => {
                self.phase = 1;
                Line::Authenticate
            }
            Input::Accept if self.phase == 1 => {
                self.phase = 2;
                self.say(reply("connection_ack", ""))
            }
            Input::Refuse if self.phase == 1 => self.close(4403),
            Input::InitTimeout if self.phase == 0 => self.close(4408),
            Input::Ping if self.queue.len() >= REPLIES_MAX => self.close(1008),
            Input::Ping => self.say(reply("pong", "")),
            Input::KeepAlive if self.pinged => self.close(4408),
            Input::KeepAlive if self.queue.len() >= REPLIES_MAX => self.close(1008),
            Input::KeepAlive => {
                self.pinged = true;
                self.say(reply("ping", ""))
            }
            Input::Subscribe(id) => self.subscribe(id),
            Input::End(id) => self.stop(id),
            Input::Fail(which) => self.end(*which, "error"),
            Input::Finish(which) => self.end(*which, "complete"),
            Input::Binary | Input::Garbage(_) => self.close(4400),
            Input::GoAway => self.close(1001),
            Input::Disconnect => {
                self.close(0);
                Line::Nothing
            }
            Input::Pong | Input::Accept | Input::Refuse | Input::InitTimeout | Input::Read => Line::Nothing,
        }
    }

    fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.started.len()).filter(|one| !self.ended.contains(one))
    }

    fn subscribe(&mut self, id: &'static str) -> Line {
        if self.phase < 2 {
            return self.close(4401);
        }
        if self.open().any(|one| self.started[one] == id) {
            return self.close(4409);
        }
        if self.queue.len() >= REPLIES_MAX {
            return self.close(1008);
        }
        if self.open().count() == OPERATIONS_MAX {
            return self.say(reply("error", id));
        }
        self.started.push(id);
        Line::Started(id.into(), self.started.len() - 1)
    }

    fn stop(&mut self, id: &str) -> Line {
        let Some(one) = self.open().find(|&one| self.started[one] == id) else { return Line::Nothing };
        self.ended.push(one);
        Line::Stopped(one)
    }

    fn end(&mut self, which: Index, of_type: &str) -> Line {
        if self.started.is_empty() {
            return Line::Nothing;
        }
        let one = which.index(self.started.len());
        if !self.ended.contains(&one) {
            self.ended.push(one);
            self.say(reply(of_type, self.started[one]));
        }
        Line::Nothing
    }

    fn say(&mut self, line: Line) -> Line {
        self.queue.push(line);
        Line::Nothing
    }

    fn close(&mut self, code: u16) -> Line {
        self.closed = true;
        self.queue.clear();
        Line::Closed(code)
    }
}

/// The machine behind the same inputs.
struct Real {
    machine: Machine,
    started: Vec<Operation>,
}

impl Real {
    fn step(&mut self, input: &Input) -> Line {
        let closed = match input {
            Input::Accept => self.machine.accepted(None),
            Input::Refuse => self.machine.refused("no"),
            Input::InitTimeout => self.machine.init_timed_out(),
            Input::KeepAlive => self.machine.keep_alive(),
            Input::GoAway => self.machine.close(CloseCode::GoingAway),
            Input::Disconnect => {
                self.machine.disconnected();
                None
            }
            Input::Fail(which) => self.end(*which, |machine, one| {
                machine.failed(one, &[GraphQlError::new("CODE", "wrong")]);
            }),
            Input::Finish(which) => self.end(*which, |machine, one| {
                machine.completed(one);
            }),
            Input::Read => None,
            message => return self.receive(text(message)),
        };
        closed.map_or(Line::Nothing, |close| Line::Closed(close.code()))
    }

    fn end<T>(&mut self, which: Index, end: impl Fn(&mut Machine, &Operation)) -> Option<T> {
        if !self.started.is_empty() {
            end(&mut self.machine, which.get(&self.started));
        }
        None
    }

    fn receive(&mut self, message: Message) -> Line {
        match self.machine.receive(message) {
            Action::None => Line::Nothing,
            Action::Authenticate { .. } => Line::Authenticate,
            Action::Subscribe(subscribe) => {
                self.started.push(subscribe.operation.clone());
                Line::Started(subscribe.operation.id().into(), self.started.len() - 1)
            }
            Action::Complete(operation) => {
                Line::Stopped(self.started.iter().position(|one| *one == operation).unwrap())
            }
            Action::Close(close) => Line::Closed(close.code()),
        }
    }

    fn read(&mut self) -> Vec<Line> {
        std::iter::from_fn(|| self.machine.next_reply()).map(|text| parsed(&text)).collect()
    }
}

fn text(input: &Input) -> Message {
    match input {
        Input::Init => r#"{"type":"connection_init"}"#.into(),
        Input::Ping => r#"{"type":"ping"}"#.into(),
        Input::Pong => r#"{"type":"pong"}"#.into(),
        Input::Subscribe(id) => subscribe(id).into(),
        Input::End(id) => serde_json::json!({"type": "complete", "id": id}).to_string().into(),
        Input::Garbage(bytes) => Message::Text(bytes.clone()),
        _ => Message::Binary,
    }
}

fn parsed(text: &str) -> Line {
    let message: serde_json::Value = serde_json::from_str(text).unwrap();
    reply(message["type"].as_str().unwrap(), message["id"].as_str().unwrap_or_default())
}

fn real() -> Real {
    let limits = Limits {
        subscriptions_per_subscriber_max: OPERATIONS_MAX,
        replies_max: REPLIES_MAX,
        ..Limits::default()
    };
    Real { machine: Machine::new(&limits), started: Vec::new() }
}

/// What can be promised without knowing what was asked.
fn check_transcript(lines: &[Line]) {
    let closed = lines.iter().position(|line| matches!(line, Line::Closed(_)));
    let after_close = &lines[closed.map_or(lines.len(), |at| at + 1)..];
    assert!(after_close.iter().all(|line| *line == Line::Nothing), "after a close: {after_close:?}");
    let acknowledged = lines.iter().filter(|line| **line == reply("connection_ack", "")).count();
    assert!(acknowledged <= 1, "{acknowledged} acknowledgements");
    for end in 0..=lines.len() {
        for id in IDS {
            check_one_end_each(id, &lines[..end]);
        }
    }
    let stopped: Vec<_> = lines.iter().filter(|line| matches!(line, Line::Stopped(_))).collect();
    let distinct: HashSet<_> = stopped.iter().map(|line| format!("{line:?}")).collect();
    assert_eq!(stopped.len(), distinct.len(), "stopped twice");
}

/// The operations with `id` end at most once each, by the client or by the server. (An `error` is not counted: it
/// also refuses an operation beyond the limit.)
fn check_one_end_each(id: &str, lines: &[Line]) {
    let started: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Started(of, one) if of == id => Some(Line::Stopped(*one)),
            _ => None,
        })
        .collect();
    let complete = reply("complete", id);
    let ended = lines.iter().filter(|line| **line == complete || started.contains(line)).count();
    assert!(ended <= started.len(), "`{id}` started {} times and ended {ended} times", started.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn conversations_agree_with_the_model(inputs in inputs()) {
        let (mut model, mut real, mut lines) = (Model::default(), real(), Vec::new());
        for input in &inputs {
            let line = real.step(input);
            prop_assert_eq!(&line, &model.step(input), "{:?}", input);
            lines.push(line);
            if matches!(input, Input::Read) {
                let replies = real.read();
                prop_assert_eq!(&replies, &model.queue);
                model.queue.clear();
                lines.extend(replies);
            }
            let open: Vec<_> = (0..real.started.len())
                .filter(|&one| real.machine.is_open(&real.started[one]) && !model.closed)
                .collect();
            let expected: Vec<_> = model.open().filter(|_| !model.closed).collect();
            prop_assert_eq!(open, expected);
        }
        check_transcript(&lines);
    }

    #[test]
    fn arbitrary_bytes_close_or_are_messages(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let json = serde_json::from_slice::<serde_json::Value>(&bytes);
        let closed = matches!(real().machine.receive(Message::Text(bytes)), Action::Close(_));
        prop_assert!(closed || json.is_ok_and(|json| json.is_object()));
    }

    /// Texts near the protocol: each field absent, right or wrong.
    #[test]
    fn messages_near_the_protocol_never_panic_and_close_with_a_reason_that_fits(
        text in r#"\{"type":"(subscribe|complete|ping|next|é{0,80})"(,"id":("a"|""|1|"\\u[0d]800"))?(,"payload":(\{"query":("é*"|1)(,"variables":(\{"a":1e[0-9]{3}\}|\[\]|null))?\}|null|\{\}))?\}?"#
    ) {
        let mut real = real();
        real.step(&Input::Init);
        real.step(&Input::Accept);
        if let Action::Close(close) = real.machine.receive(text.as_str()) {
            prop_assert!(!close.reason().is_empty() && close.reason().len() <= super::REASON_BYTES_MAX);
        }
    }
}
