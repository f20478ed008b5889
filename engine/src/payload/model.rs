//! The counter of a shared body under the model checker: the body is freed once, after all who read it.
//!
//! Each body has a witness: loom reports a use that is not ordered before the end, and a body that is never freed.

use std::mem::ManuallyDrop;

use super::{ChannelId, Offset, Ordering, Payload, release};
use crate::sync::{
    model::{join, proves},
    thread,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    /// References are given up without `Release`.
    Relaxed,
    /// Shares that nobody took are not given back.
    Kept,
}

fn read(payload: Payload, bug: Option<Bug>) {
    assert_eq!(payload.body(), b"{}");
    if bug == Some(Bug::Relaxed) {
        release(ManuallyDrop::new(payload).0, 1, Ordering::Relaxed);
    }
}

#[test]
fn loom_a_body_is_freed_once_and_after_its_readers() {
    proves(100, &[Bug::Relaxed, Bug::Kept], |bug| {
        let payload = Payload::new(ChannelId(1), Offset(2), b"{}".to_vec());
        // One share more than there are readers.
        let mut shares = ManuallyDrop::new(payload.shares(3));
        let readers = [(); 2].map(|()| {
            let share = shares.next().unwrap();
            thread::spawn(move || read(share, bug))
        });
        if bug != Some(Bug::Kept) {
            drop(ManuallyDrop::into_inner(shares));
        }
        read(payload, bug);
        join(readers);
    });
}

#[test]
fn loom_a_clone_keeps_a_body_alive() {
    proves(100, &[Bug::Relaxed], |bug| {
        let payload = Payload::new(ChannelId(1), Offset(2), b"{}".to_vec());
        let mut shares = payload.shares(2);
        let readers = [(); 2].map(|()| {
            let share = shares.next().unwrap();
            thread::spawn(move || {
                let again = share.clone();
                drop(share);
                read(again, bug);
            })
        });
        let again = payload.clone();
        drop(payload);
        read(again, bug);
        join(readers);
    });
}
