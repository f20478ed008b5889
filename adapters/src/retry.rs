//! How long to wait before the next try to reach a carrier: exponential back-off with jitter.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// The first wait is up to this long.
const FIRST: Duration = Duration::from_millis(20);
/// No wait is longer: a carrier that is back is found within a second.
const LONGEST: Duration = Duration::from_millis(800);

/// The waits of one loss of connection.
///
/// Each is drawn at random from the upper half of a span that doubles, so that nodes which lost their carrier
/// together do not come back together.
#[derive(Debug)]
pub struct Backoff {
    span: Duration,
    random: RandomState,
    tries: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { span: FIRST, random: RandomState::new(), tries: 0 }
    }
}

impl Backoff {
    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let (span, half) = (self.span, self.span / 2);
        self.span = LONGEST.min(span * 2);
        self.tries = self.tries.wrapping_add(1);
        let thousandths = (self.random.hash_one(self.tries) % 1_000) as u32;
        half + half * thousandths / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_differ() {
        let (mut one, mut other) = (Backoff::default(), Backoff::default());
        let mut span = FIRST;
        let mut waits = Vec::new();
        for _ in 0..12 {
            for wait in [one.wait(), other.wait()] {
                assert!(span / 2 <= wait && wait < span, "{wait:?} within {span:?}");
                waits.push(wait);
            }
            span = LONGEST.min(span * 2);
        }
        assert!(waits.chunks(2).any(|pair| pair[0] != pair[1]));
    }
}
