//! A bus over PostgreSQL: an outbox table that user transactions publish to, and that every node reads.
//!
//! `select coulis_publish(channel, event_type, data)` in a transaction, or in a trigger, publishes when the transaction
//! commits, and never if it does not. [`PostgresBus`] publishes what a program has by the same function, and reads what
//! came from anywhere. `sql/` holds the functions with their options; [`migrations`] is all of it as one script.
//!
//! # Order and completeness
//! A position is the number of the transaction, in 43 bits, and the place within it, in 20. A reader takes the rows
//! after its own position whose transaction lies below the horizon: the lowest number that is still in use. So nothing
//! can appear any more before what it has read, and all nodes read the same in the same order. It is the order in which
//! transactions took their numbers (with their first change), not the one in which they committed, except that a
//! transaction which began after another had committed comes after it. The price: the oldest open transaction that
//! has changed something, in any database of the server, holds back what was published after it began
//! (`Health::held_back`). Why not a sequence with `id > last`: the numbers of a sequence do not become visible in their
//! order, and what becomes visible late is never read.
//!
//! An event with an id of its own is taken once, for as long as `ids_kept` in the schema's table `meta` says.
//!
//! # The doorbell
//! See the section on sleeping in `read.rs`: publishing sends a NOTIFY only while a reader sleeps. A transaction
//! that is to be prepared for two-phase commit cannot notify: `set local coulis.doorbell = off` keeps it from that, and
//! readers find its events by looking, within `poll_every`. Each sleep of a reader takes one transaction number, two
//! before PostgreSQL 15.
//!
//! Measured with 8 writers of one event a transaction, on two cores that they share with the server: 7,550 commits/s
//! without a reader, 7,460 with one, 3,070 if every commit notifies. From the commit to the node p50 0.6 to 1.3 ms, p99
//! below 5 ms (`cargo bench -p coulis-benches --bench postgres`).
//!
//! # What is lost, and told
//! Events that retention took before they were read, and what a server lost in a crash or a fail-over, are told as
//! missed. A server that lost its newest commits gives their numbers again, so a reader that connects looks whether
//! the last rows that it read are still the same ones; if not it begins another epoch, and so does the first reader
//! that finds the history on another server or timeline. Another epoch is told by every node, also by one whose last rows
//! are there: what came after them may not be. What this cannot see, when no reader that had read more is there to
//! compare: a copy of the data files that is started in place of the original, on the same timeline, and a crash that
//! loses commits made with `synchronous_commit = off`.
//!
//! # Rights
//! `coulis.grant_publisher(role)` lets a role call the publishing functions and nothing else; `coulis.grant_bus(role)`
//! lets it run a bus that does not migrate. The functions run with the rights of the schema's owner.
//!
//! # Threads
//! Two: one writes and one reads, each with a connection of its own and an asynchronous runtime that runs nothing else.

mod config;
mod health;
mod item;
mod keep;
mod link;
mod migrate;
mod page;
mod publish;
mod read;

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use coulis::{
    bus::{Accepted, Bus, BusError, Health},
    event::Event,
    limits::Limits,
};
use tokio::sync::watch;

pub use self::{
    config::PostgresConfig,
    migrate::{VERSION, install, migrations},
};
use self::{
    health::{State, add, subtract},
    item::{Item, Waiting},
    keep::Keeper,
    link::{Opener, runtime},
    page::Bounds,
    publish::{Claim, Writer, closed},
    read::Reader,
};
use crate::feed::Sink;

/// How long the threads have to leave when patience is over: they count what is left. A sink without room takes longer.
const LEAVING_MAX: Duration = Duration::from_millis(500);

/// A bus over PostgreSQL.
pub struct PostgresBus {
    queue: flume::Sender<Item>,
    state: Arc<State>,
    stop: watch::Sender<Option<Instant>>,
    /// Disconnected when both threads have ended.
    ended: flume::Receiver<()>,
    names: Names,
    limits: Limits,
    publish_wait_max: Duration,
    buffer_bytes_max: u64,
}

