//! What the engine counts, and the one equation that all of it obeys at rest:
//! `matched = delivered + coalesced + dropped + discarded + denied + rate_limited + failed + pending`.
//!
//! A shard writes its own counters (no atomic read-modify-write on its way); readers and publishers add to theirs
//! once a batch. A snapshot adds them up.

mod decisions;
mod shards;

pub(crate) use decisions::Decisions;
pub use decisions::{Module, Ruling, Rulings};
pub use shards::ShardMetrics;

use std::fmt::Write as _;

use crossbeam::utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:literal),+ $(,)?) => {
        /// Counters of one writer.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        /// The engine's counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: u64,)+
            decisions: [Rulings; Module::ALL.len()],
        }

        impl Metrics {
            pub(crate) fn add(&mut self, counters: &Counters) {
                $(self.$name = self.$name.wrapping_add(counters.$name.get());)+
            }

            /// Each counter's name and value, in a fixed order; `pending` last.
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+ ("pending", self.pending())]
            }

            /// The counters in the text format of Prometheus.
            pub fn prometheus(&self) -> String {
                let mut out = String::new();
                $(row(&mut out, stringify!($name), $kind, concat!($($doc),+), self.$name);)+
                row(&mut out, "pending", "gauge", " Matched deliveries that wait for a resolver or a reader.", self.pending());
                self.write_decisions(&mut out);
                out
            }
        }
    };
}

counters! {
    /// Events accepted by their channel's home shard.
    published: "counter",
    /// Subscriptions that an event was meant for, before their policy was asked.
    matched: "counter",
    /// Matched, and withheld by the policy.
    denied: "counter",
    /// Of those: the policy had no answer, which is a no. Only policies that were asked are counted: what the index
    /// rules out is not.
    policy_errors: "counter",
    /// Matched, admitted by the policy, and withheld by a rate of deliveries; their readers are told.
    rate_limited: "counter",
    /// Results that took their tokens where deliveries have a rate.
    rate_allowed: "counter",
    /// Matched, and lost because a result could not be made and its reader could not be told.
    failed: "counter",
    /// Frames put into rings.
    pushed: "counter",
    /// Frames lost to full rings, by the overflow policy of their subscription; their readers are told.
    dropped: "counter",
    /// Frames that a newer one of their key replaced, while a ring was full.
    coalesced: "counter",
    /// Frames handed to readers.
    delivered: "counter",
    /// Frames of subscriptions that were completed before they were read.
    discarded: "counter",
    /// Bodies rendered.
    rendered: "counter",
    /// Results asked from resolvers.
    resolver_calls: "counter",
    /// Resolvers that failed or gave no answer; their readers got `errors`.
    resolver_errors: "counter",
    /// Subscriptions that were resumed, with everything that they had missed.
    resumed: "counter",
    /// Subscriptions that could not be resumed, and were told to load anew.
    reloaded: "counter",
    /// Subscriptions that ended because their policy or their resolver failed too often.
    broken: "counter",
    /// Readers woken.
    wakes: "counter",
    /// Publishes refused because an inbox was full.
    queue_full: "counter",
    /// Events of a carrier left out because their channel cannot be: it is `*`, or there are too many.
    refused_events: "counter",
    /// Subscriptions registered since the start.
    subscribed: "counter",
    /// Subscriptions refused since the start.
    refused: "counter",
    /// Subscriptions that are active.
    subscriptions: "gauge",
    /// Subscribers that are open.
    subscribers: "gauge",
}

impl Metrics {
    /// Matched deliveries that wait for a resolver or a reader; 0 when everything has come to rest.
    pub fn pending(&self) -> u64 {
        let withheld = self.denied + self.rate_limited;
        let done = self.delivered + self.coalesced + self.dropped + self.discarded + withheld + self.failed;
        self.matched.saturating_sub(done)
    }
}

fn row(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    let suffix = if kind == "counter" { "_total" } else { "" };
    // Writing into a `String` cannot fail.
    _ = writeln!(
        out,
        "# HELP coulis_{name}{suffix}{help}\n# TYPE coulis_{name}{suffix} {kind}\ncoulis_{name}{suffix} {value}"
    );
}

/// One counter, on the cache line of its neighbours: they have the same writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds, where this thread is the only writer.
    pub(crate) fn add_owned(&self, count: u64) {
        self.0.store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    /// Adds, where several threads write; answers the sum.
    pub(crate) fn add(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::Relaxed).wrapping_add(count)
    }

    /// Takes away, where several threads write.
    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of everybody who is not a shard, or of those who read from one.
pub(crate) type SharedCounters = CachePadded<Counters>;
