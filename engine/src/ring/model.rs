//! The ring under the model checker: every interleaving and every allowed reordering, up to three pre-emptions.
//!
//! Each model counts its executions and asserts a floor (a model that explores one execution proves nothing), and
//! has a twin with a seeded bug (publishing without `Release`) that must fail.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use loom::{cell::UnsafeCell, thread};

use super::{Bug, Pointer, ring};

/// The seeded bug, as its number plus one.
static SEEDED: AtomicUsize = AtomicUsize::new(0);

pub(super) fn seeded(bug: Bug) -> bool {
    SEEDED.load(Relaxed) == bug as usize + 1
}

/// Models share `SEEDED`, so one runs at a time.
#[allow(clippy::disallowed_types, reason = "a test's own turnstile")]
static TURN: Mutex<()> = Mutex::new(());

/// An item whose content loom watches: reading it without the producer's `Release` is a data race. Its memory is
/// never freed, so that a seeded bug ends in a failed assertion and not in undefined behaviour.
struct Watched(*const UnsafeCell<u64>);

#[allow(unsafe_code, reason = "the cell is written before it is pushed and only read after")]
mod watched {
    use super::{Pointer, UnsafeCell, Watched};
    // SAFETY: loom checks exactly this claim.
    unsafe impl Send for Watched {}
    // SAFETY: the pointer is the whole value.
    unsafe impl Pointer for Watched {
        fn into_raw(self) -> *mut () {
            self.0.cast_mut().cast()
        }
        unsafe fn from_raw(raw: *mut ()) -> Self {
            Self(raw.cast_const().cast())
        }
    }
    impl Watched {
        pub(super) fn new(value: u64) -> Self {
            let cell: &UnsafeCell<u64> = Box::leak(Box::new(UnsafeCell::new(0)));
            // SAFETY: nobody else has the cell yet.
            cell.with_mut(|content| unsafe { *content = value });
            Self(cell)
        }
        pub(super) fn value(&self) -> u64 {
            assert!(!self.0.is_null(), "an item that was never written");
            // SAFETY: leaked, so it lives; nobody writes after the push, and loom reports it if that is not ordered.
            unsafe { &*self.0 }.with(|content| unsafe { *content })
        }
    }
}

fn explore(body: impl Fn() + Sync + Send + 'static) -> usize {
    static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);
    EXECUTIONS.store(0, Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        EXECUTIONS.fetch_add(1, Relaxed);
        body();
    });
    EXECUTIONS.load(Relaxed)
}

/// The model holds, at a hundred executions or more; with `bug` seeded it fails.
fn proves(bug: Bug, body: impl Fn() + Sync + Send + Clone + 'static) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let executions = explore(body.clone());
    println!("{executions} executions explored");
    assert!(executions >= 100, "only {executions} executions explored");
    SEEDED.store(bug as usize + 1, Relaxed);
    let twin = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| explore(body)));
    SEEDED.store(0, Relaxed);
    assert!(twin.is_err(), "the seeded bug was not found");
}

#[test]
fn loom_pushes_arrive_once_and_in_order() {
    proves(Bug::Publish, || {
        let (mut producer, mut consumer) = ring::<Watched>(8);
        producer.push_or_evict(Watched::new(0), 0);
        assert_eq!(consumer.take(1, |item, _| assert_eq!(item.value(), 0)), 1);
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            for _ in 0..3 {
                consumer.take(2, |item, tag| got.push((item.value(), tag)));
            }
            (got, consumer)
        });
        for tag in 1..=3 {
            producer.push_or_evict(Watched::new(tag * 10), tag);
        }
        let (mut got, mut consumer) = reader.join().unwrap();
        while consumer.take(2, |item, tag| got.push((item.value(), tag))) > 0 {}
        assert_eq!(got, [(10, 1), (20, 2), (30, 3)]);
    });
}

#[test]
fn loom_eviction_and_taking_never_share_an_item() {
    proves(Bug::Evict, || {
        let (mut producer, mut consumer) = ring::<Watched>(8);
        for tag in 1..=8 {
            producer.push_or_evict(Watched::new(tag), tag);
        }
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            for _ in 0..2 {
                consumer.take(1, |item, tag| got.push((item.value(), tag)));
            }
            (got, consumer)
        });
        let evicted: Vec<_> =
            (9..=11).filter_map(|tag| producer.push_or_evict(Watched::new(tag), tag)).collect();
        let (mut got, mut consumer) = reader.join().unwrap();
        while consumer.take(8, |item, tag| got.push((item.value(), tag))) > 0 {}
        assert!(got.is_sorted(), "{got:?}");
        assert_eq!(consumer.evicted(), evicted.len() as u64);
        let mut all: Vec<_> =
            got.iter().map(|&(_, tag)| tag).chain(evicted.iter().map(|(_, tag)| *tag)).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=11).collect::<Vec<_>>());
    });
}

#[test]
fn loom_growing_keeps_what_waits() {
    proves(Bug::Grow, || {
        let (mut producer, mut consumer) = ring::<Watched>(16);
        for tag in 1..=8 {
            producer.push_or_evict(Watched::new(tag), tag);
        }
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            for _ in 0..2 {
                consumer.take(3, |item, tag| got.push((item.value(), tag)));
            }
            (got, consumer)
        });
        for tag in 9..=11 {
            producer.push_or_evict(Watched::new(tag), tag);
        }
        let (mut got, mut consumer) = reader.join().unwrap();
        while consumer.take(8, |item, tag| got.push((item.value(), tag))) > 0 {}
        assert_eq!(got, (1..=11).map(|tag| (tag, tag)).collect::<Vec<_>>());
    });
}
