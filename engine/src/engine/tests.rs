//! What only the inside of an engine can show: taken shards, lost shards, and the end.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::{
    cursor::Epoch,
    id::Offset,
    limits::CONTROLS_LATER_MAX,
    notifier::Wake,
    shard::inbox::Inbox,
    subscriber::{Content, OwnedContent},
};

#[test]
fn an_event_that_finds_its_shard_taken_is_left_to_the_shards_thread() {
    let engine = Engine::builder().shards(1).build().unwrap();
    let inbox = engine.0.plane.inboxes()[0].clone();
    let event = || Event::new("e", "c", b"1".to_vec(), engine.limits()).unwrap();
    let publish = || std::iter::repeat_with(|| inbox.berth().with(|_| engine.publish(event()).unwrap()));
    // Many times: at first the thread may not have gone to sleep yet, and look by itself.
    for _ in 0..100 {
        // The thread may have its shard for a moment; then this one tries again.
        let receipt = publish().flatten().next().unwrap();
        let dispatched = (0..1_000_000).any(|_| {
            thread::yield_now();
            receipt.is_dispatched()
        });
        assert!(dispatched, "nobody was told");
    }
}

/// Has a shard panic in this thread's hands, just after `before`.
fn lose(inbox: &Inbox, before: impl Fn()) {
    let taken = || {
        inbox.berth().with(|_| {
            before();
            panic!("on purpose");
        })
    };
    // The pinned thread may have its shard for a moment; then this one tries again.
    while catch_unwind(AssertUnwindSafe(taken)).is_ok() {}
}

fn event(engine: &Engine, channel: &str) -> Event {
    Event::new("e", channel, b"1".to_vec(), engine.limits()).unwrap()
}

#[test]
fn nobody_waits_for_a_lost_shard() {
    let engine = Engine::builder().shards(1).build().unwrap();
    let inbox = engine.0.plane.inboxes()[0].clone();
    let receipt = std::cell::Cell::new(None);
    lose(&inbox, || receipt.set(Some(engine.publish(event(&engine, "c")).unwrap())));
    assert_eq!(receipt.take().unwrap().wait_all(), Report::default());
    assert!(matches!(engine.publish(event(&engine, "c")), Err(PublishError::Closed)));
}

#[test]
fn the_peers_of_a_lost_shard_go_on_and_the_engine_ends() {
    let engine = Engine::builder().shards(2).build().unwrap();
    let mut readers = [(); 2].map(|()| engine.open(SubscriberOptions::default()).unwrap());
    for reader in &mut readers {
        let (query, channels) = ("subscription { x }".into(), vec!["*".into()]);
        let request = SubscribeRequest { id: "s".into(), query, channels, ..SubscribeRequest::default() };
        engine.subscribe(reader, request).unwrap();
    }
    let home = |name: &String| engine.0.plane.home(name).unwrap().0;
    let here = (0..100).map(|number| format!("c{number}")).find(|name| home(name) == 0).unwrap();
    lose(&engine.0.plane.inboxes()[1], || {});
    for _ in 0..2 {
        engine.publish(event(&engine, &here)).unwrap().wait();
    }
    let got: usize = readers.iter_mut().map(|reader| reader.drain(10, |_| {})).sum();
    assert_eq!(got, 2, "those of the healthy shard");
    engine.close();
}

#[test]
fn what_a_carrier_brings_reaches_the_peers_of_a_lost_shard() {
    let engine = Engine::builder().shards(2).build().unwrap();
    engine.follow(Epoch(1), Offset(0), None);
    let home = |name: &String| engine.0.plane.home(name).unwrap().0;
    let named = |shard| (0..100).map(|number| format!("c{number}")).find(|name| home(name) == shard).unwrap();
    lose(&engine.0.plane.inboxes()[1], || {});
    // Their threads sleep: nobody else would wake them.
    for offset in 1..100 {
        let events = [(2 * offset, named(1)), (2 * offset + 1, named(0))];
        let events = events.map(|(offset, name)| (Offset(offset), event(&engine, &name)));
        engine.carry(events.into()).unwrap().iter().for_each(|receipt| _ = receipt.wait());
    }
    assert_eq!(engine.metrics().published, 99);
}

