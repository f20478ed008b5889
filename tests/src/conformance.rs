//! What every bus keeps, whatever carries its events: one suite, run by each bus against its real carrier.
//!
//! [`Carrier`] is what differs; the promises are functions over it, and [`conformance!`](crate::conformance!) makes a
//! test of each.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use coulis::{
    bus::{Bus, BusError},
    engine::{Engine, SubscribeRequest},
    event::{Event, Federation},
    id::Identity,
    limits::Limits,
    security::SecurityContext,
    subscriber::{OwnedContent, Subscriber, SubscriberOptions},
};
use coulis_adapters::{feed::Sink, node::Node};
use serde_json::Value;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What carries events between nodes: a server of the test's own.
pub trait Carrier: Sized {
    /// A new carrier without a history.
    fn new() -> Self;

    /// Connects one more node.
    ///
    /// # Errors
    /// Those of the bus.
    fn connect(&self, limits: &Limits, sink: Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError>;

    /// Ends the carrier as a crash does and starts it again; what it has accepted survives. `false`: it has no process.
    fn crash(&mut self) -> bool;

    /// Has the carrier lose what it has accepted.
    fn lose_history(&mut self);
}

/// A node and one reader of it.
#[derive(Debug)]
pub struct Client {
    /// The node.
    pub node: Node,
    /// The reader.
    pub reader: Subscriber,
    next: u64,
}

/// What a reader got.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// The `n` of an event.
    Number(u64),
    /// A notice that events were missed.
    Gap,
    /// Whether the wish to resume was granted.
    Resumed(bool),
}

/// Connects a node with `shards` shards and a reader of `channels`, once it has come as far as the carrier.
///
/// # Panics
/// If it does not come up.
pub fn client<C: Carrier>(carrier: &C, shards: usize, channels: &[&str]) -> Client {
    client_of(|limits, sink| carrier.connect(limits, sink), shards, channels)
}

/// The same, connected by `connect`.
///
/// # Panics
/// If it does not come up.
pub fn client_of(
    connect: impl FnOnce(&Limits, Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError>,
    shards: usize,
    channels: &[&str],
) -> Client {
    let limits = Limits { ring_frames_max: 1 << 16, ..Limits::default() };
    let engine = Engine::builder().shards(shards).limits(limits.clone()).build().expect("an engine");
    let node = Node::start(engine, PATIENCE, |sink| connect(&limits, sink)).expect("a node");
    assert!(node.wait_ready(PATIENCE), "no position: {:?}", node.health());
    let reader = node.engine().open(SubscriberOptions::default()).expect("a reader");
    let mut client = Client { node, reader, next: 0 };
    for channel in channels {
        client.subscribe(channel, None);
    }
    client
}

impl Client {
    /// Subscribes to one more channel; answers the subscription's id.
    ///
    /// # Panics
    /// If it is refused.
    pub fn subscribe(&mut self, channel: &str, resume: Option<String>) -> String {
        self.next += 1;
        let query = "subscription { event { n text } }".into();
        let (id, channels) = (format!("{channel} {}", self.next), vec![channel.into()]);
        let request = SubscribeRequest { id: id.clone(), query, channels, resume, ..Default::default() };
        self.node.engine().subscribe(&mut self.reader, request).expect("a subscription");
        id
    }

    /// The next `count` things that come, with the cursor that each had.
    ///
    /// # Panics
    /// If they do not come.
    pub fn read(&mut self, count: usize) -> Vec<(Got, String)> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        while all.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.reader.next_timeout(left);
            let Some(message) = message else {
                panic!("{} of {count} came: {all:?}; {:?}", all.len(), self.node.health())
            };
            let body = match &message.content {
                OwnedContent::Result(payload) => payload.body().to_vec(),
                OwnedContent::Resumed(resumed) => resumed.body().into_bytes(),
                other => panic!("{other:?}"),
            };
            all.push(got(&body));
        }
        all
    }

    /// The numbers of the next `count` events; nothing else may come between.
    ///
    /// # Panics
    /// If it does.
    pub fn numbers(&mut self, count: usize) -> Vec<u64> {
        let number = |got| if let (Got::Number(number), _) = got { number } else { panic!("{got:?}") };
        self.read(count).into_iter().map(number).collect()
    }

    /// Whether nothing waits to be read.
    pub fn is_quiet(&mut self) -> bool {
        self.reader.try_next().is_none()
    }

    /// An event on `channel` with the number `n`.
    ///
    /// # Panics
    /// If it is none.
    pub fn event(&self, channel: &str, n: u64) -> Event {
        let document = format!(r#"{{"n":{n}}}"#).into_bytes();
        Event::new("told", channel, document, self.node.engine().limits()).expect("an event")
    }

    /// Publishes an event, again and again while its carrier is away.
    ///
    /// # Panics
    /// If it never succeeds.
    pub fn publish(&self, event: &Event) -> Option<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.node.publish(event) {
                Ok(receipt) => return receipt.map(|receipt| receipt.report().delivered),
                Err(error) if error.transient && Instant::now() < deadline => thread::yield_now(),
                Err(error) => panic!("{error}: {:?}", self.node.health()),
            }
        }
    }
}

