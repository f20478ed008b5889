//! Two forms of handing results over from a shard to the readers of one thread, at the same work, both sides counted.
//!
//! - **A**, what the engine does: a ring for each subscriber. The shard pushes a share of the body and an address for
//!   each member; the reading thread drains each ring and writes the messages.
//! - **B**: one ring for each pair of shard and reading thread. The shard pushes (group, body) once for each group;
//!   the reading thread has the list of the group's members and expands.
//!
//! Reading writes `next` messages into each subscription's own output, which is emptied at 4 KiB as a socket would
//! do. *One thread*: some events are dispatched, then all is read. *Two threads*: both at the same time, each side
//! without the time it waited for the other. Neither form wakes anybody here: A's doorbells (one swap for each
//! reader and batch, a token in the mailbox) are left out, which is in A's favour; its reading thread looks at every
//! ring instead, which is not where most are empty.
//!
//! # What B needs besides, and is not in its figures
//! - **Joining and leaving.** In A the index decides who is a member, and a number in the address keeps a late frame
//!   from a wrong reader. In B the list is with the reading thread, and "registered before publish is seen by it" must
//!   hold between two threads: joins and leaves have to travel *in* the ring, as commands between the results
//!   of the events before and after them, in each shard's ring. Registering waits until the shard has put the join
//!   there. Leaving is simple for the reader (it strikes the member out at once, so nothing comes after `complete`),
//!   but the shard's count of members, on which `matched` and `delivered` rest, is right only once the leave came
//!   back to it.
//! - **A reader that is one connection's task** and not a thread (asyncio, ASGI) shares its ring with all the others
//!   of that thread. Readers that move between threads, or are read from anywhere (`Subscriber` is `Send`), have no
//!   form B: they would be a thread of their own, which is form A.
//! - **A bound for each subscription.** The ring holds results for everybody. If it may evict, one loss is a loss for
//!   all members of the group, also for those that keep up; if it may not, the thread stops the shard. So the thread
//!   has to drain it always and keep what a slow connection cannot take: for each slow subscription a position in a
//!   log of (offset, body) of its group, kept for as long as the bound says. A position that falls out of the log is
//!   the gap; its count is exact only if the log numbers results for each *group* and the join noted the number. A's
//!   ring is all of this, ready, in 200 bytes and up.
//! - **Isolation.** A thread that stops (a long callback of a user's) stops all of its connections in both forms, but
//!   in B its ring then overflows for all of them at once, where in A each loses its own oldest.
//! - **Completing.** After a terminal message the list must drop the member before the next result of its group is
//!   expanded: simple, as it is the same thread. A subscriber that is dropped elsewhere has to tell that thread.
//! - **Accounting.** What was delivered is known to the reading thread only: `pending` has to be worked out from both
//!   sides, and "publish means dispatched" means "in the thread's ring", not "in the subscriber's".

use std::{
    thread,
    time::{Duration, Instant},
};

use coulis::{
    envelope,
    id::{ChannelId, Offset},
    payload::Payload,
    ring::{Consumer, Full, Producer, ring},
};

use crate::{
    measure::{ROUNDS, median},
    work::body,
};

/// Events that may be under way in the busy cases.
const IN_FLIGHT: usize = 32;

/// Deliveries of one round, about.
const DELIVERIES: usize = 1_000_000;

/// An output is emptied when it is longer.
const OUTPUT_BYTES: usize = 4_096;

/// What a group is.
#[derive(Clone, Copy)]
enum Groups {
    /// One with all subscriptions.
    OfAll,
    /// One for each subscription.
    OfOne,
}

/// Who works when.
#[derive(Clone, Copy)]
enum Threads {
    /// Dispatch so many events, then read.
    One { in_flight: usize },
    /// A dispatcher and a reader.
    Two,
}

/// Nanoseconds a delivery.
#[derive(Clone, Copy)]
struct Times {
    dispatch: f64,
    reading: f64,
    /// One thread: the sum; two: the time on the clock.
    total: f64,
}

/// The shard's half of a form.
trait Dispatch: Send {
    /// Hands a body to all groups; answers how long it waited for room.
    fn event(&mut self, body: &Payload) -> Duration;
}

/// The reading half of a form.
trait Read: Send {
    /// Reads what is there; answers how many messages were written.
    fn pass(&mut self) -> usize;

    fn subscriptions(&self) -> Box<dyn Iterator<Item = &Subscription> + '_>;
}

/// The reading side's state of a subscription, the same in both forms.
struct Subscription {
    id_json: String,
    sequence: u32,
    out: Vec<u8>,
    sent: usize,
}

impl Subscription {
    fn new(number: usize) -> Self {
        Self { id_json: format!("\"{number}\""), sequence: 0, out: Vec::new(), sent: 0 }
    }

