//! How often readers are woken when events come as fast as they can: wake-ups for 1,000 deliveries.
//!
//! A publisher does not wait, and one thread reads for all readers. Every system's wakers are counted by the same
//! counter, and tasks run on the same executor.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use coulis::{
    engine::{Engine, SubscribeRequest},
    event::Event,
    notifier::{self, Mailbox},
    subscriber::{Content, OwnedContent, Subscriber, SubscriberOptions},
};
use tokio::sync::broadcast;

use crate::{
    measure::{ROUNDS, median},
    work::{CHANNEL, DOCUMENT, EVENT_TYPE, body, query},
};

/// Events of one round: as many as wait for a reader at most, so that none is lost however late it comes.
const EVENTS: usize = 1_024;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What one round gives.
struct Sample {
    wakes: u64,
    spent: Duration,
}

/// A name, and a round with so many readers.
type System = (&'static str, fn(usize) -> Sample);

const SYSTEMS: [System; 3] =
    [("coulis, mailbox", mailbox), ("coulis, tasks", tasks), ("broadcast, tasks", rival)];

/// Prints the rows.
pub fn report() {
    println!(
        "{:<29} {:<17} {:>21} {:>12} {:>10}",
        "at saturation", "system", "wakes/1000 deliveries", "ns/delivery", "x coulis"
    );
    for readers in [1, 100, 1_000] {
        let mut samples: [Vec<Sample>; SYSTEMS.len()] = Default::default();
        for _ in 0..ROUNDS {
            for ((_, round), samples) in SYSTEMS.iter().zip(&mut samples) {
                samples.push(round(readers));
            }
        }
        let deliveries = (readers * EVENTS) as f64;
        let wakes = |samples: &[Sample]| {
            median(samples.iter().map(|sample| sample.wakes as f64 * 1_000.0 / deliveries))
        };
        let times = |samples: &[Sample]| {
            median(samples.iter().map(|sample| sample.spent.as_nanos() as f64 / deliveries))
        };
        let ours = wakes(&samples[0]);
        for ((name, _), samples) in SYSTEMS.iter().zip(&samples) {
            println!(
                "{:<29} {name:<17} {:>21.3} {:>12.1} {:>10.1}",
                format!("wakes, {readers} readers"),
                wakes(samples),
                times(samples),
                wakes(samples) / ours,
            );
        }
        println!();
    }
}

/// Wakes a thread, and counts.
struct Counted {
    wakes: Arc<AtomicU64>,
    thread: Thread,
    /// The list of the woken, and the task that this is about.
    task: Option<(Arc<Mutex<Vec<usize>>>, usize)>,
}

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        if let Some((woken, task)) = &self.task {
            woken.lock().unwrap_or_else(PoisonError::into_inner).push(*task);
        }
        self.thread.unpark();
    }
}

/// Runs tasks to their ends, each when it is woken; calls `ready` when each has been asked once.
fn run(tasks: Vec<Task>, wakes: &Arc<AtomicU64>, ready: impl FnOnce()) {
    let woken: Arc<Mutex<Vec<usize>>> = Arc::default();
    let waker = |task| {
        let (wakes, thread) = (Arc::clone(wakes), thread::current());
        Waker::from(Arc::new(Counted { wakes, thread, task: Some((Arc::clone(&woken), task)) }))
    };
    let wakers: Vec<_> = (0..tasks.len()).map(waker).collect();
    let mut left = tasks.len();
    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    let mut poll = |task: usize| {
        let context = &mut Context::from_waker(&wakers[task]);
        // One that has ended may still stand in the list: it was woken while it read.
        if tasks[task].as_mut().is_some_and(|task| task.as_mut().poll(context).is_ready()) {
            tasks[task] = None;
            left -= 1;
        }
        left > 0
    };
    (0..wakers.len()).for_each(|task| _ = poll(task));
    ready();
    loop {
        let tasks = std::mem::take(&mut *woken.lock().unwrap_or_else(PoisonError::into_inner));
        if tasks.is_empty() {
            thread::park();
        }
        for task in tasks {
            if !poll(task) {
                return;
            }
        }
    }
}

