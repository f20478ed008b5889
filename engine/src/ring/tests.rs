//! The ring against a queue of the standard library, with random operations.

use std::{collections::VecDeque, sync::Arc, thread};

use proptest::prelude::*;

use super::*;

#[allow(unsafe_code, reason = "an `Arc` is one pointer")]
// SAFETY: `into_raw` forgets the count that `from_raw` takes back.
unsafe impl Pointer for Arc<u64> {
    fn into_raw(self) -> *mut () {
        Arc::into_raw(self).cast_mut().cast()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: the caller's promise is ours.
        unsafe { Arc::from_raw(raw.cast_const().cast()) }
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Push,
    PushOrEvict,
    Take(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![Just(Op::Push), Just(Op::PushOrEvict), (0usize..80).prop_map(Op::Take)]
}

proptest! {
    #[test]
    fn behaves_like_a_bounded_queue(ops in prop::collection::vec(op(), 0..400)) {
        const CAPACITY: usize = 16;
        let alive = Arc::new(0);
        let (mut producer, mut consumer) = ring::<Arc<u64>>(CAPACITY);
        let (mut model, mut lost, mut next) = (VecDeque::new(), 0, 0);
        for op in ops {
            match op {
                Op::Push => {
                    next += 1;
                    let full = model.len() == CAPACITY;
                    prop_assert_eq!(producer.push(Arc::clone(&alive), next).is_err(), full);
                    if !full { model.push_back(next); }
                }
                Op::PushOrEvict => {
                    next += 1;
                    let evicted = producer.push_or_evict(Arc::clone(&alive), next).map(|(_, tag)| tag);
                    let expected = if model.len() == CAPACITY { model.pop_front() } else { None };
                    lost += u64::from(expected.is_some());
                    prop_assert_eq!(evicted, expected);
                    model.push_back(next);
                }
                Op::Take(max) => {
                    let mut taken = Vec::new();
                    consumer.take(max, |_, tag| taken.push(tag));
                    let count = max.min(TAKEN_AT_ONCE_MAX).min(model.len());
                    prop_assert_eq!(taken, model.drain(..count).collect::<Vec<_>>());
                    if max > 0 { prop_assert_eq!(consumer.evicted(), lost); }
                }
            }
            prop_assert_eq!(producer.len(), model.len());
        }
        drop((producer, consumer));
        prop_assert_eq!(Arc::strong_count(&alive), 1);
    }
}

#[test]
fn a_full_ring_gives_the_value_back() {
    let (mut producer, _consumer) = ring::<Arc<u64>>(8);
    let room = (0..100).take_while(|&n| producer.push(Arc::new(n), n).is_ok()).count();
    assert_eq!(room, 8);
    let Err(Full(item)) = producer.push(Arc::new(99), 0) else { panic!("a full ring took an item") };
    assert_eq!(*item, 99);
}

#[test]
fn what_nobody_took_is_reclaimed_or_freed_with_the_ring() {
    let alive = Arc::new(0);
    let (mut producer, consumer) = ring(8);
    for tag in 0..20 {
        producer.push_or_evict(Arc::clone(&alive), tag);
    }
    drop(consumer);
    assert_eq!(producer.reclaim().map(|(_, tag)| tag), Some(12));
    assert_eq!(Arc::strong_count(&alive), 1 + 7);
    drop(producer);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn a_panic_in_the_reader_loses_no_memory() {
    let alive = Arc::new(0);
    let (mut producer, mut consumer) = ring(8);
    for tag in 0..8 {
        producer.push_or_evict(Arc::clone(&alive), tag);
    }
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        consumer.take(8, |_, tag| assert!(tag < 3));
    }));
    assert!(outcome.is_err());
    drop((producer, consumer));
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// Two real threads: each item is taken or evicted exactly once, in order, whatever the interleaving.
#[test]
fn nothing_is_lost_or_doubled_between_threads() {
    const ITEMS: u64 = 200_000;
    let (mut producer, mut consumer) = ring::<Arc<u64>>(32);
    let reader = thread::spawn(move || {
        let (mut taken, mut last) = (0, 0);
        while last < ITEMS {
            consumer.take(64, |item, tag| {
                assert_eq!(*item, tag);
                assert!(tag > last, "{tag} after {last}");
                (taken, last) = (taken + 1, tag);
            });
        }
        (taken, consumer.evicted())
    });
    let evicted =
        (1..=ITEMS).filter(|&tag| producer.push_or_evict(Arc::new(tag), tag).is_some()).count() as u64;
    let (taken, seen_evicted) = reader.join().unwrap();
    assert_eq!((taken + evicted, seen_evicted), (ITEMS, evicted));
}
