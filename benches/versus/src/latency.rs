//! From publish to readable, one reader, one event at a time: on threads that spin, and on threads that sleep.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use coulis::{
    engine::{Engine, SubscribeRequest},
    event::Event,
    id::{ChannelId, Offset},
    notifier::{Mailbox, Wake, unparker},
    payload::Payload,
    ring::ring,
    subscriber::{Content, Delivery, Subscriber, SubscriberOptions},
};

use crate::{
    measure::{ROUNDS, Row, percentile},
    work::{CHANNEL, DOCUMENT, EVENT_TYPE, body, query},
};

/// Events of one round.
const SPINNING: usize = 10_000;
const SLEEPING: usize = 500;

/// A reader that found nothing for so long is asleep.
const FALLS_ASLEEP: Duration = Duration::from_micros(200);

/// A spinning shard looks that long before it sleeps: longer than a round between two events ever is.
const SPIN: Duration = Duration::from_millis(100);

type Measure = fn() -> Vec<f64>;

/// The rows of this workload.
pub fn rows() -> Vec<Row> {
    let spinning: &[(&str, Measure)] = &[("coulis", spinning), ("limit", spinning_limit)];
    let sleeping: &[(&str, Measure)] =
        &[("coulis", sleeping), ("coulis, nowait", sleeping_nowait), ("limit", sleeping_limit)];
    [contest("spinning", spinning), contest("sleeping", sleeping)].concat()
}

fn contest(name: &str, systems: &[(&str, Measure)]) -> Vec<Row> {
    let mut samples = vec![Vec::new(); systems.len()];
    for _ in 0..ROUNDS {
        for ((_, measure), samples) in systems.iter().zip(&mut samples) {
            samples.extend(measure());
        }
    }
    let row = |label: &str, part: f64, system: &str, samples: &mut Vec<f64>| Row {
        workload: format!("latency {name}, {label}"),
        system: system.into(),
        in_flight: 1,
        per_event: percentile(samples, part),
        per_delivery: None,
        processor: None,
        reading: None,
    };
    let mut rows = Vec::new();
    for (label, part) in [("p50", 0.5), ("p99", 0.99)] {
        rows.extend(
            systems.iter().zip(&mut samples).map(|((system, _), samples)| row(label, part, system, samples)),
        );
    }
    rows
}

fn event(engine: &Engine) -> Event {
    Event::new(EVENT_TYPE, CHANNEL, DOCUMENT.into(), engine.limits()).expect("an event")
}

fn subscribe(engine: &Engine, options: SubscriberOptions) -> Subscriber {
    let mut reader = engine.open(options).expect("a subscriber");
    let request = SubscribeRequest { id: "1".into(), query: query("mag"), ..SubscribeRequest::default() };
    engine.subscribe(&mut reader, request).expect("a subscription");
    reader
}

fn check(delivery: Delivery<'_>) {
    let Content::Result(payload) = delivery.content else { panic!("a gap") };
    assert_eq!(payload.body(), body("mag"));
}

/// The publisher's thread is the reader's too, the shard is on the other core: two hand-overs.
fn spinning() -> Vec<f64> {
    let engine = crate::coulis::engine(SPIN);
    let mut reader = subscribe(&engine, crate::coulis::polling());
    let mut sample = || {
        let event = event(&engine);
        let start = Instant::now();
        engine.publish_nowait(event).expect("accepted");
        let mut at = None;
        while reader.drain(1, |delivery| {
            at = Some(start.elapsed());
            check(delivery);
        }) == 0
        {
            std::hint::spin_loop();
        }
        at.expect("a delivery").as_nanos() as f64
    };
    sample();
    (0..SPINNING).map(|_| sample()).collect()
}

