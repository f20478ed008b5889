//! What a subscription costs: time, with a document that is known or new, and memory where there are a million.

use std::{
    env, fs,
    process::Command,
    time::{Duration, Instant},
};

use coulis::engine::Engine;

use crate::{
    async_graphql, coulis as ours,
    measure::{ROUNDS, Row, median},
    work::{Work, query},
};

/// Subscriptions of one round.
const COUNT: usize = 1_000;

/// Subscriptions whose memory is measured.
const MANY: usize = 1_000_000;

/// The rows of this workload: nanoseconds a registration stand where others have nanoseconds an event.
pub fn rows() -> Vec<Row> {
    let engine = crate::coulis::engine(Duration::ZERO);
    let known = |_| vec![query("mag"); COUNT];
    let new =
        |round: usize| (0..COUNT).map(|number| query(&format!("m{}", round * COUNT + number))).collect();
    ours::registration(&engine, &known(0));
    [contest(&engine, "document known", known), contest(&engine, "document new", new)].concat()
}

fn contest(engine: &Engine, name: &str, queries: impl Fn(usize) -> Vec<String>) -> Vec<Row> {
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let queries = queries(round);
        samples[0].push(ours::registration(engine, &queries));
        samples[1].push(async_graphql::registration(&queries));
    }
    let nanoseconds = |spent: Duration| spent.as_nanos() as f64 / COUNT as f64;
    let row = |(system, samples): (&str, Vec<Duration>)| Row {
        workload: format!("register, {name}"),
        system: system.into(),
        in_flight: 0,
        per_event: median(samples.into_iter().map(nanoseconds)),
        per_delivery: None,
        processor: None,
        reading: None,
    };
    ["coulis", "async-graphql"].into_iter().zip(samples).map(row).collect()
}

/// Memory and time of a million subscriptions, each figure from a process of its own: what another measurement
/// left behind in the allocator would hide what this one takes.
pub fn report_memory() {
    for per_subscriber in [1, 100] {
        let program = env::current_exe().expect("this program");
        let status = Command::new(program).args(["memory-of", &per_subscriber.to_string()]).status();
        assert!(status.expect("a process").success());
    }
}

/// What the process of its own does.
pub fn measure_memory(per_subscriber: usize) {
    let work = Work::fan_out(MANY);
    let engine = crate::coulis::engine(Duration::ZERO);
    let mut readers = Vec::with_capacity(MANY / per_subscriber);
    let before = resident_bytes();
    let start = Instant::now();
    for first in (0..MANY).step_by(per_subscriber) {
        let mut reader = engine.open(crate::coulis::polling()).expect("a subscriber");
        for subscription in first..first + per_subscriber {
            engine.subscribe(&mut reader, ours::request(&work, subscription)).expect("a subscription");
        }
        readers.push(reader);
    }
    let spent = start.elapsed();
    let bytes = resident_bytes() - before;
    assert_eq!(readers.iter().map(|reader| reader.len()).sum::<usize>(), MANY);
    println!(
        "{MANY} subscriptions, {per_subscriber} a subscriber: {:.2} s, {} bytes a subscription (VmRSS)",
        spent.as_secs_f64(),
        bytes / MANY
    );
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1_024
}
