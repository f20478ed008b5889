//! An engine that follows a carrier: offsets and cursors of the carrier, what it lost, and resuming on another node.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::collections::BTreeMap;

use super::{tests::Handed, *};
use crate::{
    cursor::Epoch,
    id::{Millis, Offset},
    notifier::Wake,
    subscriber::{Content, OwnedContent},
};

const EPOCH: Epoch = Epoch(40);

fn engine(shards: usize) -> Engine {
    let limits = Limits { log_events_max: 100, ..Limits::default() };
    Engine::builder().shards(shards).limits(limits).build().unwrap()
}

fn event(engine: &Engine, channel: &str) -> Event {
    Event::new("e", channel, br#"{"id":1}"#.to_vec(), engine.limits()).unwrap()
}

fn carry(engine: &Engine, events: &[(u64, &str)]) {
    let events = events.iter().map(|&(offset, channel)| (Offset(offset), event(engine, channel)));
    for receipt in engine.carry(events.collect()).unwrap() {
        receipt.wait();
    }
}

fn subscribe(engine: &Engine, reader: &mut Subscriber, channel: &str, resume: Option<&str>) {
    let (id, query) = (channel.to_owned(), format!("subscription {{ {channel} {{ id }} }}"));
    let resume = resume.map(String::from);
    engine.subscribe(reader, SubscribeRequest { id, query, resume, ..Default::default() }).unwrap();
}

/// What a reader gets, by subscription: the body of each message.
fn read(reader: &mut Subscriber) -> BTreeMap<String, Vec<String>> {
    let mut read: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(message) = reader.try_next() {
        let body = match &message.content {
            OwnedContent::Result(payload) => String::from_utf8(payload.body().to_vec()).unwrap(),
            OwnedContent::Resumed(resumed) => resumed.body(),
            other => panic!("{other:?}"),
        };
        read.entry(message.id.to_string()).or_default().push(body);
    }
    read
}

fn result(channel: &str, offset: u64) -> String {
    let cursor = cursor(offset);
    format!(r#"{{"data":{{"{channel}":{{"id":1}}}},"extensions":{{"coulis":{{"cursor":"{cursor}"}}}}}}"#)
}

fn at(offset: u64) -> Cursor {
    Cursor { epoch: EPOCH, channel: ChannelId::ANY, offset: Offset(offset) }
}

fn cursor(offset: u64) -> String {
    at(offset).to_string()
}

/// Waits for the answer to a wish to resume: the pinned thread may have the shard for a moment.
fn told(reader: &mut Subscriber) -> Result<(), Reload> {
    loop {
        match reader.try_next().map(|message| message.content) {
            Some(OwnedContent::Resumed(resumed)) => return resumed.result,
            Some(other) => panic!("{other:?}"),
            None => thread::yield_now(),
        }
    }
}

#[test]
fn offsets_are_the_carriers_and_what_comes_again_is_left_out() {
    for shards in [1, 4] {
        let engine = engine(shards);
        let mut reader = engine.open(SubscriberOptions::default()).unwrap();
        engine.follow(EPOCH, Offset(10), None);
        subscribe(&engine, &mut reader, "a", None);
        subscribe(&engine, &mut reader, "b", None);
        carry(&engine, &[(11, "a"), (12, "b"), (15, "a")]);
        carry(&engine, &[(15, "a"), (12, "b"), (16, "b")]);
        let read = read(&mut reader);
        assert_eq!(read["a"], [result("a", 11), result("a", 15)]);
        assert_eq!(read["b"], [result("b", 12), result("b", 16)]);
        assert_eq!(engine.metrics().pending(), 0);
        let refused = engine.publish(event(&engine, "a"));
        assert!(matches!(refused, Err(PublishError::Follows)));
        let refused = engine.publish_many(vec![event(&engine, "a")]);
        assert!(matches!(refused, Err(PublishManyError::Follows)));
    }
}

#[test]
fn more_events_than_an_inbox_holds_are_carried() {
    let limits = Limits { inbox_commands_max: 8, ..Limits::default() };
    let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    engine.follow(EPOCH, Offset(0), None);
    subscribe(&engine, &mut reader, "a", None);
    let events: Vec<_> = (1..=100).map(|offset| (offset, "a")).collect();
    carry(&engine, &events);
    assert_eq!(read(&mut reader)["a"].len(), 100);
}

#[test]
fn a_late_answer_tells_a_position_of_its_own_history() {
    let engine = engine(1);
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    engine.follow(EPOCH, Offset(0), None);
    let (jobs, work) = flume::bounded(8);
    let resolver: Option<Arc<dyn Resolve>> = Some(Arc::new(Handed(jobs)));
    let (id, query) = ("a".into(), "subscription { a { id } }".into());
    engine.subscribe(&mut reader, SubscribeRequest { id, query, resolver, ..Default::default() }).unwrap();
    // Both have the same offset.
    carry(&engine, &[(1, "a")]);
    let next = Epoch(41);
    engine.follow(next, Offset(0), Some(Missed { from: None, count: None }));
    carry(&engine, &[(1, "a")]);
    for job in work.try_iter() {
        job.answer(Ok(br#"{"id":1}"#.to_vec()));
    }
    let later = result("a", 1).replace(&cursor(1), &Cursor { epoch: next, ..at(1) }.to_string());
    let mut told: Vec<_> = Vec::new();
    while told.len() < 3 {
        told.extend(read(&mut reader).remove("a").unwrap_or_default());
    }
    assert_eq!(told[1..], [result("a", 1), later], "{told:?}");
    assert!(told[0].contains("gap"));
}

#[test]
fn a_log_that_was_cut_before_a_hole_resumes_nobody() {
    let limits = Limits { log_events_max: 100, ..Limits::default() };
    let (engine, shards) = Engine::builder().shards(2).limits(limits).assemble().unwrap();
    let mut shards: Vec<_> = shards.into_iter().map(|(shard, _)| shard).collect();
    let rest = |shards: &mut Vec<crate::shard::Shard>| {
        for shard in 0..8 {
            shards[shard % 2].step(Millis(0));
        }
    };
    let plane = &engine.0.plane;
    _ = plane.begin_to_follow(EPOCH, Offset(40), None);
    rest(&mut shards);
    // Readers of both shards: the channel's home is one of them.
    let options = || SubscriberOptions { wake: Wake::Polling, ring_frames_max: None };
    let mut readers = [(); 2].map(|()| engine.open(options()).unwrap());
    assert_ne!(readers[0].shard(), readers[1].shard());
    let events = (41..=50).map(|offset| (Offset(offset), event(&engine, "a"), Receipt::new(0).1));
    plane.carry(events.collect(), Duration::ZERO).unwrap();
    rest(&mut shards);
    for reader in &mut readers {
        subscribe(&engine, reader, "a", Some(&cursor(45)));
    }
    // The home has the wishes before the hole, and the other shard the hole before the answer.
    _ = plane.begin_to_follow(EPOCH, Offset(100), Some(Missed { from: Some(Offset(51)), count: Some(50) }));
    rest(&mut shards);
    for reader in &mut readers {
        let told = read(reader).remove("a").unwrap();
        let (first, rest) = told.split_first().unwrap();
        // Either everything and the hole, or nothing.
        if first.contains(r#""resumed":true"#) {
            assert!(rest.len() == 6 && rest[5].contains("gap"), "{told:?}");
        } else {
            assert!(rest.is_empty() && first.contains("trimmed"), "{told:?}");
        }
    }
}

#[test]
fn what_a_carrier_lost_is_told_to_each_subscription() {
    for shards in [1, 4] {
        let engine = engine(shards);
        engine.follow(EPOCH, Offset(0), None);
        let mut readers: Vec<_> =
            (0..4).map(|_| engine.open(SubscriberOptions::default()).unwrap()).collect();
        for reader in &mut readers {
            subscribe(&engine, reader, "a", None);
        }
        subscribe(&engine, &mut readers[0], "b", None);
        carry(&engine, &[(1, "a")]);
        engine.follow(EPOCH, Offset(5), Some(Missed { from: Some(Offset(2)), count: Some(4) }));
        carry(&engine, &[(6, "a")]);
        let gap = format!(
            r#"{{"data":null,"extensions":{{"coulis":{{"gap":{{"from":2,"to":5,"count":4,"reason":"bus"}},"cursor":"{}"}}}}}}"#,
            cursor(5)
        );
        for reader in &mut readers {
            assert_eq!(read(reader).remove("a").unwrap(), [result("a", 1), gap.clone(), result("a", 6)]);
        }
        // Another epoch counts anew.
        let next = Epoch(41);
        engine.follow(next, Offset(0), Some(Missed { from: None, count: None }));
        carry(&engine, &[(1, "a"), (2, "b")]);
        let read = read(&mut readers[0]);
        assert!(read["a"][0].contains(r#""gap":{"from":null,"to":0,"count":null,"reason":"bus"}"#));
        assert!(read["a"][1].contains(r#""cursor":"1.29.0.1""#), "{read:?}");
        assert!(read["b"][0].contains("gap") && read["b"][1].contains(r#""cursor":"1.29.0.2""#));
        assert_eq!((read["a"].len(), read["b"].len()), (2, 2));
        for reader in &mut readers {
            self::read(reader);
        }
        assert_eq!(engine.metrics().pending(), 0);
    }
}

#[test]
fn a_cursor_of_one_node_resumes_on_another() {
    for shards in [1, 3] {
        let nodes = [engine(shards), engine(1)];
        // The second node began later, and is behind.
        nodes[0].follow(EPOCH, Offset(0), None);
        nodes[1].follow(EPOCH, Offset(2), None);
        carry(&nodes[0], &[(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "a"), (6, "a")]);
        carry(&nodes[1], &[(3, "a"), (4, "b"), (5, "a")]);
        let resumed = |at: u64| {
            let mut reader = nodes[1].open(SubscriberOptions::default()).unwrap();
            subscribe(&nodes[1], &mut reader, "a", Some(&cursor(at)));
            (told(&mut reader), reader)
        };
        assert_eq!(resumed(1).0, Err(Reload::Trimmed));
        assert_eq!(resumed(6).0, Err(Reload::Future));
        let (told_of, mut reader) = resumed(3);
        assert_eq!(told_of, Ok(()));
        carry(&nodes[1], &[(6, "a")]);
        assert_eq!(read(&mut reader)["a"], [result("a", 5), result("a", 6)]);
        // A position where another channel's event was is one of this channel, too.
        let (told_of, mut reader) = resumed(4);
        assert_eq!(told_of, Ok(()));
        assert_eq!(read(&mut reader)["a"], [result("a", 5), result("a", 6)]);
        // Nothing came on this channel, and the node has come as far as the cursor.
        let mut reader = nodes[1].open(SubscriberOptions::default()).unwrap();
        subscribe(&nodes[1], &mut reader, "quiet", Some(&cursor(6)));
        assert_eq!(told(&mut reader), Ok(()));
        // An own cursor of an engine's is of no use.
        let own = Cursor { epoch: EPOCH, channel: ChannelId(1), offset: Offset(4) }.to_string();
        subscribe(&nodes[1], &mut reader, "a", Some(&own));
        assert_eq!(told(&mut reader), Err(Reload::Cursor));
    }
}

#[test]
fn what_is_recalled_is_for_those_who_resume_later() {
    for shards in [1, 3] {
        let engine = engine(shards);
        let mut reader = engine.open(SubscriberOptions::default()).unwrap();
        engine.recall(EPOCH, Offset(0), None);
        subscribe(&engine, &mut reader, "a", None);
        carry(&engine, &[(1, "a"), (2, "b")]);
        // Half of the log would be nothing to resume from.
        let mut early = engine.open(SubscriberOptions::default()).unwrap();
        subscribe(&engine, &mut early, "a", Some(&cursor(0)));
        assert_eq!(told(&mut early), Err(Reload::Future));
        carry(&engine, &[(3, "a")]);
        engine.recalled();
        let mut late = engine.open(SubscriberOptions::default()).unwrap();
        subscribe(&engine, &mut late, "a", Some(&cursor(0)));
        assert_eq!(told(&mut late), Ok(()));
        carry(&engine, &[(4, "a")]);
        assert_eq!(read(&mut reader)["a"], [result("a", 4)]);
        assert_eq!(read(&mut early)["a"], [result("a", 4)]);
        assert_eq!(read(&mut late)["a"], [1, 3, 4].map(|offset| result("a", offset)));
    }
}

#[test]
fn a_resumed_subscription_is_live_in_the_next_epoch() {
    let engine = engine(2);
    engine.follow(EPOCH, Offset(0), None);
    carry(&engine, &[(1_000, "a"), (1_001, "a")]);
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    subscribe(&engine, &mut reader, "a", Some(&cursor(1_000)));
    assert_eq!(told(&mut reader), Ok(()));
    assert_eq!(read(&mut reader)["a"], [result("a", 1_001)]);
    engine.follow(Epoch(41), Offset(0), Some(Missed { from: None, count: None }));
    carry(&engine, &[(1, "a")]);
    let read = read(&mut reader);
    assert_eq!(
        read["a"].len(),
        2,
        "the notice, and the event with an offset far below those replayed: {read:?}"
    );
}

#[test]
fn events_on_channels_that_cannot_be_are_left_out() {
    let limits = Limits { channels_max: 2, ..Limits::default() };
    let engine = Engine::builder().shards(1).limits(limits).build().unwrap();
    engine.follow(EPOCH, Offset(0), None);
    carry(&engine, &[(1, "a"), (2, "b"), (3, "*"), (4, "c")]);
    let metrics = engine.metrics();
    assert_eq!((metrics.published, metrics.refused_events), (2, 2));
}

#[test]
fn what_was_seen_on_another_node_is_not_told_as_lost() {
    let (engine, mut shards) = Engine::builder().shards(1).assemble().unwrap();
    let (mut shard, _) = shards.remove(0);
    let plane = &engine.0.plane;
    _ = plane.begin_to_follow(EPOCH, Offset(0), None);
    shard.step(Millis(0));
    let options = || SubscriberOptions { wake: Wake::Polling, ring_frames_max: None };
    let mut readers = [(); 2].map(|()| engine.open(options()).unwrap());
    let events = (1..=3).map(|offset| (Offset(offset), event(&engine, "a"), Receipt::new(0).1));
    subscribe(&engine, &mut readers[0], "a", None);
    plane.carry(events.collect(), Duration::ZERO).unwrap();
    // It comes before the events, of which it has seen two.
    subscribe(&engine, &mut readers[1], "a", Some(&cursor(2)));
    plane.close(true);
    plane.be_late();
    while !shard.drained() {
        shard.step(Millis(0));
    }
    drop(shard);
    let lost = |reader: &mut Subscriber| {
        let mut lost = 0;
        reader.drain(9, |delivery| match delivery.content {
            Content::Gap(gap) => lost += gap.count,
            Content::Resumed(resumed) => assert_eq!(resumed.result, Ok(())),
            _ => panic!("{delivery:?}"),
        });
        lost
    };
    assert_eq!(readers.each_mut().map(lost), [3, 1]);
}

/// Who resumed after a hole would never get results of before it that come later.
#[test]
fn a_hole_tells_no_position_beyond_results_that_are_still_to_come() {
    let engine = engine(1);
    let mut reader = engine.open(SubscriberOptions::default()).unwrap();
    engine.follow(EPOCH, Offset(0), None);
    let (jobs, work) = flume::bounded(8);
    let resolver: Option<Arc<dyn Resolve>> = Some(Arc::new(Handed(jobs)));
    let (id, query) = ("a".into(), "subscription { a { id } }".into());
    engine.subscribe(&mut reader, SubscribeRequest { id, query, resolver, ..Default::default() }).unwrap();
    let hole = |start, from| {
        engine.follow(EPOCH, Offset(start), Some(Missed { from: Some(Offset(from)), count: None }));
    };
    carry(&engine, &[(1, "a")]);
    hole(5, 2);
    work.recv().unwrap().answer(Ok(br#"{"id":1}"#.to_vec()));
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(read(&mut reader).remove("a").unwrap_or_default());
    }
    assert!(told[0].contains("gap") && !told[0].contains("cursor"), "{told:?}");
    assert_eq!(told[1], result("a", 1));
    hole(9, 6);
    let told = read(&mut reader).remove("a").unwrap();
    assert!(told[0].contains("gap") && told[0].contains(&cursor(9)), "{told:?}");
}

#[test]
fn a_hole_is_told_after_what_was_kept_for_a_slow_reader() {
    const EVENTS: u64 = 20;
    let (engine, mut shards) = Engine::builder().shards(1).assemble().unwrap();
    let (mut shard, _) = shards.remove(0);
    let plane = &engine.0.plane;
    _ = plane.begin_to_follow(EPOCH, Offset(0), None);
    shard.step(Millis(0));
    let options = SubscriberOptions { wake: Wake::Polling, ring_frames_max: Some(8) };
    let mut reader = engine.open(options).unwrap();
    let (id, query) = ("a".into(), "subscription { a { id } }".into());
    let overflow = Overflow::LatestPerKey(["n".into()].into());
    engine.subscribe(&mut reader, SubscribeRequest { id, query, overflow, ..Default::default() }).unwrap();
    let events = (1..=EVENTS).map(|n| {
        let document = format!(r#"{{"id":1,"n":{n}}}"#).into_bytes();
        let event = Event::new("e", "a", document, engine.limits()).unwrap();
        (Offset(n), event, Receipt::new(0).1)
    });
    plane.carry(events.collect(), Duration::ZERO).unwrap();
    shard.step(Millis(0));
    // There is room when the shard hears of the hole, and it has not heard of the room.
    _ = plane.begin_to_follow(
        EPOCH,
        Offset(99),
        Some(Missed { from: Some(Offset(EVENTS + 1)), count: None }),
    );
    let mut told = Vec::new();
    for _ in 0..EVENTS {
        reader.drain(99, |delivery| {
            told.push(match delivery.content {
                Content::Result(payload) => String::from_utf8(payload.body().to_vec()).unwrap(),
                Content::Gap(gap) => format!("{:?}", gap.reason),
                _ => panic!("{delivery:?}"),
            });
        });
        shard.step(Millis(0));
    }
    let results: Vec<_> = (1..=EVENTS).map(|offset| result("a", offset)).collect();
    assert!(told.len() > EVENTS as usize, "{told:?}");
    let hole = told.iter().position(|body| body.contains(&cursor(99))).unwrap_or(told.len());
    assert!(results.iter().all(|result| told[..hole].contains(result)), "{told:?}");
    assert!(hole < told.len() || told.iter().any(|body| body == "Overflow"), "nothing is told: {told:?}");
}

#[test]
fn a_loss_is_told_once_to_each_who_may_have_missed_something() {
    for shards in [1, 3] {
        let engine = engine(shards);
        engine.follow(EPOCH, Offset(0), None);
        let mut reader = engine.open(SubscriberOptions::default()).unwrap();
        let query = "subscription { a { id } }".to_owned();
        let channels = ["a", "b", "c"].map(String::from).into();
        let several =
            SubscribeRequest { id: "several".into(), query: query.clone(), channels, ..Default::default() };
        let policies = vec![crate::security::Condition::from("false")];
        let nothing = SubscribeRequest { id: "nothing".into(), query, policies, ..Default::default() };
        for request in [several, nothing] {
            engine.subscribe(&mut reader, request).unwrap();
        }
        engine.follow(EPOCH, Offset(5), Some(Missed { from: Some(Offset(1)), count: Some(5) }));
        let told = read(&mut reader);
        assert_eq!(told.keys().collect::<Vec<_>>(), ["several"]);
        assert_eq!(told["several"].len(), 1, "{told:?}");
        drop(reader);
        until_empty(&engine);
    }
}

/// Waits until nothing is accounted for that nobody will read.
fn until_empty(engine: &Engine) {
    while engine.metrics().pending() != 0 {
        thread::yield_now();
    }
}