/// Ids for events that have none: the bus's own random part and a count.
struct Names {
    bus: String,
    count: AtomicU64,
}

/// Events that a publisher waits for.
struct Asked {
    answer: flume::Sender<(usize, Result<Accepted, BusError>)>,
    answers: flume::Receiver<(usize, Result<Accepted, BusError>)>,
    claims: Vec<Arc<Claim>>,
    /// As many as were offered; `None`: not answered yet.
    results: Vec<Option<Result<Accepted, BusError>>>,
    deadline: Instant,
}

impl PostgresBus {
    /// A bus that feeds `sink`. A database that is not reached is no error: [`Bus::health`] says so, and the bus goes
    /// on trying.
    ///
    /// # Errors
    /// Settings that can never work, and a system that gives no thread.
    pub fn start(config: PostgresConfig, limits: Limits, sink: Box<dyn Sink>) -> Result<Self, BusError> {
        config.check()?;
        let (queue, waiting) = flume::bounded(config.buffer_events_max);
        let (stop, stopped) = watch::channel(None);
        let (running, ended) = flume::bounded(0);
        let state = Arc::new(State::default());
        let reading = Opener::new(&config, config.reader()?)?;
        let writer = Writer {
            opener: Opener::new(&config, config.writer()?)?,
            queue: waiting,
            state: Arc::clone(&state),
            stop: stopped.clone(),
            link: None,
            connected: false,
            config: config.clone(),
        };
        let keeper = Keeper { opener: reading.clone(), config: config.clone(), state: Arc::clone(&state) };
        let bus = Self {
            queue,
            stop,
            ended,
            names: Names::default(),
            limits: limits.clone(),
            publish_wait_max: config.publish_wait_max,
            buffer_bytes_max: config.buffer_bytes_max as u64,
            state: Arc::clone(&state),
        };
        let reader = Reader {
            opener: reading,
            sink,
            state,
            stop: stopped,
            at: None,
            end: None,
            bounds: Bounds::of(&config),
            limits,
            config,
        };
        spawn("coulis-pg-write", running.clone(), move || writer.run())?;
        spawn("coulis-pg-read", running, move || async {
            tokio::spawn(keeper.run());
            reader.run().await;
        })?;
        Ok(bus)
    }

    fn item(&self, event: &Event, waiting: Option<Waiting>) -> Result<Item, BusError> {
        if self.stop.borrow().is_some() {
            return Err(closed());
        }
        Item::new(event, &self.names.next(), &self.limits, waiting)
    }

    /// Puts an item into the buffer, or gives it back.
    fn offer(&self, item: Item) -> Result<(), Box<Item>> {
        let bytes = item.bytes();
        let before = self.state.buffered_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        add(&self.state.buffered, 1);
        let back = if before > 0 && before + bytes as u64 > self.buffer_bytes_max {
            item
        } else {
            match self.queue.try_send(item) {
                Ok(()) => return Ok(()),
                Err(flume::TrySendError::Full(item) | flume::TrySendError::Disconnected(item)) => item,
            }
        };
        subtract(&self.state.buffered, 1);
        subtract(&self.state.buffered_bytes, bytes);
        Err(Box::new(back))
    }

    fn full(&self) -> BusError {
        let reason = match self.health().error {
            Some(error) if !self.state.writing.load(Ordering::Relaxed) => {
                format!("the buffer is full, because the database cannot be written to: {error}")
            }
            _ => {
                "the buffer is full: publish more slowly, or raise `buffer_events_max` or `buffer_bytes_max`"
                    .into()
            }
        };
        BusError { reason, transient: true, unknown: false }
    }