    fn write(&mut self, body: &Payload) {
        if self.out.len() > OUTPUT_BYTES {
            self.sent += self.out.len();
            self.out.clear();
        }
        envelope::write_next(&mut self.out, &self.id_json, body.body());
    }

    fn check(&self, events: usize) {
        let mut message = Vec::new();
        envelope::write_next(&mut message, &self.id_json, &body("mag"));
        assert_eq!(self.sequence as usize, events, "{}", self.id_json);
        assert_eq!(self.sent + self.out.len(), events * message.len(), "{}", self.id_json);
        assert!(self.out.chunks(message.len()).all(|written| written == message), "{}", self.id_json);
    }
}

/// Form A, the shard's half.
struct EachItsRing {
    groups: Vec<Vec<u32>>,
    readers: Vec<Reader>,
}

struct Reader {
    ring: Producer<Payload>,
    sequence: u32,
}

/// Form A, the reading half.
struct Rings(Vec<(Consumer<Payload>, Subscription)>);

/// Form B, the shard's half.
struct OneRing {
    groups: u32,
    ring: Producer<Payload>,
}

/// Form B, the reading half.
struct Expander {
    ring: Consumer<Payload>,
    groups: Vec<Vec<u32>>,
    subscriptions: Vec<Subscription>,
}

impl Dispatch for EachItsRing {
    fn event(&mut self, body: &Payload) -> Duration {
        let mut waited = Duration::ZERO;
        for group in &self.groups {
            for (member, share) in group.iter().zip(body.shares(group.len())) {
                let reader = &mut self.readers[*member as usize];
                reader.sequence += 1;
                waited +=
                    push(&mut reader.ring, share, u64::from(*member) << 32 | u64::from(reader.sequence));
            }
        }
        waited
    }
}

impl Read for Rings {
    fn pass(&mut self) -> usize {
        let mut written = 0;
        for (ring, subscription) in &mut self.0 {
            written += ring.take(usize::MAX, |body, address| {
                // As the engine does: a hole in the numbers would be a gap to tell.
                assert_eq!(address as u32, subscription.sequence + 1);
                subscription.sequence = address as u32;
                subscription.write(&body);
            });
        }
        written
    }

    fn subscriptions(&self) -> Box<dyn Iterator<Item = &Subscription> + '_> {
        Box::new(self.0.iter().map(|(_, subscription)| subscription))
    }
}

impl Dispatch for OneRing {
    fn event(&mut self, body: &Payload) -> Duration {
        (0..self.groups).map(|group| push(&mut self.ring, body.clone(), u64::from(group))).sum()
    }
}

impl Read for Expander {
    fn pass(&mut self) -> usize {
        let Self { ring, groups, subscriptions } = self;
        let mut written = 0;
        ring.take(usize::MAX, |body, group| {
            let members = &groups[group as usize];
            for member in members {
                let subscription = &mut subscriptions[*member as usize];
                subscription.sequence += 1;
                subscription.write(&body);
            }
            written += members.len();
        });
        written
    }

    fn subscriptions(&self) -> Box<dyn Iterator<Item = &Subscription> + '_> {
        Box::new(self.subscriptions.iter())
    }
}

/// Pushes; waits where there is no room. The engine never waits, it evicts: but then there would be less to read.
fn push(ring: &mut Producer<Payload>, body: Payload, tag: u64) -> Duration {
    let Err(Full(mut body)) = ring.push(body, tag) else { return Duration::ZERO };
    let start = Instant::now();
    while let Err(Full(back)) = ring.push(body, tag) {
        body = back;
        thread::yield_now();
    }
    start.elapsed()
}

/// Both halves of a form, and how many events went through.
struct Form {
    dispatch: Box<dyn Dispatch>,
    read: Box<dyn Read>,
    size: usize,
    events: usize,
}

impl Form {
    fn a(size: usize, groups: Groups) -> Self {
        let (producers, consumers): (Vec<_>, Vec<_>) = (0..size).map(|_| ring(IN_FLIGHT)).unzip();
        let readers = producers.into_iter().map(|ring| Reader { ring, sequence: 0 }).collect();
        let subscriptions = (0..size).map(Subscription::new);
        let read = Box::new(Rings(consumers.into_iter().zip(subscriptions).collect()));
        Self {
            dispatch: Box::new(EachItsRing { groups: groups.members(size), readers }),
            read,
            size,
            events: 0,
        }
    }

    fn b(size: usize, groups: Groups) -> Self {
        let members = groups.members(size);
        // Room for as many events as in form A.
        let (producer, consumer) = ring(IN_FLIGHT * members.len());
        let dispatch = Box::new(OneRing { groups: members.len() as u32, ring: producer });
        let subscriptions = (0..size).map(Subscription::new).collect();
        let read = Box::new(Expander { ring: consumer, groups: members, subscriptions });
        Self { dispatch, read, size, events: 0 }
    }

