//! How long does one event take to 100 readers of one group, and to 10,000, from publish to readable?

use std::{hint::black_box, time::Duration};

use coulis::engine::Engine;
use coulis_benches::{drain, event, readers};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// One event in flight: two thread hand-overs and the whole road, spinning and sleeping.
fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch");
    for (name, spin) in [("sleeping", Duration::ZERO), ("spinning", Duration::from_millis(1))] {
        let engine = Engine::builder().shards(1).spin(spin).build().expect("an engine");
        let mut readers = readers(&engine, 100);
        group.bench_function(BenchmarkId::new(name, 100), |bench| {
            bench.iter_custom(|count| {
                let mut spent = Duration::ZERO;
                for _ in 0..count {
                    let event = event();
                    let start = std::time::Instant::now();
                    let report = engine.publish(event).expect("accepted").wait();
                    spent += start.elapsed();
                    assert_eq!((report.delivered, drain(&mut readers)), (100, 100));
                }
                spent
            });
        });
    }
}

/// Events back to back: parse, match, render, push; readers drain in between.
fn throughput(c: &mut Criterion) {
    const BATCH: u64 = 256;
    let mut group = c.benchmark_group("throughput");
    for count in [100, 1_000, 10_000] {
        let engine = Engine::builder().shards(1).build().expect("an engine");
        let mut readers = readers(&engine, count);
        group.throughput(Throughput::Elements(BATCH * count as u64));
        group.sample_size(20);
        group.bench_function(BenchmarkId::new("deliveries", count), |bench| {
            bench.iter_custom(|batches| {
                let mut spent = Duration::ZERO;
                for _ in 0..batches {
                    let start = std::time::Instant::now();
                    for _ in 1..BATCH {
                        engine.publish_nowait(black_box(event())).expect("accepted");
                    }
                    engine.publish(event()).expect("accepted").wait();
                    spent += start.elapsed();
                    assert_eq!(drain(&mut readers), BATCH as usize * count);
                }
                spent
            });
        });
    }
}

criterion_group!(benches, dispatch, throughput);
criterion_main!(benches);