#[test]
fn closing_ends_whoever_else_is_there() {
    for _ in 0..200 {
        let engine = Engine::builder().shards(4).build().unwrap();
        let inbox = engine.0.plane.inboxes()[0].clone();
        let late = thread::spawn({
            let engine = engine.clone();
            move || {
                // The end of a publish that came just before.
                while !engine.is_closed() {
                    inbox.run(|| true);
                }
                inbox
            }
        });
        engine.close();
        assert!(late.join().unwrap().berth().unmoor().is_none(), "a shard was left behind");
    }
}

fn subscribe(engine: &Engine, reader: &mut Subscriber, id: &str, more: SubscribeRequest) {
    let query = "subscription { x }".into();
    engine.subscribe(reader, SubscribeRequest { id: id.into(), query, ..more }).unwrap();
}

/// The answer to a wish to resume, which is the first thing that is told.
fn told(reader: &mut Subscriber) -> Resumed {
    let mut told = None;
    // The pinned thread may have the shard for a moment.
    while told.is_none() {
        reader.drain(1, |delivery| match delivery.content {
            Content::Resumed(resumed) => told = Some(resumed),
            _ => panic!("{delivery:?}"),
        });
    }
    told.unwrap()
}

/// A resolver whose jobs are taken by hand.
#[derive(Debug)]
pub(super) struct Handed(pub(super) flume::Sender<Job>);

impl Resolve for Handed {
    fn resolve(&self, job: Job) -> Result<(), Job> {
        self.0.send(job).map_err(|unsent| unsent.0)
    }

    fn is_async(&self) -> bool {
        true
    }
}

#[test]
fn an_engine_that_would_take_nothing_at_once_is_not_built() {
    for limits in [
        Limits { batch_commands_max: 0, ..Limits::default() },
        Limits { inbox_commands_max: 0, ..Limits::default() },
    ] {
        let refused = Engine::builder().shards(1).limits(limits).build();
        assert!(
            matches!(refused, Err(BuildError::Limit(LimitExceeded { asked: 1, max: 0, .. }))),
            "{refused:?}"
        );
    }
}

#[test]
fn a_panic_of_a_resolvers_thread_harms_no_shard() {
    let engine = Engine::builder().shards(1).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let (jobs, work) = flume::bounded(1 << 10);
    let resolver: Option<Arc<dyn Resolve>> = Some(Arc::new(Handed(jobs)));
    let channels = vec!["c".into()];
    subscribe(&engine, &mut reader, "s", SubscribeRequest { channels, resolver, ..Default::default() });
    for _ in 0..100 {
        engine.publish(event(&engine, "c")).unwrap();
        let job = work.recv().unwrap();
        let hand = thread::spawn(move || {
            let _job = job;
            panic!("the user's code, on purpose");
        });
        assert!(hand.join().is_err());
        let message = reader.next_timeout(Duration::from_secs(5)).expect("the error is told");
        let OwnedContent::Result(payload) = message.content else { panic!("{message:?}") };
        assert!(String::from_utf8_lossy(payload.body()).contains("errors"));
    }
}

#[test]
fn a_wish_to_resume_that_is_answered_at_once_is_told_to_a_mailbox() {
    let engine = Engine::builder().shards(1).build().unwrap();
    let mailbox = crate::notifier::Mailbox::new(crate::notifier::unparker());
    let wake = Wake::Mailbox(Arc::clone(&mailbox), 7);
    let mut reader = engine.open(SubscriberOptions { wake, ring_frames_max: None }).unwrap();
    let (channels, resume) = (vec!["a".into(), "b".into()], Some(String::new()));
    subscribe(&engine, &mut reader, "s", SubscribeRequest { channels, resume, ..Default::default() });
    let mut listed = 0;
    mailbox.ready(|_| listed += 1);
    assert_eq!(listed, 1, "nobody reads the answer");
}

