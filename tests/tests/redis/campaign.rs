//! Faults of all kinds one after another while two nodes publish: nothing that was acknowledged is missing, nothing
//! came twice, and all nodes have one order.
//!
//! `COULIS_FAULTS` says how many faults there are, `COULIS_SEED` repeats a run.

use std::{
    collections::BTreeSet,
    env,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use coulis::bus::Bus as _;
use coulis_adapters::redis::RedisConfig;
use coulis_tests::random::Random;
use coulis_tests::servers::{
    holds_within,
    proxy::{Fault, Proxy},
    redis::{Keeps, Redis},
    until,
};

use super::{Node, config, numbered};

/// What a publisher was told, by its events' numbers.
#[derive(Default)]
struct Told {
    accepted: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
    refused: BTreeSet<u64>,
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn faults_lose_nothing_and_double_nothing() {
    let (faults, seed) = (number("COULIS_FAULTS", 10), number("COULIS_SEED", 1));
    let mut server = Redis::start(Keeps::Everything, &[]);
    let proxy = Proxy::start(server.port());
    let settings = RedisConfig { publish_wait_max: Duration::from_millis(700), ..config(proxy.port()) };
    let nodes = [Node::start(settings.clone()), Node::start(settings)];
    let witness = Node::of(&server);
    nodes.iter().for_each(Node::connected);
    let over = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    let told = thread::scope(|scope| {
        let publish = |(node, first)| {
            scope.spawn({
                let over = &over;
                move || publish(node, first, over)
            })
        };
        let publishers: Vec<_> = nodes.iter().zip([0, 1 << 32]).map(publish).collect();
        let mut random = Random(seed);
        for _ in 0..faults {
            let seen = witness.count();
            until("events pass between faults", || witness.count() > seen + 20);
            fault(&mut server, &proxy, &mut random);
            let back = Instant::now();
            nodes.iter().for_each(Node::connected);
            slowest = slowest.max(back.elapsed());
        }
        over.store(true, SeqCst);
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect::<Vec<_>>()
    });
    until("all is settled", || nodes.iter().all(|node| node.bus.health().buffered == 0));
    let count: u64 = nodes.iter().map(|node| node.bus.health().accepted).sum();
    let all = || nodes.iter().chain([&witness]);
    all().for_each(|node| node.wait_for(count as usize));
    all().for_each(|node| check(node, &witness, &told, seed));
    let sum = |of: fn(&Told) -> usize| told.iter().map(of).sum::<usize>();
    println!(
        "{faults} faults: {} accepted, {} unknown, {} refused, {count} arrived; connected after {slowest:?} at most",
        sum(|told| told.accepted.len()),
        sum(|told| told.unknown.len()),
        sum(|told| told.refused.len()),
    );
}

/// One fault, from its beginning to its end.
fn fault(server: &mut Redis, proxy: &Proxy, random: &mut Random) {
    let time = Duration::from_millis(50 + random.below(1_500) as u64);
    let pass = || _ = holds_within(time, || false);
    match random.below(7) {
        0 => server.restart(),
        1 => {
            server.kill();
            pass();
            server.restart();
        }
        2 => {
            server.stop();
            pass();
            server.go_on();
        }
        3 => proxy.set(Fault::Reset),
        4 => {
            proxy.set(Fault::Hole);
            pass();
            // What vanished cannot come back on the same connection.
            proxy.set(Fault::Reset);
        }
        5 => {
            let cuts = proxy.cuts();
            proxy.set(Fault::Cut(1 + random.below(400)));
            until("an answer is cut", || proxy.cuts() > cuts);
        }
        _ => {
            proxy.set(Fault::Slow(Duration::from_millis(20)));
            pass();
            proxy.set(Fault::Pass);
        }
    }
}

fn publish(node: &Node, first: u64, over: &AtomicBool) -> Told {
    let mut told = Told::default();
    let mut random = Random(first + 1);
    let mut next = first;
    while !over.load(SeqCst) {
        let count = 1 + random.below(5) as u64;
        let events: Vec<_> = (next..next + count).map(numbered).collect();
        for (number, answer) in (next..).zip(node.bus.publish_many(&events)) {
            match answer {
                Ok(_) => told.accepted.insert(number),
                Err(error) if error.unknown => told.unknown.insert(number),
                Err(_) => told.refused.insert(number),
            };
        }
        next += count;
    }
    told
}

fn check(node: &Node, witness: &Node, told: &[Told], seed: u64) {
    let numbers = node.numbers();
    assert!(numbers == witness.numbers(), "COULIS_SEED={seed}: two orders");
    let came: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(came.len(), numbers.len(), "COULIS_SEED={seed}: something came twice");
    assert_eq!(node.missed(), [], "COULIS_SEED={seed}");
    for told in told {
        let lost: Vec<_> = told.accepted.difference(&came).collect();
        assert!(lost.is_empty(), "COULIS_SEED={seed}: {lost:?} were accepted");
        let risen: Vec<_> = told.refused.intersection(&came).collect();
        assert!(risen.is_empty(), "COULIS_SEED={seed}: {risen:?} were refused");
    }
    let known: BTreeSet<_> =
        told.iter().flat_map(|told| told.accepted.union(&told.unknown)).copied().collect();
    assert!(came.is_subset(&known), "COULIS_SEED={seed}: something came that nobody published");
    for own in [0..1 << 32, 1 << 32..u64::MAX] {
        let order: Vec<_> = numbers.iter().filter(|number| own.contains(*number)).collect();
        assert!(order.is_sorted(), "COULIS_SEED={seed}: out of order");
    }
}
