//! What each shard does, beside the sums of all of them: whether the work is spread evenly, and which one is behind.

use std::fmt::Write as _;

macro_rules! of_a_shard {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:literal),+ $(,)?) => {
        /// What one shard counts, and what waits for it, at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ShardMetrics {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl ShardMetrics {
            /// Each count's name and value, in a fixed order.
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }

            /// The counts of all `shards` in the text format of Prometheus, with the number of each as its label.
            pub fn prometheus(shards: &[Self]) -> String {
                let mut out = String::new();
                $(
                    let values = shards.iter().map(|shard| shard.$name);
                    family(&mut out, stringify!($name), $kind, concat!($($doc),+), values);
                )+
                out
            }
        }
    };
}

of_a_shard! {
    /// Events that wait in a shard's inbox, its own and those of other shards.
    waiting: "gauge",
    /// Events accepted by a shard, as the home of their channels.
    published: "counter",
    /// Frames handed to a shard's readers.
    delivered: "counter",
    /// Subscriptions of a shard's readers that are active.
    subscriptions: "gauge",
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, values: impl Iterator<Item = u64>) {
    let name = format!("coulis_shard_{name}{}", if kind == "counter" { "_total" } else { "" });
    // Writing into a `String` cannot fail.
    _ = writeln!(out, "# HELP {name}{help}\n# TYPE {name} {kind}");
    for (shard, value) in values.enumerate() {
        _ = writeln!(out, r#"{name}{{shard="{shard}"}} {value}"#);
    }
}
