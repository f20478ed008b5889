//! How rivals are measured: in turns within each round, the median over the rounds.

use std::{
    ops::Add,
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// Rounds of which the median is reported.
pub const ROUNDS: usize = 7;

/// What one system works off in one round, about.
const ROUND: Duration = Duration::from_millis(25);

/// What it takes in one round with what is not measured, such as looking whether a million readers got nothing.
const ROUND_IN_ALL: Duration = Duration::from_millis(500);

/// Below this the clock of the processor time, a system call, would be much of what it measures.
const PROCESSOR_TIME_MIN: Duration = Duration::from_micros(20);

/// Longer than a shard of ours ever spins.
const REST: Duration = Duration::from_micros(300);

/// Time on the clock, and of the processor: all threads' together, and none of what other processes took.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    pub clock: Duration,
    pub processor: Duration,
}

/// Measures both.
pub struct Stopwatch {
    clock: Instant,
    processor: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        let processor = processor();
        Self { clock: Instant::now(), processor }
    }

    pub fn stop(&self) -> Spent {
        let clock = self.clock.elapsed();
        Spent { clock, processor: processor() - self.processor }
    }

    /// The same where other threads work too: what a thread has used is known when it sleeps or at a tick of the
    /// system, so the processor time is read when they have had time to fall asleep.
    pub fn stop_and_rest(&self) -> Spent {
        let clock = self.clock.elapsed();
        thread::park_timeout(REST);
        Spent { clock, processor: processor() - self.processor }
    }
}

fn processor() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().expect("not before the start")
}

impl Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { clock: self.clock + other.clock, processor: self.processor + other.processor }
    }
}

/// One batch of events on its way.
#[derive(Clone, Copy, Default)]
pub struct Timed {
    pub events: usize,
    pub deliveries: usize,
    /// From the first event to the last of its results being where a reader finds it.
    pub publishing: Spent,
    /// Reading all of it and writing the `next` messages, where that is a step of its own.
    pub reading: Option<Duration>,
}

/// One design at one workload, ready to run.
pub trait System {
    /// How it stands in the table.
    fn name(&self) -> &'static str;

    /// Events of a batch: how many are under way at once.
    fn in_flight(&self) -> usize;

    /// Takes a batch of events through and checks what came of it; the check is not in the times.
    fn batch(&mut self) -> Timed;

    /// The same with each body compared, where [`System::batch`] compares only counts and lengths.
    fn checked_batch(&mut self) {
        self.batch();
    }
}

/// One line of the table; times in nanoseconds.
#[derive(Clone)]
pub struct Row {
    pub workload: String,
    pub system: String,
    /// Events that are under way at once; 0 where the word means nothing.
    pub in_flight: usize,
    pub per_event: f64,
    pub per_delivery: Option<f64>,
    /// Processor time of publishing, per delivery.
    pub processor: Option<f64>,
    /// Per delivery.
    pub reading: Option<f64>,
}

/// Measures systems at one workload against each other.
pub fn contest(workload: &str, mut systems: Vec<Box<dyn System>>) -> Vec<Row> {
    let repeats: Vec<_> = systems.iter_mut().map(|system| repeats(system.as_mut())).collect();
    let mut rounds = vec![Vec::new(); systems.len()];
    for _ in 0..ROUNDS {
        for ((system, repeats), rounds) in systems.iter_mut().zip(&repeats).zip(&mut rounds) {
            // Warms up what the other systems made cold, too.
            system.checked_batch();
            rounds.push(sum((0..*repeats).map(|_| system.batch())));
        }
    }
    systems.iter().zip(&rounds).map(|(system, rounds)| row(workload, system.as_ref(), rounds)).collect()
}

/// How many batches make a round.
fn repeats(system: &mut dyn System) -> usize {
    system.checked_batch();
    let start = Instant::now();
    let batch = system.batch();
    let in_all = start.elapsed();
    let spent = batch.publishing.clock + batch.reading.unwrap_or_default();
    let fit = |time: Duration, one: Duration| time.as_nanos() / one.as_nanos().max(1);
    fit(ROUND, spent).min(fit(ROUND_IN_ALL, in_all)).clamp(1, 10_000) as usize
}

fn sum(batches: impl Iterator<Item = Timed>) -> Timed {
    batches.fold(Timed::default(), |sum, batch| Timed {
        events: sum.events + batch.events,
        deliveries: sum.deliveries + batch.deliveries,
        publishing: sum.publishing + batch.publishing,
        reading: batch.reading.map(|reading| reading + sum.reading.unwrap_or_default()),
    })
}

fn row(workload: &str, system: &dyn System, rounds: &[Timed]) -> Row {
    let middle = |figure: fn(&Timed) -> f64| median(rounds.iter().map(figure));
    let per_event = middle(|round| nanoseconds(round.publishing.clock) / round.events as f64);
    let batch = Duration::from_nanos((per_event * system.in_flight() as f64) as u64);
    Row {
        workload: workload.into(),
        system: system.name().into(),
        in_flight: system.in_flight(),
        per_event,
        per_delivery: Some(middle(|round| nanoseconds(round.publishing.clock) / round.deliveries as f64)),
        processor: (batch >= PROCESSOR_TIME_MIN)
            .then(|| middle(|round| nanoseconds(round.publishing.processor) / round.deliveries as f64)),
        reading: rounds.iter().all(|round| round.reading.is_some()).then(|| {
            middle(|round| nanoseconds(round.reading.unwrap_or_default()) / round.deliveries as f64)
        }),
    }
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// The middle one; of an even number the upper of the two.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(&mut values.into_iter().collect::<Vec<_>>(), 0.5)
}

/// The smallest value that is not below `part` of all.
///
/// # Panics
/// If there are no values.
pub fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[((values.len() as f64 * part) as usize).min(values.len() - 1)]
}