fn got(body: &[u8]) -> (Got, String) {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    let coulis = &body["extensions"]["coulis"];
    let cursor = coulis["cursor"].as_str().unwrap_or_default().to_owned();
    let got = match (&body["data"]["event"]["n"], &coulis["gap"], &coulis["resumed"]) {
        (Value::Number(number), ..) => Got::Number(number.as_u64().expect("a number")),
        (_, Value::Object(_), _) => Got::Gap,
        (.., Value::Bool(resumed)) => Got::Resumed(*resumed),
        _ => panic!("{body}"),
    };
    (got, cursor)
}

/// Each event reaches each node once, and all nodes see each channel in one order, whoever publishes.
///
/// # Panics
/// If not.
pub fn all_nodes_see_one_order<C: Carrier>() {
    const EACH: u64 = 200;
    let carrier = C::new();
    let mut clients = [1, 2, 1].map(|shards| client(&carrier, shards, &["a", "b"]));
    let barrier = Barrier::new(clients.len());
    thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                for n in 0..EACH {
                    let channel = if n % 2 == 0 { "a" } else { "b" };
                    client.publish(&client.event(channel, number as u64 * EACH + n));
                }
            });
        }
    });
    let total = EACH * clients.len() as u64;
    let seen = clients.each_mut().map(|client| {
        let numbers = client.numbers(total as usize);
        let (even, odd): (Vec<_>, Vec<_>) = numbers.into_iter().partition(|n| n % 2 == 0);
        assert!(client.is_quiet(), "something came twice");
        (even, odd)
    });
    for channel in [&seen[0].0, &seen[0].1] {
        let mut sorted = channel.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len() as u64, total / 2, "each event once");
    }
    assert!(seen.iter().all(|other| *other == seen[0]), "one order on all nodes");
}

/// When a publish returns, its deliveries on this node are readable, and it says how many there were.
///
/// # Panics
/// If not.
pub fn a_publisher_reads_its_own_events<C: Carrier>() {
    let carrier = C::new();
    let mut client = client(&carrier, 2, &["a", "a", "b"]);
    for n in 0..20 {
        assert_eq!(client.publish(&client.event("a", n)), Some(2));
        let mut now = || client.reader.try_next().is_some();
        assert!(now() && now() && !now());
    }
}

/// A batch is accepted in order, with one answer for each of its events.
///
/// # Panics
/// If not.
pub fn a_batch_keeps_its_order<C: Carrier>() {
    let carrier = C::new();
    let (writer, mut reader) = (client(&carrier, 1, &[]), client(&carrier, 2, &["a"]));
    let events: Vec<_> = (0..1_000).map(|n| writer.event("a", n)).collect();
    let accepted = writer.node.publish_many(&events);
    assert!(accepted.len() == 1_000 && accepted.iter().all(Result::is_ok), "{accepted:?}");
    assert_eq!(reader.numbers(1_000), (0..1_000).collect::<Vec<_>>());
    for n in 1_000..1_100 {
        writer.node.bus().enqueue(&writer.event("a", n)).expect("room");
    }
    assert_eq!(reader.numbers(100), (1_000..1_100).collect::<Vec<_>>());
}