#[test]
fn a_reader_of_a_lost_shard_does_not_wait_for_ever() {
    let engine = Engine::builder().shards(1).build().unwrap();
    let inbox = engine.0.plane.inboxes()[0].clone();
    lose(&inbox, || {});
    inbox.wake();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    engine.close();
    let start = std::time::Instant::now();
    assert!(reader.next_timeout(Duration::from_secs(3)).is_none());
    assert!(start.elapsed() < Duration::from_secs(2), "nothing can come, but it waits");
}

/// Refuses every job: what it would have made is lost, by frames without a body.
#[derive(Debug)]
struct Refusing;

impl Resolve for Refusing {
    fn resolve(&self, job: Job) -> Result<(), Job> {
        Err(job)
    }

    fn is_async(&self) -> bool {
        true
    }
}

#[test]
fn a_reader_that_resumes_again_and_again_and_never_reads_is_bounded() {
    let limits = Limits { ring_frames_max: 8, replay_events_max: 100, ..Limits::default() };
    let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let options = |resume| SubscribeRequest {
        channels: vec!["c".into()],
        resolver: Some(Arc::new(Refusing)),
        resume: Some(resume),
        ..Default::default()
    };
    subscribe(&engine, &mut reader, "first", options(String::new()));
    let start = told(&mut reader).cursor;
    reader.cancel("first");
    (0..100).for_each(|_| _ = engine.publish(event(&engine, "c")).unwrap().wait());
    for _ in 0..100 {
        subscribe(&engine, &mut reader, "s", options(start.unwrap().to_string()));
        reader.cancel("s");
    }
    engine.close();
    let mut waiting = 0;
    let ring = reader.ring_for_tests();
    while ring.take(usize::MAX, |_, _| waiting += 1) > 0 {}
    assert!(waiting <= 8 + 100, "{waiting} frames wait for a reader of 8, and 100 to replay");
}