    /// Offers an event of `asked`. While the buffer is full of such events, answers to them make room.
    fn ask(&self, event: &Event, asked: &mut Asked) {
        let index = asked.results.len();
        let waiting =
            Waiting { claim: Arc::clone(&asked.claims[index]), answer: asked.answer.clone(), index };
        let mut item = match self.item(event, Some(waiting)) {
            Ok(item) => item,
            Err(error) => return asked.results.push(Some(Err(error))),
        };
        asked.results.push(None);
        while let Err(back) = self.offer(item) {
            let waited_for = asked.results[..index].iter().any(Option::is_none);
            let answer = if waited_for { asked.answers.recv_deadline(asked.deadline).ok() } else { None };
            let Some((answered, result)) = answer else {
                asked.results[index] = Some(Err(self.full()));
                return;
            };
            asked.results[answered] = Some(result);
            item = *back;
        }
    }

    /// The results, where some lack after the publisher has waited long enough.
    fn collect(&self, mut asked: Asked) -> Vec<Result<Accepted, BusError>> {
        while asked.results.iter().any(Option::is_none) {
            let Ok((index, result)) = asked.answers.recv_deadline(asked.deadline) else { break };
            asked.results[index] = Some(result);
        }
        let Asked { mut results, claims, answers, .. } = asked;
        for (result, claim) in results.iter_mut().zip(claims).filter(|(result, _)| result.is_none()) {
            // Whom it cannot be taken from has begun to send it.
            *result = Some(Err(self.late(!claim.take())));
        }
        // What was answered while it was given up is known after all.
        for (index, answer) in answers.try_iter() {
            results[index] = Some(answer);
        }
        results.into_iter().flatten().collect()
    }

    fn late(&self, unknown: bool) -> BusError {
        let waited = self.publish_wait_max;
        let outcome = if unknown { "it may have been published" } else { "it was not published" };
        let error = self.health().error.map(|error| format!(", {error}")).unwrap_or_default();
        BusError {
            reason: format!("no answer within {waited:?}: {outcome}{error}"),
            transient: true,
            unknown,
        }
    }
}

impl Bus for PostgresBus {
    fn publish(&self, event: &Event) -> Result<Accepted, BusError> {
        self.publish_many(std::slice::from_ref(event)).pop().unwrap_or(Ok(Accepted::default()))
    }

    fn publish_many(&self, events: &[Event]) -> Vec<Result<Accepted, BusError>> {
        let (answer, answers) = flume::bounded(events.len());
        let mut asked = Asked {
            answer,
            answers,
            claims: events.iter().map(|_| Arc::new(Claim::default())).collect(),
            results: Vec::with_capacity(events.len()),
            deadline: Instant::now() + self.publish_wait_max,
        };
        for event in events {
            self.ask(event, &mut asked);
        }
        self.collect(asked)
    }

    fn enqueue(&self, event: &Event) -> Result<(), BusError> {
        self.offer(self.item(event, None)?).map_err(|_| self.full())
    }

    fn health(&self) -> Health {
        self.state.health()
    }

    fn close(&self, patience: Duration) {
        let deadline = Instant::now() + patience.min(config::WAIT_MAX);
        self.stop.send_if_modified(|stop| stop.is_none() && stop.replace(deadline).is_none());
        _ = self.ended.recv_deadline(deadline + LEAVING_MAX);
    }
}

impl Drop for PostgresBus {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

impl fmt::Debug for PostgresBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBus").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Default for Names {
    fn default() -> Self {
        let random = || RandomState::new().hash_one(0);
        Self { bus: format!("{:016x}{:016x}", random(), random()), count: AtomicU64::new(0) }
    }
}

impl Names {
    fn next(&self) -> String {
        format!("{}-{}", self.bus, self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// A thread that runs `work` on a runtime of its own, and drops `running` when that has ended.
fn spawn<F: Future<Output = ()>>(
    name: &str,
    running: flume::Sender<()>,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<(), BusError> {
    let runtime = runtime()?;
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        runtime.block_on(work());
        // A name that is being looked up has a thread of its own: nobody waits for it.
        runtime.shutdown_background();
        drop(running);
    });
    let failed = |error| config::refused(format!("no thread `{name}`: {error}"));
    thread.map(drop).map_err(failed)
}
