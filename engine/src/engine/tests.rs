//! What only the inside of an engine can show: taken shards, lost shards, and the end.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::shard::inbox::Inbox;

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