#[test]
fn what_latest_per_key_keeps_aside_is_bounded_in_bytes() {
    let limits = Limits { ring_bytes_max: 10_000, ..Limits::default() };
    let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let (query, overflow) = ("subscription { x { k t } }".into(), Overflow::latest_per_key("k"));
    let request = SubscribeRequest {
        id: "s".into(),
        query,
        channels: vec!["c".into()],
        overflow,
        ..Default::default()
    };
    engine.subscribe(&mut reader, request).unwrap();
    for key in 0..500 {
        let document = format!(r#"{{"k":{key},"t":"{}"}}"#, "x".repeat(5_000)).into_bytes();
        let event = Event::new("e", "c", document, engine.limits()).unwrap();
        engine.publish(event).unwrap().wait();
    }
    let metrics = engine.metrics();
    let waiting = metrics.pending();
    assert!(waiting <= 10, "{waiting} bodies of 5,000 bytes wait where 10,000 bytes may: {metrics:?}");
}

#[test]
fn what_was_handed_out_leaves_room() {
    let limits = Limits { ring_bytes_max: 10_000, ..Limits::default() };
    let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let (channels, overflow) = (vec!["c".into()], Overflow::Disconnect);
    subscribe(&engine, &mut reader, "s", SubscribeRequest { channels, overflow, ..Default::default() });
    engine.publish(event(&engine, "c")).unwrap().wait();
    let mut got = 0;
    reader.drain(1_000, |delivery| {
        assert!(matches!(delivery.content, Content::Result(_)), "{delivery:?}: it never had more than one");
        got += 1;
        if got < 1_000 {
            engine.publish(event(&engine, "c")).unwrap().wait();
        }
    });
    assert_eq!(got, 1_000);
}

/// A place that is used again must not lead to what another document selects.
#[test]
fn bodies_of_many_documents_stay_apart() {
    let engine = Engine::builder().shards(1).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let mut alive = std::collections::VecDeque::new();
    for number in 0..300 {
        let (id, query) = (format!("s{number}"), format!("subscription {{ x {{ f{number}: n }} }}"));
        let request =
            SubscribeRequest { id: id.clone(), query, channels: vec!["c".into()], ..Default::default() };
        engine.subscribe(&mut reader, request).unwrap();
        alive.push_back(id);
        if number % 3 == 0 || alive.len() > 20 {
            let gone = alive.remove(number * 7 % alive.len()).unwrap();
            assert!(reader.cancel(&gone));
        }
        let event = Event::new("e", "c", br#"{"n":1}"#.to_vec(), engine.limits()).unwrap();
        engine.publish(event).unwrap().wait();
        let mut seen = 0;
        reader.drain(usize::MAX, |delivery| {
            let Content::Result(payload) = delivery.content else { panic!("{delivery:?}") };
            let wanted = format!(r#"{{"data":{{"x":{{"f{}":1}}}}"#, &delivery.id[1..]);
            let body = String::from_utf8_lossy(payload.body());
            assert!(body.starts_with(&wanted), "{} got {body}", delivery.id);
            seen += 1;
        });
        assert_eq!(seen, alive.len());
    }
}

#[test]
fn a_replay_brings_only_the_event_types_that_are_wanted() {
    let engine = Engine::builder().shards(1).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let options = |resume: String| SubscribeRequest {
        channels: vec!["c".into()],
        events: vec!["wanted".into()],
        resume: Some(resume),
        ..Default::default()
    };
    subscribe(&engine, &mut reader, "first", options(String::new()));
    let start = told(&mut reader).cursor;
    reader.cancel("first");
    for kind in ["wanted", "other", "wanted"] {
        let event = Event::new(kind, "c", b"1".to_vec(), engine.limits()).unwrap();
        engine.publish(event).unwrap().wait();
    }
    subscribe(&engine, &mut reader, "s", options(start.unwrap().to_string()));
    let mut offsets = Vec::new();
    reader.drain(10, |delivery| {
        if let Content::Result(payload) = delivery.content {
            offsets.push(payload.offset().0);
        }
    });
    assert_eq!(offsets, [1, 3]);
}

#[test]
fn a_mailbox_is_reminded_of_what_was_left() {
    let engine = Engine::builder().shards(1).build().unwrap();
    let mailbox = crate::notifier::Mailbox::new(crate::notifier::unparker());
    let wake = Wake::Mailbox(Arc::clone(&mailbox), 7);
    let mut reader = engine.open(SubscriberOptions { wake, ring_frames_max: None }).unwrap();
    subscribe(
        &engine,
        &mut reader,
        "s",
        SubscribeRequest { channels: vec!["c".into()], ..Default::default() },
    );
    (0..3).for_each(|_| _ = engine.publish(event(&engine, "c")).unwrap().wait());
    for left in [2, 1, 0] {
        let mut listed = 0;
        mailbox.ready(|_| listed += 1);
        assert_eq!((listed, reader.drain(1, |_| {})), (1, 1), "{left} left");
    }
}

#[test]
fn what_was_kept_for_a_cancelled_subscription_is_discarded() {
    let limits = Limits { ring_frames_max: 8, ..Limits::default() };
    let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let (channels, overflow) = (vec!["c".into()], Overflow::latest_per_key("k"));
    subscribe(&engine, &mut reader, "s", SubscribeRequest { channels, overflow, ..Default::default() });
    (0..20).for_each(|_| _ = engine.publish(event(&engine, "c")).unwrap().wait());
    assert_eq!(engine.metrics().pending(), 9);
    reader.cancel("s");
    for _ in 0..1_000_000 {
        reader.drain(usize::MAX, |delivery| panic!("{delivery:?}"));
        if engine.metrics().pending() == 0 {
            break;
        }
        thread::yield_now();
    }
    assert_eq!(engine.metrics().pending(), 0, "{:?}", engine.metrics());
}

#[test]
fn a_small_result_does_not_overtake_one_that_is_kept() {
    let limits = Limits { ring_bytes_max: 1_000, log_events_max: 0, ..Limits::default() };
    let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    for channel in ["a", "b"] {
        let (query, overflow) = ("subscription { x { k t } }".into(), Overflow::latest_per_key("k"));
        let channels = vec![channel.into()];
        let request =
            SubscribeRequest { id: channel.into(), query, channels, overflow, ..Default::default() };
        engine.subscribe(&mut reader, request).unwrap();
    }
    let publish = |channel, key: u32, bytes| {
        let document = format!(r#"{{"k":{key},"t":"{}"}}"#, "x".repeat(bytes)).into_bytes();
        engine.publish(Event::new("e", channel, document, engine.limits()).unwrap()).unwrap().wait();
    };
    // Of 1,000 bytes four results of 240 fit, or three and none of 300.
    (0..3).for_each(|key| publish("b", key, 209));
    publish("a", 0, 269);
    (3..5).for_each(|key| publish("b", key, 209));
    let offsets = std::cell::RefCell::new(Vec::new());
    let take = |reader: &mut Subscriber, max| {
        reader.drain(max, |delivery| match delivery.content {
            Content::Result(payload) if delivery.id == "b" => offsets.borrow_mut().push(payload.offset().0),
            Content::Result(_) => {}
            _ => panic!("{delivery:?}"),
        })
    };
    take(&mut reader, 1);
    publish("b", 5, 209);
    // The shard's thread refills.
    while offsets.borrow().len() < 6 {
        take(&mut reader, 10);
    }
    assert_eq!(offsets.into_inner(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_replay_that_is_too_much_for_its_resolver_is_refused() {
    let limits = Limits { resolver_pending_max: 4, ..Limits::default() };
    let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let (jobs, work) = flume::bounded(1 << 10);
    let resolver: Arc<dyn Resolve> = Arc::new(Handed(jobs));
    let options = |resume: String| SubscribeRequest {
        channels: vec!["c".into()],
        resolver: Some(Arc::clone(&resolver)),
        resume: Some(resume),
        ..Default::default()
    };
    subscribe(&engine, &mut reader, "first", options(String::new()));
    let start = told(&mut reader).cursor.unwrap();
    reader.cancel("first");
    (0..5).for_each(|_| _ = engine.publish(event(&engine, "c")).unwrap().wait());
    subscribe(&engine, &mut reader, "five", options(start.to_string()));
    assert_eq!(told(&mut reader).result, Err(Reload::Trimmed));
    let start = Cursor { offset: crate::id::Offset(1), ..start };
    subscribe(&engine, &mut reader, "four", options(start.to_string()));
    assert_eq!(told(&mut reader).result, Ok(()));
    // Jobs know their resolver, which knows the queue.
    work.drain().for_each(drop);
}

/// Another subscription's kept results must not take the room that was made for a replay.
#[test]
fn a_replay_that_coalesces_is_complete_too() {
    let limits = Limits { ring_frames_max: 8, ..Limits::default() };
    let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    let options = |channel: &str, key: &str, resume: Option<String>| SubscribeRequest {
        channels: vec![channel.into()],
        overflow: Overflow::latest_per_key(key),
        resume,
        ..Default::default()
    };
    subscribe(&engine, &mut reader, "first", options("c", "none", Some(String::new())));
    let start = told(&mut reader).cursor;
    reader.cancel("first");
    (0..20).for_each(|_| _ = engine.publish(event(&engine, "c")).unwrap().wait());
    subscribe(&engine, &mut reader, "busy", options("busy", "k", None));
    for key in 0..30 {
        let document = format!(r#"{{"k":{key}}}"#).into_bytes();
        engine.publish(Event::new("e", "busy", document, engine.limits()).unwrap()).unwrap().wait();
    }
    subscribe(&engine, &mut reader, "s", options("c", "none", start.map(|cursor| cursor.to_string())));
    let (mut told, mut offsets) = (None, Vec::new());
    for _ in 0..1_000_000 {
        reader.drain(usize::MAX, |delivery| match delivery.content {
            Content::Resumed(resumed) => told = Some(resumed.result),
            Content::Result(payload) if delivery.id == "s" => offsets.push(payload.offset().0),
            _ => {}
        });
        if offsets.len() == 20 || matches!(told, Some(Err(_))) {
            break;
        }
        thread::yield_now();
    }
    let complete = told.unwrap().is_ok();
    assert!(!complete || offsets.iter().copied().eq(1..=20), "said to be complete: {offsets:?}");
}

#[test]
fn each_shard_tells_what_it_counts_and_what_waits_for_it() {
    let engine = Engine::builder().shards(2).build().unwrap();
    let mut readers: Vec<_> = (0..3).map(|_| engine.open(SubscriberOptions::default()).unwrap()).collect();
    for reader in &mut readers {
        subscribe(
            &engine,
            reader,
            "s",
            SubscribeRequest { channels: vec!["c".into()], ..Default::default() },
        );
    }
    let home = usize::from(engine.0.plane.home("c").unwrap().0);
    let inbox = engine.0.plane.inboxes()[home].clone();
    let left_waiting = || {
        inbox.berth().with(|_| {
            let receipts = [(); 2].map(|()| engine.publish(event(&engine, "c")).unwrap());
            (receipts, engine.shard_metrics()[home].waiting)
        })
    };
    // The pinned thread may have its shard for a moment; then this one tries again.
    let (receipts, waiting) = std::iter::repeat_with(left_waiting).flatten().next().unwrap();
    assert_eq!(waiting, 2);
    for receipt in receipts {
        receipt.wait();
    }
    for reader in &mut readers {
        assert_eq!(reader.drain(usize::MAX, |_| {}), 2);
    }

    let shards = engine.shard_metrics();
    let of =
        |shard: usize| readers.iter().filter(|reader| usize::from(reader.shard().0) == shard).count() as u64;
    for (shard, metrics) in shards.iter().enumerate() {
        let published = if shard == home { 2 } else { 0 };
        let subscriptions = of(shard);
        let delivered = 2 * subscriptions;
        assert_eq!(*metrics, ShardMetrics { waiting: 0, published, delivered, subscriptions });
    }
    assert!(of(0) > 0 && of(1) > 0, "readers are spread");
    let all = engine.metrics();
    assert_eq!((all.published, all.delivered, all.subscriptions), (2, 6, 3));
    drop(readers);
    assert!(engine.shard_metrics().iter().all(|shard| shard.subscriptions == 0));
    let told = ShardMetrics::prometheus(&shards);
    assert!(
        told.contains("# TYPE coulis_shard_waiting gauge\ncoulis_shard_waiting{shard=\"0\"} 0\n"),
        "{told}"
    );
    assert!(told.contains(&format!("coulis_shard_published_total{{shard=\"{home}\"}} 2\n")), "{told}");
}

#[test]
fn what_quiet_readers_leave_is_taken_in_without_an_event() {
    let engine = Engine::builder().shards(1).build().unwrap();
    let inbox = engine.0.plane.inboxes()[0].clone();
    let comes = |condition: &dyn Fn() -> bool| {
        (0..1_000_000).any(|_| {
            thread::yield_now();
            condition()
        })
    };
    for _ in 0..1_000 {
        drop(engine.open(SubscriberOptions::default()).unwrap());
    }
    assert!(comes(&|| inbox.controls() <= CONTROLS_LATER_MAX), "{} wait", inbox.controls());
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    subscribe(
        &engine,
        &mut reader,
        "s",
        SubscribeRequest { channels: vec!["c".into()], ..Default::default() },
    );
    drop(reader);
    assert!(comes(&|| inbox.is_empty()), "one that had a subscription is forgotten at once");
}
