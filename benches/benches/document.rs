//! What does it cost to read one event and look at three of its fields, by our index and by two well-known parsers?

use std::hint::black_box;

use coulis::value::Document;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use simd_json::prelude::ValueAsScalar as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What each reader must find: id, magnitude, depth.
type Answer = (String, f64, f64);

fn parse_and_get(c: &mut Criterion) {
    let week = include_str!("../../python/examples/earthquakes/earthquakes.ndjson");
    let event = week.lines().next().unwrap();
    let expected: Answer = ("uw61345682".into(), 0.31, 3.28);
    let mut group = c.benchmark_group(format!("parse_and_get_{}_bytes", event.len()));
    group.throughput(Throughput::Bytes(event.len() as u64));

    let by_index = |text: &str| -> Answer {
        let document = Document::parse(text, 64).unwrap();
        let root = document.root();
        let depth = root.get("location").unwrap().get("depthKm").unwrap();
        let id = root.get("id").unwrap().as_str().unwrap().into_owned();
        (id, root.get("mag").unwrap().as_f64().unwrap(), depth.as_f64().unwrap())
    };
    assert_eq!(by_index(event), expected);
    group.bench_function("coulis", |b| b.iter(|| by_index(black_box(event))));

    let mut buffers = simd_json::Buffers::default();
    let mut tape = simd_json::tape::Tape(Vec::new()).reset();
    let mut by_tape = |text: &str| -> Answer {
        let mut bytes = text.as_bytes().to_vec();
        let mut read = std::mem::replace(&mut tape, simd_json::tape::Tape(Vec::new()).reset());
        simd_json::fill_tape(&mut bytes, &mut buffers, &mut read).unwrap();
        let root = read.as_value();
        let id = root.get("id").unwrap().as_str().unwrap().to_owned();
        let depth = root.get("location").unwrap().get("depthKm").unwrap().as_f64().unwrap();
        let answer = (id, root.get("mag").unwrap().as_f64().unwrap(), depth);
        tape = read.reset();
        answer
    };
    assert_eq!(by_tape(event), expected);
    group.bench_function("simd_json_tape", |b| b.iter(|| by_tape(black_box(event))));

    let by_tree = |text: &str| -> Answer {
        let root: Value = serde_json::from_str(text).unwrap();
        let id = root["id"].as_str().unwrap().to_owned();
        (id, root["mag"].as_f64().unwrap(), root["location"]["depthKm"].as_f64().unwrap())
    };
    assert_eq!(by_tree(event), expected);
    group.bench_function("serde_json_value", |b| b.iter(|| by_tree(black_box(event))));
    group.finish();
}

criterion_group!(benches, parse_and_get);
criterion_main!(benches);
