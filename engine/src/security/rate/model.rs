//! Takers of the last tokens, and the end of a bucket, under the model checker.

use std::sync::Arc;

use super::{GONE, Level, Ordering, Rate, Taken};
use crate::sync::{
    AtomicUsize,
    model::{join, proves},
    thread,
};

#[derive(Clone, Copy, Debug)]
enum Bug {
    /// A token is taken by a store: who stores last has not seen the others.
    Store,
    /// A bucket is ended by a store: who takes a token meanwhile takes it from nothing.
    Retire,
}

/// `Level::take` at the start of time, or what the twin makes of it.
fn take(level: &Level, rate: &Rate, bug: Option<Bug>) -> Taken {
    let Some(Bug::Store) = bug else { return level.take(rate, 0) };
    let full = level.0.load(Ordering::Relaxed);
    if full > rate.tolerance {
        return Taken::No;
    }
    level.0.store(full + rate.interval, Ordering::Relaxed);
    Taken::Yes
}

/// `Level::retire` at the start of time, or what the twin makes of it.
fn retire(level: &Level, rate: &Rate, bug: Option<Bug>) -> bool {
    let Some(Bug::Retire) = bug else { return level.retire(rate, 0) };
    let full = level.0.load(Ordering::Relaxed) == 0;
    if full {
        level.0.store(GONE, Ordering::Relaxed);
    }
    full
}

#[test]
fn loom_the_last_tokens_are_taken_once_each() {
    proves(100, &[Bug::Store], |bug| {
        let rate = Rate::new(1.0, 3).unwrap();
        let (level, taken) = (Arc::new(Level::full_at(0)), Arc::new(AtomicUsize::new(0)));
        join([2, 2].map(|times| {
            let (level, taken) = (Arc::clone(&level), Arc::clone(&taken));
            thread::spawn(move || {
                for _ in 0..times {
                    if take(&level, &rate, bug) == Taken::Yes {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        }));
        assert_eq!(taken.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn loom_no_token_is_taken_from_a_bucket_that_ends() {
    proves(100, &[Bug::Retire], |bug| {
        let rate = Rate::new(1.0, 2).unwrap();
        let (level, taken) = (Arc::new(Level::full_at(0)), Arc::new(AtomicUsize::new(0)));
        let takers = [(); 2].map(|()| {
            let (level, taken) = (Arc::clone(&level), Arc::clone(&taken));
            thread::spawn(move || {
                for _ in 0..2 {
                    if take(&level, &rate, None) == Taken::Yes {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        let gone = retire(&level, &rate, bug);
        join(takers);
        assert_eq!(taken.load(Ordering::Relaxed), if gone { 0 } else { 2 });
        assert_eq!(level.is_gone(), gone);
    });
}
