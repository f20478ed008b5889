//! The end of an engine under load, in processes of their own: every event that was accepted is delivered, or lost
//! and told to its reader, event by event.
//!
//! A seed decides everything that can be decided: shards, bounds, who reads how, when the end begins, how much time it
//! has. `COULIS_PROCESSES` says how many processes there are, `COULIS_SEED` repeats the one that failed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use coulis::{
    engine::{Engine, Job, PublishError, PublishManyError, Receipt, Resolve, SubscribeRequest, Undelivered},
    event::Event,
    limits::Limits,
    overflow::Overflow,
    subscriber::{Content, Gap, Subscriber, SubscriberOptions},
};
use coulis_tests::{build, event_for, random::Random, request_for};

const CHANNELS: [&str; 3] = ["a", "b", "c"];
const TENANTS: [&str; 3] = ["", "t1", "t2"];
const PUBLISHERS: u64 = 3;
/// Who waits longer than this waits for ever.
const GUARD: Duration = Duration::from_secs(120);
/// Processes at the same time: more than most machines have cores, so that each is under load.
const AT_ONCE: usize = 4;

/// An event that was accepted, by its number.
type Accepted = BTreeMap<u64, (&'static str, &'static str)>;

/// A resolver that hands its jobs to a thread.
#[derive(Debug)]
struct Handed(Sender<Option<Job>>);

impl Resolve for Handed {
    fn resolve(&self, job: Job) -> Result<(), Job> {
        self.0.send(Some(job)).map_err(|unsent| unsent.0.expect("a job"))
    }

    fn is_async(&self) -> bool {
        true
    }
}

/// How a subscription is read, and what that allows it to miss.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Its ring is never full: it misses nothing but what is named.
    Roomy,
    /// Nobody reads until the end; its ring is full before.
    Stalled,
    /// Its results come late and out of order.
    Slow,
    /// Its results never come.
    Never,
}

/// One reader with one subscription, and what it got.
struct Reader {
    name: String,
    kind: Kind,
    channel: &'static str,
    tenant: &'static str,
    overflow: Overflow,
    results: Vec<(u64, u64)>,
    gaps: Vec<Gap>,
    ended: bool,
}

impl Reader {
    fn take(&mut self, content: &Content<'_>) {
        assert!(!self.ended, "{}: something behind the end", self.name);
        match content {
            Content::Result(payload) => {
                let value: serde_json::Value = serde_json::from_slice(payload.body()).expect("JSON");
                let number = value["data"]["x"]["n"].as_u64().unwrap_or_else(|| panic!("{value}"));
                self.results.push((payload.offset().0, number));
            }
            Content::Gap(gap) => self.gaps.push(*gap),
            Content::Ended(gap) => {
                self.gaps.push(*gap);
                self.ended = true;
            }
            Content::Resumed(_) => panic!("{}: nobody asked to resume", self.name),
            Content::Closed(end) => panic!("{}: {end:?}", self.name),
        }
    }

    fn wants(&self, &(channel, tenant): &(&str, &str)) -> bool {
        (self.channel == "*" || self.channel == channel) && (tenant.is_empty() || tenant == self.tenant)
    }
}

