//! The bus over Redis 7.0 or newer: one stream for all channels of a cluster, read by every node from its own position.
//!
//! # What lies in the server
//!
//! All keys start with the prefix in braces, `{shop}:`, so that in a cluster of servers they share a slot. The address has
//! to be that of the slot's master, or a name that follows it: a node refuses a replica, looks the name up anew whenever
//! it connects, and follows no `MOVED`.
//!
//! | key | what it is |
//! |---|---|
//! | `{shop}:events` | the stream: ids `<epoch>-<n>`; `<epoch>-0` marks where an epoch began |
//! | `{shop}:in` | the inlet: a stream for producers that are no nodes |
//! | `{shop}:producer:…` | the last number that was taken of a node's events; expires a day after its last event |
//! | `{shop}:id:…` | an event's own id, remembered for `id_age_max` |
//!
//! Events are numbered 1, 2, 3 … within an epoch. An entry holds one or more of them (field `e`, a `MessagePack` array of
//! encodings as in [`crate::wire`]) and has the number of its last one. An epoch is the time at which a history began, in
//! milliseconds. What loses events (`FLUSHALL`, a restart without persistence, a replica that takes over without the
//! tail) begins another one as soon as a node sees it, and every node tells its readers that they missed events. Numbers
//! have no holes, so trimming is told with its exact count. A server that may evict keys could forget what it took:
//! `maxmemory-policy` has to be `noeviction`. How durable events are is the server's matter: `appendfsync always` loses
//! nothing in a crash, `everysec` a second of it.
//!
//! # Other producers
//!
//! They leave events in the inlet, from where a node moves each of them into the stream once:
//!
//! ```text
//! XADD {shop}:in * channel orders type orderCreated data '{"id": 1}' [before …] [tenant …] [user …] [id …]
//! ```
//!
//! What has other fields, or lacks one of the first three, is removed and counted as malformed. So is, on each node, what
//! is no event otherwise, as by `data` that is no JSON; its `id` is used up all the same.
//!
//! # Rights
//!
//! This is all that a node needs (`+select` for another database than 0; for [`Mode::PubSub`] `&{shop}:*`, `+ping`,
//! `+publish` and `+subscribe` are enough):
//!
//! ```text
//! ACL SETUSER node on >password ~{shop}:* -@all +evalsha +script|load +xread +xrange +xinfo|stream +xadd +xdel +get +set +del +time
//! ```
//!
//! A producer that only leaves events in the inlet needs `~{shop}:in -@all +xadd`.
//!
//! # Why this way
//!
//! - A consumer group would split events between nodes; each node has to see all of them.
//! - Ids are not times: with `XADD *` a hole looks like a pause, and trimming is silent.
//! - Publishing is a script, since the check for what was taken and the taking have to be one step.
//! - An entry a batch, not one an event: a server spends more on an entry than a node does on an event.
//! - One stream, not one a channel: `XREAD` of ten thousand keys costs ten thousand look-ups for each event.

mod batch;
mod config;
pub mod entry;
mod link;
mod listen;
mod pubsub;
mod queue;
mod read;
mod script;
mod shared;
mod write;

