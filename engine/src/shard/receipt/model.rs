//! The latch and the receipt under the model checker: nobody sleeps for ever, and who was woken sees what was counted.

use std::sync::Arc;

use super::{Hold, Latch, Receipt, Report};
use crate::{
    notifier,
    sync::{
        model::{Wakes, join, proves},
        thread,
    },
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    /// The waker is stored after the latch was looked at, and not before.
    Late,
    /// A hold is given up before its deliveries are counted.
    Uncounted,
}

/// A latch with two holders, each of them about to release it in a thread of its own.
fn latch() -> (Arc<Latch>, impl FnOnce()) {
    let latch = Arc::new(Latch::new());
    latch.hold();
    let holders = [(); 2].map(|()| {
        let latch = Arc::clone(&latch);
        thread::spawn(move || _ = latch.release())
    });
    (latch, || join(holders))
}

#[test]
fn loom_who_waits_for_a_latch_is_woken() {
    proves(100, &[Bug::Late], |bug| {
        let (latch, joined) = latch();
        // In a thread that does nothing else: loom takes any wait for the end of a thread as a `park`.
        let waiter = thread::spawn(move || {
            if bug.is_none() {
                return latch.wait(0);
            }
            while !latch.is_open() {
                latch.waker.store(Some(Arc::new(notifier::unparker())));
                thread::park();
            }
        });
        joined();
        join([waiter]);
    });
}

#[test]
fn loom_a_waker_of_a_latch_is_called() {
    proves(100, &[Bug::Late], |bug| {
        let (latch, joined) = latch();
        let wakes = Arc::new(Wakes::default());
        if bug.is_none() {
            latch.on_open(wakes.waker());
        } else if latch.is_open() {
            wakes.waker().wake();
        } else {
            latch.waker.store(Some(Arc::new(wakes.waker())));
        }
        joined();
        assert!(latch.is_open());
        assert_eq!(wakes.count(), 1, "once, neither never nor twice");
    });
}

#[test]
fn loom_who_waits_for_a_receipt_sees_its_deliveries() {
    proves(100, &[Bug::Uncounted], |bug| {
        let (receipt, hold) = Receipt::new(0);
        let deliver = |hold: Hold, count| {
            thread::spawn(move || {
                if bug.is_none() {
                    hold.add(&Report { matched: count, ..Report::default() });
                } else {
                    let state = Arc::clone(&hold.state);
                    drop(hold);
                    state.matched.fetch_add(count, super::Ordering::AcqRel);
                }
            })
        };
        let resolver = deliver(hold.asynchronous(), 10);
        let shard = deliver(hold, 1);
        let publisher = thread::spawn(move || {
            let matched = receipt.wait().matched;
            assert!(matched == 1 || matched == 11, "{matched}");
            assert_eq!(receipt.wait_all().matched, 11);
            assert!(receipt.is_dispatched() && receipt.is_done());
        });
        join([publisher, shard, resolver]);
    });
}
