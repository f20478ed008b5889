//! The breaker: a subscription whose policy or resolver fails again and again ends, and takes no more time.

use std::time::Duration;

use super::group::Member;
use crate::{id::Millis, limits::Limits, link::End};

/// Errors of the subscriptions of one reader.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// By lane, so that there are never more than subscriptions at the same time.
    lanes: Vec<Strikes>,
}

/// Errors of one subscription since its window began.
#[derive(Clone, Copy, Debug, Default)]
struct Strikes {
    subscription: u32,
    since: Millis,
    count: usize,
    /// It was ended, and its reader has not looked yet.
    is_over: bool,
}

impl Breaker {
    /// Whether errors are counted at all.
    pub(super) fn is_on(limits: &Limits) -> bool {
        limits.subscription_errors_max < usize::MAX
    }

    /// Counts an error of `member`; answers how its subscription ends, if this is one too many.
    pub(super) fn strike(&mut self, member: &Member, now: Millis, limits: &Limits) -> Option<End> {
        let lane = usize::from(member.lane);
        if self.lanes.len() <= lane {
            self.lanes.resize(lane + 1, Strikes::default());
        }
        let strikes = &mut self.lanes[lane];
        if member.subscription < strikes.subscription || strikes.is_over && !strikes.is_before(member) {
            return None;
        }
        let window = limits.subscription_errors_window;
        if strikes.is_before(member) || Duration::from_millis(now.0.saturating_sub(strikes.since.0)) > window
        {
            *strikes = Strikes { subscription: member.subscription, since: now, ..Strikes::default() };
        }
        strikes.count += 1;
        strikes.is_over = strikes.count > limits.subscription_errors_max;
        strikes.is_over.then(|| {
            let text = format!("its policy or its resolver failed {} times within {window:?}", strikes.count);
            End::Refused("TOO_MANY_ERRORS", text.into())
        })
    }

    /// Whether `member` was ended.
    pub(super) fn is_over(&self, member: &Member) -> bool {
        let strikes = self.lanes.get(usize::from(member.lane));
        strikes.is_some_and(|strikes| strikes.is_over && strikes.subscription == member.subscription)
    }
}

impl Strikes {
    /// Whether these are of a subscription that had the lane before `member`.
    fn is_before(&self, member: &Member) -> bool {
        self.subscription < member.subscription
    }
}

#[cfg(all(test, not(coulis_loom)))]
mod tests {
    use super::*;

    fn member(subscription: u32, lane: u16) -> Member {
        Member { reader: 1, slot: 0, subscription, lane, resumed: false, limited: false }
    }

    #[test]
    fn errors_are_counted_for_each_subscription_in_its_window() {
        let limits = Limits {
            subscription_errors_max: 2,
            subscription_errors_window: Duration::from_millis(100),
            ..Limits::default()
        };
        let mut breaker = Breaker::default();
        let mut ends = |subscription, lane, now| {
            breaker.strike(&member(subscription, lane), Millis(now), &limits).is_some()
        };
        // The window begins with the first error, and the next one with the first after it.
        assert!(![0, 100, 201, 250].map(|now| ends(1, 0, now)).contains(&true));
        assert!(ends(1, 0, 301));
        assert!(!ends(1, 0, 302), "it has ended already");
        // Another lane, and the next subscription of the same lane, start anew; the one before does not come back.
        assert!(!ends(2, 1, 302) && !ends(3, 0, 302) && !ends(1, 0, 303) && !ends(3, 0, 303));
        assert!(ends(3, 0, 304) && !ends(2, 1, 304));
    }
}