/// Publishes in every way there is, until the engine refuses. Answers what was accepted, and receipts.
fn publish(
    engine: &Engine,
    publisher: u64,
    mut random: Random,
    on_accepted: impl Fn(usize),
) -> (Accepted, Vec<(u64, Receipt)>) {
    let (mut accepted, mut receipts) = (Accepted::new(), Vec::new());
    let mut next = publisher << 32;
    loop {
        let count = if random.below(8) == 0 { 1 + random.below(20) as u64 } else { 1 };
        let facts: Vec<_> =
            (next..next + count).map(|n| (n, (random.pick(&CHANNELS), random.pick(&TENANTS)))).collect();
        next += count;
        let event = |&(n, (channel, tenant)): &(u64, (&str, &str))| -> Event {
            event_for(channel, &format!(r#"{{"n":{n},"k":{}}}"#, n % 7), tenant, "")
        };
        let taken = if let [fact] = &facts[..] {
            let result = match random.below(3) {
                0 => engine.publish_nowait(event(fact)).map(|()| None),
                1 => engine.try_publish(event(fact)).map(Some),
                _ => engine.publish(event(fact)).map(Some),
            };
            match result {
                Ok(receipt) => {
                    receipts.extend(receipt.map(|receipt| (fact.0, receipt)));
                    true
                }
                Err(PublishError::Full(_)) => false,
                Err(PublishError::Closed) => return (accepted, receipts),
                Err(error) => panic!("{error}"),
            }
        } else {
            match engine.publish_many(facts.iter().map(event).collect()) {
                Ok(more) => {
                    receipts.extend(facts.iter().map(|fact| fact.0).zip(more));
                    true
                }
                Err(PublishManyError::Full(_)) => false,
                Err(PublishManyError::Closed) => return (accepted, receipts),
                Err(error) => panic!("{error}"),
            }
        };
        if taken {
            on_accepted(facts.len());
            accepted.extend(facts);
        } else {
            thread::yield_now();
        }
    }
}

/// Answers jobs `at_once`, the last one first; the rest when there are no more.
fn answer(jobs: &Receiver<Option<Job>>, at_once: usize) {
    let mut waiting = Vec::new();
    let answer_all = |waiting: &mut Vec<Job>| {
        for job in waiting.drain(..).rev() {
            let result = format!(r#"{{"x":{}}}"#, job.event().document().text());
            job.answer(Ok(result.into_bytes()));
        }
    };
    while let Ok(Some(job)) = jobs.recv() {
        waiting.push(job);
        if waiting.len() == at_once {
            answer_all(&mut waiting);
        }
    }
    answer_all(&mut waiting);
}

/// Whoever is to read, and how.
fn subscribe(
    engine: &Engine,
    random: &mut Random,
    slow: &Arc<dyn Resolve>,
    never: &Arc<dyn Resolve>,
) -> Vec<(Reader, Subscriber)> {
    let stalled =
        [Overflow::DropOldest, Overflow::DropNewest, Overflow::Disconnect, Overflow::latest_per_key("k")];
    let mut forms: Vec<_> = stalled.into_iter().map(|overflow| (Kind::Stalled, overflow)).collect();
    for kind in [Kind::Roomy, Kind::Roomy, Kind::Roomy, Kind::Slow, Kind::Never] {
        forms.push((kind, Overflow::DropOldest));
    }
    let mut readers = Vec::new();
    for (number, (kind, overflow)) in forms.into_iter().enumerate() {
        let tenant = random.pick(&TENANTS[1..]);
        let anywhere = if matches!(kind, Kind::Slow | Kind::Never) { "a" } else { "*" };
        let channel = random.pick(&["a", "b", "c", anywhere]);
        let name = format!(
            "{number} {kind:?} {overflow} on {channel}",
            overflow = match overflow {
                Overflow::DropOldest => "drop_oldest",
                Overflow::DropNewest => "drop_newest",
                Overflow::Disconnect => "disconnect",
                Overflow::LatestPerKey(_) => "latest_per_key",
            }
        );
        let frames = (kind == Kind::Stalled).then(|| random.pick(&[8, 64]));
        let options = SubscriberOptions { ring_frames_max: frames, ..SubscriberOptions::default() };
        let mut subscriber = engine.open(options).expect("a subscriber");
        let resolver = match kind {
            Kind::Slow => Some(Arc::clone(slow)),
            Kind::Never => Some(Arc::clone(never)),
            _ => None,
        };
        let request = SubscribeRequest {
            channels: vec![channel.into()],
            overflow: overflow.clone(),
            resolver,
            ..request_for("s", "subscription { x { n } }", tenant, "")
        };
        engine.subscribe(&mut subscriber, request).expect("a subscription");
        let (results, gaps, ended) = (Vec::new(), Vec::new(), false);
        let reader = Reader { name, kind, channel, tenant, overflow, results, gaps, ended };
        readers.push((reader, subscriber));
    }
    readers
}

/// Reads on a thread of its own as long as something can come.
fn read(mut reader: Reader, mut subscriber: Subscriber) -> JoinHandle<Reader> {
    thread::spawn(move || {
        while let Some(message) = subscriber.next_timeout(GUARD) {
            reader.take(&message.content.borrow());
        }
        reader
    })
}

/// What became of each accepted event, for each reader that wants it.
struct Books {
    accepted: Accepted,
    /// Events that the engine named, and how many deliveries of each were lost.
    named: BTreeMap<u64, u64>,
    /// Where events stand in their channels, as far as anybody got or was told them.
    offsets: HashMap<u64, u64>,
}

impl Books {
    fn new(accepted: Accepted, undelivered: &[Undelivered], readers: &[Reader]) -> Self {
        let (mut named, mut offsets) = (BTreeMap::new(), HashMap::new());
        for one in undelivered {
            let document: serde_json::Value =
                serde_json::from_str(one.event().document().text()).expect("JSON");
            let number = document["n"].as_u64().expect("a number");
            assert_eq!(accepted.get(&number).map(|fact| fact.0), Some(one.event().channel()), "{one:?}");
            assert!(named.insert(number, one.deliveries()).is_none(), "{one:?} was named twice");
            offsets.insert(number, one.offset().0);
        }
        for &(offset, number) in readers.iter().flat_map(|reader| &reader.results) {
            assert_eq!(*offsets.entry(number).or_insert(offset), offset, "event {number} has two places");
        }
        Self { accepted, named, offsets }
    }

    /// Holds one reader against what it is owed. Answers the events that it misses.
    fn check(&self, reader: &Reader) -> BTreeSet<u64> {
        let Reader { name, kind, results, gaps, overflow, .. } = reader;
        let owed: BTreeSet<_> =
            self.accepted.iter().filter(|(_, fact)| reader.wants(fact)).map(|(number, _)| *number).collect();
        let got: BTreeSet<_> = results.iter().map(|(_, number)| *number).collect();
        assert_eq!(got.len(), results.len(), "{name}: an event came twice");
        assert!(got.is_subset(&owed), "{name}: got what is not for it");
        let mut last = HashMap::new();
        for &(offset, number) in results {
            let before = last.insert(self.accepted[&number].0, offset);
            assert!(before < Some(offset), "{name}: out of order");
        }
        let missing: BTreeSet<_> = owed.difference(&got).copied().collect();
        if reader.ended {
            return missing;
        }
        let told: u64 = gaps.iter().map(|gap| u64::from(gap.count)).sum();
        match overflow {
            // What a newer one of its key replaced is no loss.
            Overflow::LatestPerKey(_) => assert!(told <= missing.len() as u64, "{name}: told of too many"),
            _ => assert_eq!(told, missing.len() as u64, "{name}: told {gaps:?}, misses {missing:?}"),
        }
        if reader.channel != "*" && !matches!(overflow, Overflow::LatestPerKey(_)) {
            for number in &missing {
                let Some(&offset) = self.offsets.get(number) else { continue };
                let covers = |gap: &Gap| gap.from.0 <= offset && gap.to.is_none_or(|to| offset <= to.0);
                assert!(gaps.iter().any(covers), "{name}: misses {number} at {offset} outside of {gaps:?}");
            }
        }
        if *kind == Kind::Roomy {
            let unnamed: Vec<_> = missing.iter().filter(|number| !self.named.contains_key(number)).collect();
            assert!(unnamed.is_empty(), "{name}: misses {unnamed:?}, which nobody named");
        }
        missing
    }
}

/// A seeded engine with all kinds of readers, its end under load, and the reckoning. Answers a line about it.
fn run(seed: u64) -> String {
    let mut random = Random(seed);
    let shards = 1 + random.below(4);
    let limits = Limits {
        inbox_commands_max: random.pick(&[64, 1_024, 65_536]),
        batch_commands_max: random.pick(&[4, 512]),
        resolver_pending_max: if seed % 4 == 3 { 1 << 20 } else { random.pick(&[16, 65_536]) },
        ring_frames_max: 1 << 20,
        ring_bytes_max: 1 << 30,
        publish_wait_max: GUARD,
        ..Limits::default()
    };
    // One in four has all the time it needs, and nobody who makes it wait for ever.
    let unhurried = seed % 4 == 3;
    let patience =
        if unhurried { GUARD / 2 } else { Duration::from_millis(random.pick(&[0, 0, 1, 5, 20, 60])) };
    let begin = random.pick(&[0, 1, 100, 2_000, 10_000]) + random.below(1_000);
    let engine = build(Engine::builder().shards(shards).limits(limits));

    let (to_slow, slow_jobs) = channel();
    let (to_never, never_jobs) = channel();
    let (slow, never): (Arc<dyn Resolve>, Arc<dyn Resolve>) =
        (Arc::new(Handed(to_slow.clone())), Arc::new(Handed(to_never)));
    let answering = thread::spawn(move || answer(&slow_jobs, if unhurried { 1 } else { 8 }));
    let (mut stalled, mut reading) = (Vec::new(), Vec::new());
    for (reader, subscriber) in subscribe(&engine, &mut random, &slow, &never) {
        if unhurried && reader.kind == Kind::Never {
            continue;
        }
        if reader.kind == Kind::Stalled {
            stalled.push((reader, subscriber));
        } else {
            reading.push(read(reader, subscriber));
        }
    }

    let count = Arc::new(AtomicUsize::new(0));
    let (at_mark, mark) = channel();
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let (engine, count, at_mark) = (engine.clone(), Arc::clone(&count), at_mark.clone());
            let random = Random(seed ^ (publisher + 1) << 40);
            thread::spawn(move || {
                publish(&engine, publisher, random, |more| {
                    let before = count.fetch_add(more, Ordering::Relaxed);
                    if before <= begin && begin < before + more {
                        at_mark.send(()).expect("somebody waits for this");
                    }
                })
            })
        })
        .collect();
    mark.recv_timeout(GUARD).expect("enough is accepted");
    let (took, undelivered) = end(&engine, patience);
    assert!(!unhurried || undelivered.is_empty(), "given up in good time: {undelivered:?}");

    let (mut accepted, mut receipts) = (Accepted::new(), Vec::new());
    for publisher in publishing {
        let (more, more_receipts) = publisher.join().expect("a publisher");
        accepted.extend(more);
        receipts.extend(more_receipts);
    }
    let mut readers: Vec<_> = reading.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    for (mut reader, mut subscriber) in stalled {
        while subscriber.drain(usize::MAX, |delivery| reader.take(&delivery.content)) > 0 {}
        readers.push(reader);
    }

    let books = Books::new(accepted, &undelivered, &readers);
    let mut missing = HashMap::new();
    for reader in &readers {
        for number in books.check(reader) {
            *missing.entry(number).or_insert(0) += 1;
        }
    }
    for (number, deliveries) in &books.named {
        let missing = missing.get(number).copied().unwrap_or(0);
        assert!(*deliveries <= missing, "event {number}: {deliveries} are said to be lost, {missing} are");
    }
    for (number, receipt) in &receipts {
        assert!(receipt.is_done(), "event {number} is under way for ever");
        let named = books.named.get(number).copied().unwrap_or(0);
        assert!(receipt.report().failed >= named, "event {number}: {named} of {:?}", receipt.report());
    }
    let metrics = engine.metrics();
    assert_eq!(metrics.published as usize, books.accepted.len(), "accepted and never stamped");
    assert_eq!(metrics.pending(), 0, "{metrics:?}");
    let lost = metrics.coalesced
        + metrics.dropped
        + metrics.discarded
        + metrics.denied
        + metrics.rate_limited
        + metrics.failed;
    assert_eq!(metrics.matched, metrics.delivered + lost, "{metrics:?}");
    to_slow.send(None).expect("somebody answers");
    answering.join().expect("who answers");
    drop(never_jobs);
    format!(
        "seed={seed} shards={shards} accepted={} delivered={} named={} lost_named={} patience_us={} took_us={}",
        books.accepted.len(),
        metrics.delivered,
        books.named.len(),
        books.named.values().sum::<u64>(),
        patience.as_micros(),
        took.as_micros(),
    )
}

/// Closes the engine on a thread of its own, so that an end that never comes is a failure and no waiting.
fn end(engine: &Engine, patience: Duration) -> (Duration, Vec<Undelivered>) {
    let (tell, told) = channel();
    let engine = engine.clone();
    let closing = thread::spawn(move || {
        let start = Instant::now();
        let undelivered = engine.close_within(patience);
        // Who waits for this has given up already, if it fails.
        _ = tell.send((start.elapsed(), undelivered));
    });
    let ended = told.recv_timeout(GUARD).expect("the engine ends");
    closing.join().expect("who closes");
    ended
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// One process' part of the test below; run by itself it is one more seed.
#[test]
fn an_engine_that_ends_accounts_for_what_it_accepted() {
    println!("\n{}", run(number("COULIS_SEED").unwrap_or(1)));
}

#[test]
fn a_hundred_processes_end_and_account_for_every_event() {
    let processes: Vec<_> = (0..number("COULIS_PROCESSES").unwrap_or(100)).collect();
    let program = env::current_exe().expect("this program");
    let mut reports = Vec::new();
    for seeds in processes.chunks(AT_ONCE) {
        let children: Vec<_> = seeds
            .iter()
            .map(|seed| {
                Command::new(&program)
                    .args(["--exact", "an_engine_that_ends_accounts_for_what_it_accepted", "--nocapture"])
                    .env("COULIS_SEED", seed.to_string())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("a process")
            })
            .collect();
        for (seed, child) in seeds.iter().zip(children) {
            let output = child.wait_with_output().expect("its end");
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "repeat with COULIS_SEED={seed}\n{out}\n{err}");
            let line = out.lines().find(|line| line.starts_with("seed=")).expect("a report");
            reports.push(fields(line));
        }
    }
    assert!(reports.iter().any(|report| report["named"] > 0), "no process was interrupted");
    let sum = |name: &str| reports.iter().map(|report| report[name]).sum::<u64>();
    let late = |report: &HashMap<String, u64>| report["took_us"].saturating_sub(report["patience_us"]);
    let hurried = reports.iter().filter(|report| report["named"] > 0);
    let mut lates: Vec<_> = hurried.map(late).collect();
    lates.sort_unstable();
    // The times are told and not asserted: on a machine with other work they say nothing about the engine.
    println!(
        "{} processes, {} of them interrupted: {} accepted, {} deliveries read, {} events named with {} deliveries; \
         beyond the deadline: {} us at the median, {} us at most",
        reports.len(),
        lates.len(),
        sum("accepted"),
        sum("delivered"),
        sum("named"),
        sum("lost_named"),
        lates[lates.len() / 2],
        lates[lates.len() - 1],
    );
    assert!(reports.iter().any(|report| report["named"] == 0), "no process was left its time");
}

/// The `name=number` pairs of a line.
fn fields(line: &str) -> HashMap<String, u64> {
    let field = |pair: &str| {
        let (name, value) = pair.split_once('=').expect("a pair");
        (name.to_owned(), value.parse().expect("a number"))
    };
    line.split(' ').map(field).collect()
}