/// Lets `read` run on a thread of its own, and publishes when that is ready.
fn round(read: impl FnOnce(Arc<AtomicU64>, mpsc::Sender<()>) + Send + 'static, publish: impl Fn()) -> Sample {
    let wakes = Arc::new(AtomicU64::new(0));
    let (ready, is_ready) = mpsc::channel();
    let counted = Arc::clone(&wakes);
    let reading = thread::spawn(move || read(counted, ready));
    is_ready.recv().expect("a reader");
    let start = Instant::now();
    (0..EVENTS).for_each(|_| publish());
    reading.join().expect("all is read");
    Sample { wakes: wakes.load(Ordering::Relaxed), spent: start.elapsed() }
}

fn subscribe(engine: &Engine, options: SubscriberOptions) -> Subscriber {
    let mut reader = engine.open(options).expect("a subscriber");
    let request = SubscribeRequest { id: "1".into(), query: query("mag"), ..SubscribeRequest::default() };
    engine.subscribe(&mut reader, request).expect("a subscription");
    reader
}

/// A round of an engine, and what it says about its wakes.
fn ours(read: impl FnOnce(&Engine, Arc<AtomicU64>, mpsc::Sender<()>) + Send + 'static) -> Sample {
    let engine = crate::coulis::engine(Duration::ZERO);
    let reading = engine.clone();
    let sample = round(
        move |wakes, ready| read(&reading, wakes, ready),
        || {
            let event = Event::new(EVENT_TYPE, CHANNEL, DOCUMENT.into(), engine.limits()).expect("an event");
            engine.publish_nowait(event).expect("accepted");
        },
    );
    // The shard counts its last wake after it woke.
    engine.close();
    assert_eq!(engine.metrics().wakes, sample.wakes, "wakes that were counted here and there");
    sample
}

/// All readers share a mailbox, as the connections of a server do.
fn mailbox(readers: usize) -> Sample {
    ours(move |engine, wakes, ready| {
        let mailbox =
            Mailbox::new(Waker::from(Arc::new(Counted { wakes, thread: thread::current(), task: None })));
        let reader = |token| {
            let wake = notifier::Wake::Mailbox(Arc::clone(&mailbox), token as u64);
            subscribe(engine, SubscriberOptions { wake, ..SubscriberOptions::default() })
        };
        let mut readers: Vec<_> = (0..readers).map(reader).collect();
        let mut left = readers.len() * EVENTS;
        let right = body("mag");
        mailbox.ready(|_| {});
        ready.send(()).expect("a publisher");
        while left > 0 {
            let before = left;
            mailbox.ready(|token| {
                left -= readers[token as usize].drain(usize::MAX, |delivery| {
                    let Content::Result(payload) = delivery.content else { panic!("a gap") };
                    assert_eq!(payload.body(), right);
                });
            });
            if left == before {
                thread::park();
            }
        }
    })
}

/// Each reader is a task that waits for its next message.
fn tasks(readers: usize) -> Sample {
    ours(move |engine, wakes, ready| {
        let task = |_| -> Task {
            let mut reader = subscribe(engine, SubscriberOptions::default());
            let right = body("mag");
            Box::pin(async move {
                for _ in 0..EVENTS {
                    let message = poll_fn(|context| reader.poll_next(context)).await.expect("an open engine");
                    let OwnedContent::Result(payload) = message.content else { panic!("a gap") };
                    assert_eq!(payload.body(), right);
                }
            })
        };
        run((0..readers).map(task).collect(), &wakes, || ready.send(()).expect("a publisher"));
    })
}

/// The same on tokio's broadcast channel, with neither a projection nor a match.
fn rival(readers: usize) -> Sample {
    let (sender, _) = broadcast::channel::<Arc<[u8]>>(EVENTS);
    let receivers = sender.clone();
    let read = move |wakes: Arc<AtomicU64>, ready: mpsc::Sender<()>| {
        let task = |_| -> Task {
            let mut receiver = receivers.subscribe();
            Box::pin(async move {
                for _ in 0..EVENTS {
                    let event = receiver.recv().await.expect("no lag");
                    assert_eq!(*event, *DOCUMENT.as_bytes());
                }
            })
        };
        run((0..readers).map(task).collect(), &wakes, || ready.send(()).expect("a publisher"));
    };
    round(read, || _ = sender.send(DOCUMENT.as_bytes().into()).expect("receivers"))
}