/// Two bare rings: there, and back by a thread that does nothing else.
fn spinning_limit() -> Vec<f64> {
    let (mut there, mut echo) = ring::<Payload>(1_024);
    let (mut back, mut reader) = ring::<Payload>(1_024);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            echo.take(1, |payload, tag| _ = back.push_or_evict(payload, tag));
            std::hint::spin_loop();
        }
    });
    let mut sample = || {
        let payload = Payload::new(ChannelId(1), Offset(1), body("mag"));
        let start = Instant::now();
        assert!(there.push_or_evict(payload, 1).is_none());
        while reader.take(1, |_, _| {}) == 0 {
            std::hint::spin_loop();
        }
        start.elapsed().as_nanos() as f64
    };
    sample();
    let samples = (0..SPINNING).map(|_| sample()).collect();
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("an echo");
    samples
}

/// A reader in a thread of its own, asleep at each publish.
fn sleeping() -> Vec<f64> {
    sleeping_with(|engine, event| drop(engine.publish(event).expect("accepted")))
}

/// The same with two threads asleep, the shard's and the reader's.
fn sleeping_nowait() -> Vec<f64> {
    sleeping_with(|engine, event| engine.publish_nowait(event).expect("accepted"))
}

fn sleeping_with(publish: impl Fn(&Engine, Event)) -> Vec<f64> {
    let engine = crate::coulis::engine(Duration::ZERO);
    let reading = engine.clone();
    let sleeper = Sleeper::start(move || {
        let mailbox = Mailbox::new(unparker());
        let options = SubscriberOptions {
            wake: Wake::Mailbox(Arc::clone(&mailbox), 1),
            ..SubscriberOptions::default()
        };
        let mut reader = subscribe(&reading, options);
        move || {
            let mut count = 0;
            mailbox.ready(|_| count += reader.drain(usize::MAX, check));
            count
        }
    });
    sleeper.samples(|| {
        let event = event(&engine);
        let start = Instant::now();
        publish(&engine, event);
        start
    })
}

/// A push into a bare ring, and an unpark.
fn sleeping_limit() -> Vec<f64> {
    let (mut producer, mut consumer) = ring::<Payload>(1_024);
    let sleeper = Sleeper::start(move || {
        move || consumer.take(64, |payload, _| assert_eq!(payload.body(), body("mag")))
    });
    let thread = sleeper.thread.thread().clone();
    sleeper.samples(|| {
        let payload = Payload::new(ChannelId(1), Offset(1), body("mag"));
        let start = Instant::now();
        assert!(producer.push_or_evict(payload, 1).is_none());
        thread.unpark();
        start
    })
}

/// A thread that reads when it is woken, and notes when it had something.
struct Sleeper {
    thread: thread::JoinHandle<Vec<Instant>>,
    /// 1 when it is ready, and one more for each result.
    read: Arc<AtomicUsize>,
}

impl Sleeper {
    /// `open` runs in the new thread and gives what reads without waiting.
    fn start<R: FnMut() -> usize>(open: impl FnOnce() -> R + Send + 'static) -> Self {
        let read = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&read);
        let thread = thread::spawn(move || {
            let (mut take, mut times) = (open(), Vec::with_capacity(SLEEPING));
            told.store(1, Ordering::Release);
            while times.len() < SLEEPING {
                match take() {
                    0 => thread::park(),
                    count => {
                        times.extend(std::iter::repeat_n(Instant::now(), count));
                        told.store(1 + times.len(), Ordering::Release);
                    }
                }
            }
            times
        });
        Self { thread, read }
    }

    /// Publishes when the thread is asleep; `publish` answers when it started.
    fn samples(self, mut publish: impl FnMut() -> Instant) -> Vec<f64> {
        let mut starts = Vec::with_capacity(SLEEPING);
        for number in 0..SLEEPING {
            while self.read.load(Ordering::Acquire) <= number {
                std::hint::spin_loop();
            }
            let asleep = Instant::now() + FALLS_ASLEEP;
            while Instant::now() < asleep {
                std::hint::spin_loop();
            }
            starts.push(publish());
        }
        let ends = self.thread.join().expect("a reader");
        assert_eq!(ends.len(), starts.len());
        starts.iter().zip(ends).map(|(start, end)| (end - *start).as_nanos() as f64).collect()
    }
}