/// A client that was on one node goes on at another one, with nothing lost and nothing twice; a node that begins later
/// serves it as well.
///
/// # Panics
/// If not.
pub fn clients_resume_on_any_node<C: Carrier>() {
    let carrier = C::new();
    let mut first = client(&carrier, 2, &["a"]);
    let mut second = client(&carrier, 1, &[]);
    for n in 0..10 {
        first.publish(&first.event(if n % 3 == 2 { "b" } else { "a" }, n));
    }
    let cursor = first.read(4).pop().expect("a result").1;
    let check = |client: &mut Client| {
        // It may not have come as far yet; then it says so, and the client asks again.
        loop {
            let id = client.subscribe("a", Some(cursor.clone()));
            let told = client.read(1).remove(0).0;
            if told == Got::Resumed(true) {
                break;
            }
            client.reader.cancel(&id);
            thread::yield_now();
        }
        assert_eq!(client.numbers(3), [6, 7, 9]);
    };
    check(&mut second);
    let mut late = client(&carrier, 3, &[]);
    check(&mut late);
    first.publish(&first.event("a", 10));
    assert!(second.numbers(1) == [10] && late.numbers(1) == [10]);
}

/// What was published before a node came reaches nobody there who did not ask for it, and everybody who did.
///
/// # Panics
/// If not.
pub fn history_is_for_those_who_resume<C: Carrier>() {
    let carrier = C::new();
    let mut first = client(&carrier, 1, &["a"]);
    for n in 0..5 {
        first.publish(&first.event("a", n));
    }
    let cursor = first.read(2).pop().expect("a result").1;
    let mut late = client(&carrier, 2, &["a"]);
    assert!(late.is_quiet());
    late.subscribe("a", Some(cursor));
    assert_eq!(late.read(1)[0].0, Got::Resumed(true));
    assert_eq!(late.numbers(3), [2, 3, 4]);
    first.publish(&first.event("a", 5));
    assert_eq!(late.numbers(2), [5, 5], "live, for both");
    assert!(late.is_quiet());
}

/// An event with an id is taken once, however often and from wherever it is published.
///
/// # Panics
/// If not.
pub fn an_id_is_taken_once<C: Carrier>() {
    let carrier = C::new();
    let mut clients = [1, 1].map(|shards| client(&carrier, shards, &["a"]));
    for n in 0..5 {
        for client in &clients {
            let event = client.event("a", n).with_id(format!("order-{n}"), client.node.engine().limits());
            client.publish(&event.expect("an id"));
        }
    }
    clients[0].publish(&clients[0].event("a", 99));
    for client in &mut clients {
        assert_eq!(client.numbers(6), [0, 1, 2, 3, 4, 99]);
        assert!(client.is_quiet());
    }
}

