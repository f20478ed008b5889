//! Resumes in great numbers: at random cursors against plain arithmetic, and among real threads.
//!
//! `COULIS_RUNS` makes a campaign of either: so many resumes, so many rounds, of `COULIS_EVENTS` from each publisher.
//! `COULIS_SEED` is the first seed.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use super::*;
use crate::{
    cursor::Epoch,
    id::{Millis, Offset},
    notifier::Wake,
    random::{Random, number},
    security::ChannelRules,
    shard::Shard,
    subscriber::{Content, Gap, Message, OwnedContent},
};

fn event(channel: &str, number: u64) -> Event {
    let document = format!(r#"{{"n":{number}}}"#).into_bytes();
    Event::new("e", channel, document, &Limits::default()).unwrap()
}

fn request(id: String, channel: &str, resume: Option<String>) -> SubscribeRequest {
    let (query, channels) = ("subscription { x { n } }".into(), vec![channel.into()]);
    SubscribeRequest { id, query, channels, resume, ..SubscribeRequest::default() }
}

/// What a resumed subscription was told, and the offsets that it got.
#[derive(Debug, Default)]
struct Got {
    told: Option<Resumed>,
    offsets: Vec<u64>,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const EPOCH: Epoch = Epoch(7);

/// Shards that one thread steps.
struct Bench {
    random: Random,
    engine: Engine,
    shards: Vec<Shard>,
    /// The last offset of each channel, and the number of the first event that must still be in its log.
    last: [u64; NAMES.len()],
}

impl Bench {
    fn publish(&mut self, at: usize) {
        self.last[at] += 1;
        self.engine.try_publish(event(NAMES[at], self.last[at])).unwrap();
    }

    fn rest(&mut self) {
        while self.shards.iter_mut().filter_map(|shard| shard.step(Millis(0)).then_some(())).count() > 0 {}
    }

    /// Some text to resume channel `at` from, and the offset that it means there, if it means one.
    fn cursor(&mut self, at: usize) -> (String, Result<u64, Option<Reload>>) {
        let last = self.last[at];
        let of = |at: usize| self.engine.0.plane.channel(NAMES[at]).unwrap().id;
        let text = |epoch, channel, offset| Cursor { epoch, channel, offset: Offset(offset) }.to_string();
        let other = (at + 1) % NAMES.len();
        match self.random.below(12) {
            0 => (text(EPOCH, of(at), last + 1 + self.random.below(40)), Err(Some(Reload::Future))),
            1 => (text(EPOCH, of(at), u64::MAX - self.random.below(3)), Err(Some(Reload::Future))),
            2 => (text(Epoch(self.random.below(7)), of(at), last), Err(Some(Reload::Epoch))),
            3 => (text(EPOCH, of(other), last), Err(Some(Reload::Cursor))),
            4 => (text(EPOCH, ChannelId::ANY, last), Err(Some(Reload::Cursor))),
            5 => (String::new(), Err(Some(Reload::New))),
            6 => {
                // Garbage near a cursor: one byte of one is another.
                let mut bytes = text(EPOCH, of(at), last).into_bytes();
                let place = self.random.below(bytes.len() as u64) as usize;
                bytes[place] = b"0123456789abcdef.+-xZ "[self.random.below(22) as usize];
                let garbage = String::from_utf8(bytes).unwrap();
                let meant = garbage.parse::<Cursor>().ok();
                let meant = meant.filter(|cursor| cursor.epoch == EPOCH && cursor.channel == of(at));
                (garbage, meant.map(|cursor| cursor.offset.0).ok_or(None))
            }
            _ => {
                let offset = last.saturating_sub(self.random.below(24));
                (text(EPOCH, of(at), offset), Ok(offset))
            }
        }
    }
}

/// What a subscription may not see any more is not replayed to it either.
#[test]
fn a_replay_whose_reader_has_another_token_by_then_is_refused() {
    let rules = ChannelRules { policy: Some("'in' in ctx.roles".into()), ..ChannelRules::default() };
    for (role, result) in [("in", Ok(())), ("out", Err(Reload::Trimmed))] {
        let builder = Engine::builder().shards(1).epoch(EPOCH).channel("a", rules.clone());
        let (engine, mut shards) = builder.assemble().unwrap();
        let mut rest = || while shards.iter_mut().any(|(shard, _)| shard.step(Millis(0))) {};
        let mut reader = engine.open(SubscriberOptions::default()).unwrap();
        engine.try_publish(event("a", 1)).unwrap();
        rest();
        let channel = engine.0.plane.channel("a").unwrap().id;
        let cursor = Cursor { epoch: EPOCH, channel, offset: Offset(0) }.to_string();
        let context =
            |role: &str| SecurityContext { roles: [role.into()].into(), ..SecurityContext::default() };
        let asked = SubscribeRequest { context: context("in"), ..request("s".into(), "a", Some(cursor)) };
        engine.subscribe(&mut reader, asked).unwrap();
        assert_eq!(reader.refresh(context(role)), 0);
        rest();
        let (mut told, mut results) = (None, 0);
        reader.drain(8, |delivery| match delivery.content {
            Content::Resumed(resumed) => told = Some(resumed.result),
            _ => results += 1,
        });
        assert_eq!((told, results), (Some(result), usize::from(result.is_ok())), "{role}");
    }
}

/// A resume answers *complete* or *reload*, at any cursor.
#[test]
fn a_resume_is_complete_or_refused_at_any_cursor() {
    const KEPT: u64 = 12;
    let seed = number("COULIS_SEED", 1);
    let (mut complete, mut refused) = (0_u64, 0_u64);
    let limits = Limits { log_events_max: KEPT as usize, ring_frames_max: 8, ..Limits::default() };
    let builder = Engine::builder().shards(3).limits(limits).epoch(EPOCH);
    let (engine, shards) = builder.assemble().unwrap();
    let shards = shards.into_iter().map(|(shard, _)| shard).collect();
    let mut bench = Bench { random: Random(seed), engine, shards, last: [0; NAMES.len()] };
    let options = || SubscriberOptions { wake: Wake::Polling, ring_frames_max: None };
    let mut readers = [(); 3].map(|()| bench.engine.open(options()).unwrap());
    for run in 0..number("COULIS_RUNS", 20_000) {
        for _ in 0..bench.random.below(4) {
            let at = bench.random.below(NAMES.len() as u64) as usize;
            bench.publish(at);
        }
        bench.rest();
        let at = bench.random.below(NAMES.len() as u64) as usize;
        let (text, meant) = bench.cursor(at);
        let reader = &mut readers[bench.random.below(3) as usize];
        let id = run.to_string();
        bench.engine.subscribe(reader, request(id.clone(), NAMES[at], Some(text.clone()))).unwrap();
        // What comes meanwhile is live or replayed, whoever is first.
        let then = bench.last[at];
        for _ in 0..bench.random.below(3) {
            let shard = bench.random.below(3) as usize;
            bench.shards[shard].step(Millis(0));
            bench.publish(at);
        }
        let reader = &mut readers;
        bench.rest();
        let mut got = Got::default();
        for reader in reader.iter_mut() {
            reader.drain(usize::MAX, |delivery| match delivery.content {
                Content::Resumed(resumed) => assert_eq!(got.told.replace(resumed), None),
                Content::Result(payload) if delivery.id == id => got.offsets.push(payload.offset().0),
                other => panic!("{text}: {other:?}"),
            });
            _ = reader.cancel(&id);
        }
        let told = got.told.unwrap();
        let start = told.cursor.unwrap().offset.0;
        let owed: Vec<_> = (start + 1..=bench.last[at]).collect();
        assert_eq!(got.offsets, owed, "COULIS_SEED={seed}, run {run}: `{text}` {told:?}");
        match (told.result, meant) {
            (Ok(()), Ok(offset)) => {
                assert_eq!(start, offset, "{text}");
                complete += 1;
            }
            (Ok(()), Err(Some(Reload::Future))) if start <= bench.last[at] => complete += 1,
            (Ok(()), _) => panic!("run {run}: `{text}` was taken for a position: {told:?}"),
            (Err(reload), meant) => {
                assert!(start >= then, "what was there before is told as seen");
                match meant {
                    Ok(offset) => {
                        let trimmed = reload == Reload::Trimmed && bench.last[at] - offset > KEPT;
                        assert!(trimmed || reload == Reload::Future && offset > then, "{text}: {told:?}");
                    }
                    Err(wanted) => assert!(wanted.is_none_or(|wanted| wanted == reload), "{text}: {told:?}"),
                }
                refused += 1;
            }
        }
    }
    println!("{complete} complete, {refused} refused, 0 partial");
    assert!(complete > 0 && refused > 0);
}

/// A resolver that answers by the hands of other threads, in any order.
#[derive(Debug)]
struct Hands(flume::Sender<Job>);

impl Resolve for Hands {
    fn resolve(&self, job: Job) -> Result<(), Job> {
        self.0.send(job).map_err(|unsent| unsent.0)
    }

    fn is_async(&self) -> bool {
        true
    }
}

/// What threads of one round share.
struct Round {
    engine: Engine,
    /// Events accepted, by channel.
    accepted: [AtomicU64; NAMES.len()],
    /// Everything was published: nobody subscribes any more, else resolvers would never be done.
    published: AtomicBool,
    over: AtomicBool,
    resolver: Arc<dyn Resolve>,
    ample: bool,
}

/// One subscription in the threads' test.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "a test's notes")]
struct Watched {
    at: usize,
    told: bool,
    asked: Option<Cursor>,
    /// The offset that comes next.
    next: u64,
    coalesces: bool,
    resolved: bool,
    lossy: bool,
    ended: bool,
}

impl Round {
    fn publish(&self, seed: u64, events: u64) {
        let mut random = Random(seed);
        for count in 0..events {
            let at = random.below(NAMES.len() as u64) as usize;
            let event = event(NAMES[at], count);
            let result = match random.below(4) {
                0 => self.engine.publish(event).map(|receipt| _ = receipt.wait()),
                1 => self.engine.try_publish(event).map(drop),
                _ => self.engine.publish_nowait(event),
            };
            match result {
                Ok(()) => _ = self.accepted[at].fetch_add(1, SeqCst),
                Err(PublishError::Full(_)) => thread::yield_now(),
                Err(PublishError::Closed) => return,
                Err(error) => panic!("{error}"),
            }
            if random.below(64) == 0 {
                (0..random.below(300)).for_each(|_| thread::yield_now());
            }
        }
    }

    /// Reads with many resumes until everything is over; answers how many.
    fn read(&self, seed: u64) -> u64 {
        let mut random = Random(seed);
        let mut seen: HashMap<usize, Cursor> = HashMap::new();
        let mut resumes = 0;
        'open: loop {
            let options = SubscriberOptions { wake: Wake::Waiter, ring_frames_max: None };
            let Ok(mut reader) = self.engine.open(options) else { return resumes };
            let mut watched: HashMap<String, Watched> = HashMap::new();
            loop {
                match random.below(40) {
                    0..3 if watched.len() < 4 && !self.published.load(SeqCst) => {
                        let id = format!("s{resumes}");
                        match self.subscribe(&mut reader, &id, &seen, &mut random) {
                            Some(new) => _ = watched.insert(id, new),
                            None => assert!(self.engine.is_closed()),
                        }
                        resumes += 1;
                    }
                    3 => {
                        if let Some(id) = watched.keys().next().cloned() {
                            reader.cancel(&id);
                            watched.remove(&id);
                        }
                    }
                    4 if random.below(10) == 0 && !self.published.load(SeqCst) => continue 'open,
                    _ => {}
                }
                // Read before it looks: what was accepted before the end is there then.
                let over = self.over.load(SeqCst);
                match reader.next_timeout(Duration::from_millis(random.below(3))) {
                    Some(message) => self.take(&message, &mut watched, &mut seen),
                    None if over => break,
                    None => {}
                }
            }
            for (id, watched) in &watched {
                let last = self.accepted[watched.at].load(SeqCst);
                assert!(watched.told, "{id} never learned whether it was resumed: {watched:?}");
                // Of what coalesces, replaced results and losses do not add up to offsets.
                let open = watched.ended || watched.coalesces && watched.lossy;
                assert!(open || watched.next == last + 1, "{id} misses the end, {last}: {watched:?}");
            }
            return resumes;
        }
    }

    fn subscribe(
        &self,
        reader: &mut Subscriber,
        id: &str,
        seen: &HashMap<usize, Cursor>,
        random: &mut Random,
    ) -> Option<Watched> {
        let at = random.below(NAMES.len() as u64) as usize;
        let asked = seen.get(&at).map(|cursor| {
            let back = match random.below(20) {
                0 => cursor.offset.0,
                1..10 => random.below(200),
                _ => 0,
            };
            Cursor { offset: Offset(cursor.offset.0.saturating_sub(back)), ..*cursor }
        });
        let text = asked.map_or_else(String::new, |cursor| cursor.to_string());
        let kind = random.below(8);
        let overflow = match kind {
            0 => Overflow::DropNewest,
            1 => Overflow::latest_per_key("none"),
            2 => Overflow::Disconnect,
            _ => Overflow::DropOldest,
        };
        let resolved = kind > 5 && self.ample;
        let resolver = resolved.then(|| Arc::clone(&self.resolver));
        let request = SubscribeRequest {
            overflow,
            resolver,
            per_subscription: kind == 7,
            ..request(id.into(), NAMES[at], Some(text))
        };
        match self.engine.subscribe(reader, request) {
            Ok(()) => {
                let (told, lossy, ended, coalesces) = (false, false, false, kind == 1);
                Some(Watched { at, told, asked, next: 0, coalesces, resolved, lossy, ended })
            }
            Err(SubscribeError::Closed) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn take(
        &self,
        Message { id, content }: &Message,
        watched: &mut HashMap<String, Watched>,
        seen: &mut HashMap<usize, Cursor>,
    ) {
        let sub = watched.get_mut(&**id).expect("a message of a subscription that has ended");
        assert!(!sub.ended, "{id}: {content:?} behind the end");
        match content {
            OwnedContent::Resumed(Resumed { result, cursor }) => {
                let cursor = cursor.unwrap();
                assert!(!std::mem::replace(&mut sub.told, true), "{id} was told twice");
                assert!(result.is_err() || Some(cursor) == sub.asked, "{id}: {content:?} {sub:?}");
                assert!(!self.ample || sub.asked.is_none() || result.is_ok(), "{id}: {content:?} {sub:?}");
                sub.next = cursor.offset.0 + 1;
                _ = seen.entry(sub.at).or_insert(cursor);
            }
            OwnedContent::Result(payload) => {
                let offset = payload.offset().0;
                assert!(sub.told, "{id} was not told whether it was resumed");
                let fits = if sub.coalesces { offset >= sub.next } else { offset == sub.next };
                assert!(fits, "{id} got {offset}: {sub:?}");
                sub.next = offset + 1;
                if let Some(cursor) = seen.get_mut(&sub.at) {
                    cursor.offset = payload.offset();
                }
            }
            OwnedContent::Gap(Gap { from, to, count, .. }) => {
                // Jobs without an answer when the engine closed.
                let unanswered = sub.resolved && self.engine.is_closed();
                assert!(sub.told && (!self.ample || unanswered), "{id}: {content:?} {sub:?}");
                assert!(from.0 <= sub.next, "{id}: {content:?} {sub:?}");
                sub.next += u64::from(*count);
                sub.lossy = true;
                let covers = to.is_none_or(|to| to.0 + 1 >= sub.next);
                assert!(covers, "{id}: {content:?} {sub:?}");
            }
            OwnedContent::Closed(_) | OwnedContent::Ended(_) => {
                assert!(!self.ample, "{id}: {content:?}");
                sub.ended = true;
            }
        }
    }
}

/// Publishers, readers that resume all the time and a resolver's threads, each a real thread, until the engine closes.
fn round(seed: u64) -> u64 {
    let events = number("COULIS_EVENTS", 1_500);
    let ample = seed % 2 == 1;
    let limits = Limits {
        ring_frames_max: if ample { 1 << 20 } else { 16 },
        ring_bytes_max: if ample { 1 << 30 } else { 4_000 },
        log_events_max: if ample { 1 << 20 } else { 300 },
        log_bytes_max: 1 << 30,
        logs_bytes_max: 1 << 30,
        // However slow the machine is.
        log_age_max: Duration::from_secs(1 << 30),
        replay_events_max: 1 << 20,
        resolver_pending_max: 1 << 20,
        ..Limits::default()
    };
    let engine = Engine::builder().shards(1 + (seed % 4) as usize).limits(limits).build().unwrap();
    let (jobs, work) = flume::bounded::<Job>(1 << 20);
    let resolver: Arc<dyn Resolve> = Arc::new(Hands(jobs));
    let (accepted, published, over) = (Default::default(), AtomicBool::new(false), AtomicBool::new(false));
    let round = Arc::new(Round { engine, accepted, published, over, resolver, ample });
    let hands: Vec<_> = (0..2)
        .map(|_| {
            let (work, round) = (work.clone(), Arc::clone(&round));
            thread::spawn(move || {
                while !round.over.load(SeqCst) {
                    let Ok(job) = work.recv_timeout(Duration::from_millis(5)) else { continue };
                    let result = job.event().document().text().as_bytes().to_vec();
                    job.answer(Ok(result));
                }
            })
        })
        .collect();
    let publishers: Vec<_> = (0..3)
        .map(|number| {
            let round = Arc::clone(&round);
            thread::spawn(move || round.publish(seed * 31 + number, events))
        })
        .collect();
    let readers: Vec<_> = (0..4)
        .map(|number| {
            let round = Arc::clone(&round);
            thread::spawn(move || round.read(seed * 37 + 100 + number))
        })
        .collect();
    if seed.is_multiple_of(3) {
        while round.engine.metrics().published < events {
            thread::yield_now();
        }
        round.engine.close();
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
    round.published.store(true, SeqCst);
    // The answers of resolvers come before the end, where they are exact.
    while !seed.is_multiple_of(3) && round.engine.metrics().resolver_calls > 0 && !work.is_empty() {
        thread::yield_now();
    }
    round.engine.close();
    round.over.store(true, SeqCst);
    let resumes = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    for hand in hands {
        hand.join().unwrap();
    }
    drop(work);
    let metrics = round.engine.metrics();
    assert_eq!(metrics.pending(), 0, "{metrics:?}");
    resumes
}

#[test]
fn threads_that_resume_miss_nothing() {
    let first = number("COULIS_SEED", 1);
    let mut resumes = 0;
    for seed in first..first + number("COULIS_RUNS", 3).min(10_000) {
        let outcome = std::panic::catch_unwind(|| round(seed));
        resumes += outcome.unwrap_or_else(|_| panic!("seen with COULIS_SEED={seed} COULIS_RUNS=1"));
        println!("seed {seed}: {resumes} resumes so far");
    }
}
