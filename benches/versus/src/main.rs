//! Coulis and other designs at the same work, measured in turns: what counts are the ratios of one run.
//!
//! `cargo run --release` runs everything, in less than three minutes; words after `--` choose workloads and systems
//! whose names hold one of them (Coulis always runs: the ratios are to it), `--large` adds a million subscriptions,
//! `handover` runs the comparison of two forms of handing results over instead, `residual` that of one policy's decision.

mod async_graphql;
mod broadcast;
mod coulis;
mod handover;
mod latency;
mod limit;
mod measure;
mod predicates;
mod registration;
mod report;
mod residual;
mod straightforward;
mod wakes;
mod work;

use std::{env, rc::Rc};

use measure::{Row, System, contest};
use work::Work;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the command line asks for.
struct Asked {
    words: Vec<String>,
    large: bool,
}

/// A workload, who takes part, and how many events are under way at once where publishing does not wait.
struct Entry {
    work: Work,
    in_flight: usize,
    rivals: &'static [Rival],
}

/// A rival's name, how it starts, and how many events it is given at once at most.
struct Rival {
    name: &'static str,
    start: fn(&Rc<Work>, usize) -> Box<dyn System>,
    in_flight_max: usize,
}

const LIMIT: Rival = Rival {
    name: "limit",
    start: |work, batch| Box::new(limit::Limit::new(work, batch)),
    in_flight_max: 256,
};
const SPINNING: Rival = Rival {
    name: "coulis, spin",
    start: |work, batch| Box::new(coulis::Coulis::spinning(work, batch)),
    in_flight_max: 256,
};
const BROADCAST: Rival = Rival {
    name: "broadcast",
    start: |work, batch| Box::new(broadcast::Broadcast::new(work, batch)),
    in_flight_max: 256,
};
/// It gains nothing from more.
const ASYNC_GRAPHQL: Rival = Rival {
    name: "async-graphql",
    start: |work, batch| Box::new(async_graphql::AsyncGraphql::new(work, batch)),
    in_flight_max: 16,
};
/// It takes one after the other.
const STRAIGHTFORWARD: Rival = Rival {
    name: "straightforward",
    start: |work, batch| Box::new(straightforward::Straightforward::new(work, batch)),
    in_flight_max: 1,
};

const ALL: &[Rival] = &[SPINNING, LIMIT, BROADCAST, ASYNC_GRAPHQL, STRAIGHTFORWARD];
const THAT_PROJECT: &[Rival] = &[LIMIT, ASYNC_GRAPHQL, STRAIGHTFORWARD];
const A_TREE: Rival = Rival { name: "a-tree", start: predicates::a_tree, in_flight_max: 1 };
const WIREFILTER: Rival = Rival { name: "wirefilter", start: predicates::wirefilter, in_flight_max: 1 };
/// They match and do nothing else.
const MATCHERS: &[Rival] = &[LIMIT, A_TREE, WIREFILTER];

/// A million streams of async-graphql do not fit.
const AT_A_MILLION: &[Rival] = &[LIMIT, STRAIGHTFORWARD];

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [word, count] = &arguments[..]
        && word == "memory-of"
    {
        return registration::measure_memory(count.parse().expect("a number"));
    }
    let asked = Asked {
        large: arguments.iter().any(|word| word == "--large"),
        words: arguments.into_iter().filter(|word| !word.starts_with("--")).collect(),
    };
    report::machine();
    if asked.words == ["handover"] {
        return handover::report();
    }
    if asked.words == ["residual"] {
        return residual::report();
    }
    report::head();
    for entry in entries(asked.large) {
        report::rows(&run(&asked, &entry));
    }
    for (name, rows) in [("latency", latency::rows as fn() -> Vec<Row>), ("register", registration::rows)] {
        if asked.wants(name) {
            report::rows(&rows());
        }
    }
    if asked.wants("wakes") {
        wakes::report();
    }
    if asked.large && asked.wants("memory") {
        registration::report_memory();
    }
}

fn entries(large: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    for readers in [100, 1_000, 10_000] {
        for in_flight in [256, 1] {
            entries.push(Entry { work: Work::fan_out(readers), in_flight, rivals: ALL });
        }
    }
    entries.push(Entry { work: Work::own_forms(100), in_flight: 256, rivals: THAT_PROJECT });
    for (subscriptions, matching) in [(1_000, 10), (100_000, 10), (10_000, 100)] {
        for work in [Work::selective, Work::selective_groups].map(|work| work(subscriptions, matching)) {
            entries.push(Entry { work, in_flight: 256, rivals: THAT_PROJECT });
        }
    }
    for in_flight in [256, 1] {
        entries.push(Entry { work: Work::equalities(100_000), in_flight, rivals: MATCHERS });
    }
    if large {
        for matching in [10, 1] {
            let work = Work::selective(1_000_000, matching);
            entries.push(Entry { work, in_flight: 8, rivals: AT_A_MILLION });
        }
    }
    entries
}

fn run(asked: &Asked, Entry { work, in_flight, rivals }: &Entry) -> Vec<Row> {
    let whole = asked.wants(&work.name);
    let wanted: Vec<_> = rivals.iter().filter(|rival| whole || asked.wants(rival.name)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let work = Rc::new(work.clone());
    let mut systems: Vec<Box<dyn System>> = vec![Box::new(coulis::Coulis::new(&work, *in_flight))];
    systems.extend(wanted.iter().map(|rival| (rival.start)(&work, (*in_flight).min(rival.in_flight_max))));
    let name = if *in_flight == 1 { format!("{}, waiting", work.name) } else { work.name.clone() };
    contest(&name, systems)
}

impl Asked {
    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// The runtime of every async rival: one thread, as one shard of Coulis is one.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}