/// Everything that an event has arrives as it was given, large documents too: a subscriber of another node sees what one
/// sees where the event was published without a bus.
///
/// # Panics
/// If not.
pub fn events_arrive_as_they_were<C: Carrier>() {
    let carrier = C::new();
    let (writer, node) = (client(&carrier, 1, &[]), client(&carrier, 1, &[]));
    let alone = crate::engine(1);
    let engines = [node.node.engine(), &alone];
    let mut readers = engines.map(|engine| {
        let attributes = r#"event.tenant_id == "t é" && event.user_id == "7"
            && (before == null || before.n == 0) && event.federation_service == "shop" && event.event_type == "odd type ⛵""#;
        let reader = crate::request_for("s", "subscription { event { n text b a } }", "t é", "7");
        let federation = Federation { service: Identity::new("shop"), id: None };
        let request = SubscribeRequest {
            context: SecurityContext { federation, ..reader.context.clone() },
            channels: vec!["a channel: é".into()],
            policies: vec![attributes.into()],
            ..reader
        };
        crate::reader(engine, [request])
    });
    let long = "é🦀 ".repeat(node.node.engine().limits().event_bytes_max / 10);
    let large = format!(r#"{{"n":1e400,"text":"\u0041{long}"}}"#);
    for document in [r#"{"b":1,"a":[1.0,10000000000000000000000],"text":"\ud83e\udd80"}"#, "null", &large] {
        let event = || {
            let event = Event::new("odd type ⛵", "a channel: é", document.into(), alone.limits());
            let federation = Federation { service: Identity::new("shop"), id: None };
            let event = event.expect("an event").with_tenant(Identity::new("t é"));
            let event = event.with_user(Identity::new("7")).with_federation(federation);
            event.with_before(br#"{"n": 0}"#.to_vec(), alone.limits()).expect("a document")
        };
        writer.publish(&event());
        crate::publish(&alone, event());
        let [there, here] = readers.each_mut().map(|reader| {
            let message = reader.next_timeout(PATIENCE).expect("the event");
            let OwnedContent::Result(payload) = message.content else { panic!("{message:?}") };
            let body = String::from_utf8_lossy(payload.body()).into_owned();
            body.split(r#""cursor":"#).next().map(String::from)
        });
        assert_eq!(there, here);
    }
}

/// After a crash of the carrier everything that it has accepted is there, nothing twice, and no gap is told where
/// nothing was missed.
///
/// # Panics
/// If not.
pub fn a_crash_of_the_carrier_loses_nothing<C: Carrier>() {
    let mut carrier = C::new();
    let mut clients = [1, 2].map(|shards| client(&carrier, shards, &["a"]));
    let mut expected = Vec::new();
    for round in 0..3 {
        for n in 0..20 {
            let number = round * 100 + n;
            clients[0].publish(&clients[0].event("a", number));
            expected.push(number);
        }
        if !carrier.crash() {
            return;
        }
        clients[1].publish(&clients[1].event("a", round * 100 + 99));
        expected.push(round * 100 + 99);
    }
    for client in &mut clients {
        assert_eq!(client.numbers(expected.len()), expected);
        assert!(client.is_quiet());
    }
}

/// A carrier that loses its history begins a new one: each subscription is told, and goes on; old cursors are refused.
///
/// # Panics
/// If not.
pub fn a_lost_history_is_told<C: Carrier>() {
    let mut carrier = C::new();
    let mut clients = [1, 2].map(|shards| client(&carrier, shards, &["a"]));
    clients[0].publish(&clients[0].event("a", 1));
    let old = clients.each_mut().map(|client| {
        let (got, cursor) = client.read(1).remove(0);
        assert_eq!(got, Got::Number(1));
        cursor
    });
    assert_eq!(old[0], old[1], "one position on all nodes");
    carrier.lose_history();
    // This one may be among what is told as missed: a node may find the new history after it.
    clients[0].publish(&clients[0].event("a", 2));
    for client in &mut clients {
        assert_eq!(client.read(1)[0].0, Got::Gap);
    }
    clients[0].publish(&clients[0].event("a", 3));
    for client in &mut clients {
        let next = client.numbers(1)[0];
        assert!(next == 3 || (next == 2 && client.numbers(1) == [3]));
        client.subscribe("a", Some(old[0].clone()));
        assert_eq!(client.read(1)[0].0, Got::Resumed(false));
    }
}

/// A closed bus takes nothing, and closing ends promptly.
///
/// # Panics
/// If not.
pub fn a_closed_bus_takes_nothing<C: Carrier>() {
    let carrier = C::new();
    let client = client(&carrier, 1, &["a"]);
    client.publish(&client.event("a", 1));
    client.node.close(PATIENCE);
    assert!(client.node.publish(&client.event("a", 2)).is_err());
    assert!(client.node.bus().enqueue(&client.event("a", 2)).is_err());
    client.node.close(PATIENCE);
}

/// One test for each promise of the suite.
#[macro_export]
macro_rules! conformance {
    ($carrier:ty) => {
        $crate::conformance!($carrier: all_nodes_see_one_order a_publisher_reads_its_own_events
            a_batch_keeps_its_order clients_resume_on_any_node
            history_is_for_those_who_resume an_id_is_taken_once events_arrive_as_they_were
            a_crash_of_the_carrier_loses_nothing a_lost_history_is_told a_closed_bus_takes_nothing);
    };
    ($carrier:ty: $($promise:ident)+) => {
        $(
            #[test]
            fn $promise() {
                $crate::conformance::$promise::<$carrier>();
            }
        )+
    };
}