    fn round(&mut self, threads: Threads) -> Times {
        let events = (DELIVERIES / self.size).next_multiple_of(IN_FLIGHT);
        let (dispatch, reading, total) = match threads {
            Threads::One { in_flight } => self.in_turns(events, in_flight),
            Threads::Two => self.at_once(events),
        };
        self.events += events;
        self.read.subscriptions().for_each(|subscription| subscription.check(self.events));
        let a_delivery = |time: Duration| time.as_nanos() as f64 / (events * self.size) as f64;
        Times { dispatch: a_delivery(dispatch), reading: a_delivery(reading), total: a_delivery(total) }
    }

    fn in_turns(&mut self, events: usize, in_flight: usize) -> (Duration, Duration, Duration) {
        let (mut dispatch, mut reading) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..events / in_flight {
            let start = Instant::now();
            for _ in 0..in_flight {
                self.dispatch.event(&payload());
            }
            let dispatched = Instant::now();
            // Not until a pass finds nothing: form A would look at every ring once more.
            let mut written = 0;
            while written < in_flight * self.size {
                written += self.read.pass();
            }
            dispatch += dispatched - start;
            reading += dispatched.elapsed();
        }
        (dispatch, reading, dispatch + reading)
    }

    fn at_once(&mut self, events: usize) -> (Duration, Duration, Duration) {
        let Self { dispatch, read, size, .. } = self;
        let start = Instant::now();
        let (dispatch, reading) = thread::scope(|scope| {
            let reading = scope.spawn(|| read_all(read.as_mut(), events * *size));
            let start = Instant::now();
            let waited: Duration = (0..events).map(|_| dispatch.event(&payload())).sum();
            (start.elapsed() - waited, reading.join().expect("a reader"))
        });
        (dispatch, reading, start.elapsed())
    }
}

/// Answers how long it read, without the passes that found nothing.
fn read_all(read: &mut dyn Read, deliveries: usize) -> Duration {
    let (mut reading, mut written) = (Duration::ZERO, 0);
    while written < deliveries {
        let start = Instant::now();
        match read.pass() {
            0 => thread::yield_now(),
            some => {
                written += some;
                reading += start.elapsed();
            }
        }
    }
    reading
}

fn payload() -> Payload {
    Payload::new(ChannelId(1), Offset(1), body("mag"))
}

impl Groups {
    fn members(self, size: usize) -> Vec<Vec<u32>> {
        let all = 0..size as u32;
        match self {
            Self::OfAll => vec![all.collect()],
            Self::OfOne => all.map(|member| vec![member]).collect(),
        }
    }
}

/// Prints the comparison.
pub fn report() {
    println!(
        "Nanoseconds a delivery, medians of {ROUNDS} rounds in which the forms take turns; every message checked.\n"
    );
    println!("{:<44} | {:^28} | {:^28} | total", "", "A: a ring a subscriber", "B: a ring a thread");
    println!(
        "{:>13}  {:<8} {:<7} {:>11} | {:>8} {:>9} {:>9} | {:>8} {:>9} {:>9} | A / B",
        "subscriptions",
        "groups",
        "threads",
        "in flight",
        "dispatch",
        "reading",
        "total",
        "dispatch",
        "reading",
        "total"
    );
    println!("{}", "-".repeat(115));
    let cases = [Threads::One { in_flight: 1 }, Threads::One { in_flight: IN_FLIGHT }, Threads::Two];
    for size in [100, 1_000, 10_000] {
        for (groups, name) in [(Groups::OfAll, "of all"), (Groups::OfOne, "of one")] {
            for threads in cases {
                let [a, b] = compare(size, groups, threads);
                let (count, in_flight) = match threads {
                    Threads::One { in_flight } => (1, in_flight.to_string()),
                    Threads::Two => (2, format!("to {IN_FLIGHT}")),
                };
                println!(
                    "{size:>13}  {name:<8} {count:<7} {in_flight:>11} | {:>8.2} {:>9.2} {:>9.2} | {:>8.2} {:>9.2} {:>9.2} | {:.2}",
                    a.dispatch,
                    a.reading,
                    a.total,
                    b.dispatch,
                    b.reading,
                    b.total,
                    a.total / b.total
                );
            }
        }
    }
}

fn compare(size: usize, groups: Groups, threads: Threads) -> [Times; 2] {
    let mut forms = [Form::a(size, groups), Form::b(size, groups)];
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (form, rounds) in forms.iter_mut().zip(&mut rounds) {
            let times = form.round(threads);
            // The first one makes the buffers grow.
            if round > 0 {
                rounds.push(times);
            }
        }
    }
    rounds.map(|rounds| {
        let middle = |part: fn(&Times) -> f64| median(rounds.iter().map(part));
        Times {
            dispatch: middle(|times| times.dispatch),
            reading: middle(|times| times.reading),
            total: middle(|times| times.total),
        }
    })
}
