//! Coulis: one shard; a publisher that goes on at once (256 in flight) or waits for each event (1 in flight).

use std::{
    ops::Range,
    rc::Rc,
    time::{Duration, Instant},
};

use coulis::{
    engine::{Engine, SubscribeRequest},
    event::Event,
    id::Identity,
    limits::Limits,
    notifier::Wake,
    security::SecurityContext,
    subscriber::{Content, Delivery, Subscriber, SubscriberOptions},
};

use crate::{
    measure::{Stopwatch, System, Timed},
    work::{CHANNEL, DOCUMENT, EVENT_TYPE, Work},
};

/// Long enough for the next event of a batch, too short to disturb the other systems' turns.
const SPIN: Duration = Duration::from_micros(100);

/// An engine and its readers. With more than one event in flight the publisher (parsing) and the shard's thread
/// (the rest) work at the same time; with one, the publisher steps the shard itself and everything is one thread.
pub struct Coulis {
    work: Rc<Work>,
    engine: Engine,
    limits: Limits,
    readers: Vec<Subscriber>,
    name: &'static str,
    in_flight: usize,
    next: usize,
}

/// One shard, and no log: the others keep none either.
pub fn engine(spin: Duration) -> Engine {
    let limits = Limits { log_events_max: 0, ..Limits::default() };
    Engine::builder().shards(1).spin(spin).limits(limits).build().expect("an engine")
}

/// A reader that looks by itself, so that a dispatch wakes nobody.
pub fn polling() -> SubscriberOptions {
    SubscriberOptions { wake: Wake::Polling, ..SubscriberOptions::default() }
}

/// What a reader got in one batch.
#[derive(Clone, Copy, Default)]
struct Got {
    results: usize,
    bytes: usize,
}

impl Coulis {
    /// Registers all of `work`, one subscription for each reader.
    pub fn new(work: &Rc<Work>, in_flight: usize) -> Self {
        Self::with("coulis", Duration::ZERO, work, in_flight)
    }

    /// The same with a shard that looks at its inbox for a while before it sleeps, so that it is not woken while the
    /// publisher is faster or slower than it.
    pub fn spinning(work: &Rc<Work>, in_flight: usize) -> Self {
        Self::with("coulis, spin", SPIN, work, in_flight)
    }

    fn with(name: &'static str, spin: Duration, work: &Rc<Work>, in_flight: usize) -> Self {
        let engine = engine(spin);
        let reader = |subscription| {
            let mut reader = engine.open(polling()).expect("a subscriber");
            engine.subscribe(&mut reader, request(work, subscription)).expect("a subscription");
            reader
        };
        let readers = (0..work.subscriptions).map(reader).collect();
        Self {
            work: Rc::clone(work),
            limits: engine.limits().clone(),
            engine,
            readers,
            name,
            in_flight,
            next: 0,
        }
    }

    fn event(&self, number: usize) -> Event {
        let tenant = self.work.tenant_of_event(number).and_then(Identity::new);
        Event::new(EVENT_TYPE, CHANNEL, DOCUMENT.into(), &self.limits).expect("an event").with_tenant(tenant)
    }

    /// Publishes one batch; when this returns all of it is readable.
    fn publish(&mut self) -> Range<usize> {
        let events = self.next..self.next + self.in_flight;
        self.next = events.end;
        for number in events.start..events.end - 1 {
            self.engine.publish_nowait(self.event(number)).expect("accepted");
        }
        self.engine.publish(self.event(events.end - 1)).expect("accepted").wait();
        events
    }

    /// Reads everything and writes the messages of each reader, as to its socket.
    fn read(&mut self) -> Vec<Got> {
        let mut out = Vec::new();
        let read = |reader: &mut Subscriber| {
            out.clear();
            let results = reader.drain(usize::MAX, |delivery| delivery.write_next(&mut out));
            Got { results, bytes: out.len() }
        };
        self.readers.iter_mut().map(read).collect()
    }
}

impl System for Coulis {
    fn name(&self) -> &'static str {
        self.name
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn batch(&mut self) -> Timed {
        let start = Stopwatch::start();
        let events = self.publish();
        let publishing = if self.in_flight > 1 { start.stop_and_rest() } else { start.stop() };
        let start = Instant::now();
        let got = self.read();
        let reading = start.elapsed();

        self.work.check_counts(&events, got.iter().map(|got| got.results));
        for (subscription, got) in got.iter().enumerate() {
            let id = subscription.checked_ilog10().unwrap_or(0) as usize + 1;
            let frame =
                self.work.body(subscription).len() + id + r#"{"type":"next","id":"","payload":}"#.len();
            assert_eq!(got.bytes, got.results * frame, "subscription {subscription}");
        }
        // Where few of many readers are meant, reading is looking at empty rings, which nobody does who has a mailbox.
        let deliveries = self.work.deliveries(&events);
        let all_read = deliveries >= self.readers.len();
        Timed { events: events.len(), deliveries, publishing, reading: all_read.then_some(reading) }
    }

    fn checked_batch(&mut self) {
        let events = self.publish();
        let Self { work, readers, .. } = self;
        let counts: Vec<_> = readers
            .iter_mut()
            .enumerate()
            .map(|(subscription, reader)| {
                reader.drain(usize::MAX, |delivery| check(work, subscription, delivery))
            })
            .collect();
        work.check_counts(&events, counts);
    }
}

fn check(work: &Work, subscription: usize, delivery: Delivery<'_>) {
    assert!(matches!(delivery.content, Content::Result(_)), "a gap at subscription {subscription}");
    let mut frame = Vec::new();
    delivery.write_next(&mut frame);
    work.check_frame(subscription, &frame);
}

/// Subscription number `subscription` of `work`.
pub fn request(work: &Work, subscription: usize) -> SubscribeRequest {
    let tenant = work.tenant(subscription).and_then(Identity::new);
    let user = work.user(subscription).and_then(Identity::new);
    SubscribeRequest {
        id: subscription.to_string(),
        query: work.query(subscription),
        context: SecurityContext::new(user, tenant),
        ..SubscribeRequest::default()
    }
}

/// How long registering the queries takes, each with a reader of its own that is there already.
pub fn registration(engine: &Engine, queries: &[String]) -> Duration {
    let open = |_| engine.open(polling()).expect("a subscriber");
    let mut readers: Vec<_> = queries.iter().map(open).collect();
    let requests: Vec<_> = queries
        .iter()
        .map(|query| SubscribeRequest { id: "1".into(), query: query.clone(), ..SubscribeRequest::default() })
        .collect();
    let start = Instant::now();
    for (reader, request) in readers.iter_mut().zip(requests) {
        engine.subscribe(reader, request).expect("a subscription");
    }
    let spent = start.elapsed();
    let event = Event::new(EVENT_TYPE, CHANNEL, DOCUMENT.into(), engine.limits()).expect("an event");
    let report = engine.publish(event).expect("accepted").wait();
    assert_eq!(report.delivered as usize, queries.len());
    spent
}