use std::{
    hash::{BuildHasher as _, RandomState},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use coulis::{
    bus::{Accepted, Bus, BusError, Health},
    event::Event,
    limits::Limits,
};

pub use config::{Mode, RedisConfig};
use config::{Settings, TIME_MAX};
use listen::Listener;
use queue::{Item, Queue, Refused, Waiting};
use read::Reader;
use shared::{Shared, Side};
use write::Writer;

use crate::{
    feed::Sink,
    wire::{self, WireEvent},
};

/// How long the threads have to leave after their connections were ended. What takes longer (a sink without room, a
/// name server) ends by itself.
const LEAVING_MAX: Duration = Duration::from_millis(500);

/// A node's connection to the events of its cluster.
#[derive(Debug)]
pub struct RedisBus {
    settings: Arc<Settings>,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    /// This bus among all that there ever were.
    producer: String,
    /// Counts calls, and events without an id.
    numbers: AtomicU64,
    /// Disconnected when a thread has ended.
    threads: [flume::Receiver<()>; 2],
}

impl RedisBus {
    /// Starts to read into `sink` and to send what is published; a server that cannot be reached is tried again until
    /// it can be.
    ///
    /// # Errors
    /// Settings that cannot be right: the error names them.
    pub fn start(config: RedisConfig, limits: Limits, sink: Box<dyn Sink>) -> Result<Self, BusError> {
        let settings = Arc::new(Settings::new(config, limits)?);
        let config = &settings.config;
        let queue = Arc::new(Queue::new(config.buffer_events_max, config.buffer_bytes_max));
        let shared = Arc::new(Shared::new(settings.address.shown.clone()));
        let producer = format!("{:016x}{:016x}", random(), random());
        let writer =
            Writer::new(Arc::clone(&settings), Arc::clone(&queue), Arc::clone(&shared), producer.clone());
        let reading: Box<dyn FnOnce() + Send> = match config.mode {
            Mode::Streams => {
                let reader = Reader::new(Arc::clone(&settings), Arc::clone(&shared), producer.clone(), sink);
                Box::new(move || reader.run())
            }
            Mode::PubSub => {
                let listener = Listener::new(Arc::clone(&settings), Arc::clone(&shared), sink);
                Box::new(move || listener.run())
            }
        };
        let threads = [
            spawn("coulis-redis-w", Here(Arc::clone(&shared), Side::Write), || writer.run())?,
            spawn("coulis-redis-r", Here(Arc::clone(&shared), Side::Read), reading).inspect_err(|_| {
                queue.end();
                shared.end();
            })?,
        ];
        Ok(Self { settings, queue, shared, producer, numbers: AtomicU64::new(1), threads })
    }

    fn item(&self, event: &Event, waiting: Option<Waiting>) -> Result<Item, BusError> {
        let id = match event.id() {
            Some(_) => String::new(),
            None => format!("{}-{}", self.producer, self.numbers.fetch_add(1, Relaxed)),
        };
        let bytes = wire::encode(&WireEvent::of(event, &id), &self.settings.limits)
            .map_err(|error| BusError { reason: error.to_string(), transient: false, unknown: false })?;
        Ok(Item { bytes, id: event.id().map(Into::into), waiting })
    }

    fn refused(&self, refused: &Refused) -> BusError {
        match refused {
            Refused::Full(_) => {
                let BusError { reason, .. } = self.shared.unanswered(false);
                let config = &self.settings.config;
                let (events, bytes) = (config.buffer_events_max, config.buffer_bytes_max);
                let reason = format!(
                    "{reason}; the buffer is full: `buffer_events_max` is {events}, `buffer_bytes_max` {bytes}"
                );
                BusError { reason, transient: true, unknown: false }
            }
            Refused::Closed(_) => closed(),
        }
    }
}

impl Bus for RedisBus {
    fn publish(&self, event: &Event) -> Result<Accepted, BusError> {
        self.publish_many(slice::from_ref(event)).pop().unwrap_or(Ok(Accepted::default()))
    }

    fn publish_many(&self, events: &[Event]) -> Vec<Result<Accepted, BusError>> {
        let call = self.numbers.fetch_add(1, Relaxed);
        let wait = self.settings.config.publish_wait_max;
        let (sender, answers) = flume::bounded(events.len().max(1));
        let mut results: Vec<Option<Result<Accepted, BusError>>> = vec![None; events.len()];
        let mut items = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            match self.item(event, Some(Waiting { call, index, answers: sender.clone() })) {
                Ok(item) => items.push(item),
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        drop(sender);
        if let Err(refused) = self.queue.push(items, wait) {
            let error = self.refused(&refused);
            let (Refused::Full(rest) | Refused::Closed(rest)) = refused;
            for waiting in rest.into_iter().filter_map(|item| item.waiting) {
                results[waiting.index] = Some(Err(error.clone()));
            }
        }
        // Ends when every event is answered, since then nobody is left who could answer.
        while let Ok((index, result)) = answers.recv_timeout(wait) {
            results[index] = Some(result);
        }
        for index in self.queue.withdraw(call) {
            results[index] = Some(Err(self.shared.unanswered(false)));
        }
        for (index, result) in answers.drain() {
            results[index] = Some(result);
        }
        let sent = |result: Option<_>| result.unwrap_or_else(|| Err(self.shared.unanswered(true)));
        results.into_iter().map(sent).collect()
    }

    fn enqueue(&self, event: &Event) -> Result<(), BusError> {
        let item = self.item(event, None)?;
        self.queue.push(vec![item], Duration::ZERO).map_err(|refused| self.refused(&refused))
    }

    fn health(&self) -> Health {
        self.shared.health(self.queue.pending())
    }

    fn close(&self, patience: Duration) {
        self.queue.close(patience.min(TIME_MAX));
        self.queue.end();
        self.shared.end();
        let until = Instant::now() + LEAVING_MAX;
        for thread in &self.threads {
            _ = thread.recv_deadline(until);
        }
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

/// Says of a thread that it is gone, also when it panicked: a sink is somebody else's.
#[derive(Debug)]
struct Here(Arc<Shared>, Side);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.down(self.1, "its thread has ended");
    }
}

/// Runs `work` on a thread of its own; the answer is disconnected when it ended.
fn spawn(
    name: &str,
    here: Here,
    work: impl FnOnce() + Send + 'static,
) -> Result<flume::Receiver<()>, BusError> {
    let (running, ended) = flume::bounded(0);
    let work = move || {
        let _running: flume::Sender<()> = running;
        let _here = here;
        work();
    };
    match thread::Builder::new().name(name.into()).spawn(work) {
        Ok(_) => Ok(ended),
        Err(error) => Err(BusError {
            reason: format!("cannot start a thread: {error}"),
            transient: true,
            unknown: false,
        }),
    }
}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}

fn closed() -> BusError {
    BusError { reason: "the bus is closed".into(), transient: false, unknown: false }
}
