//! How rivals are measured: in turns within each round, the median over the rounds.

use std::time::Duration;

/// Rounds of which the median is reported.
pub const ROUNDS: usize = 7;

/// What one system works off in one round, about.
const ROUND: Duration = Duration::from_millis(25);

/// One batch of events on its way.
#[derive(Clone, Copy, Default)]
pub struct Timed {
    pub events: usize,
    pub deliveries: usize,
    /// From the first event to the last of its results being where a reader finds it.
    pub publishing: Duration,
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
    let batch = system.batch();
    let spent = batch.publishing + batch.reading.unwrap_or_default();
    (ROUND.as_nanos() / spent.as_nanos().max(1)).clamp(1, 10_000) as usize
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
    let deliveries = |round: &Timed| round.deliveries.max(1) as f64;
    let publishing = |round: &Timed| round.publishing.as_nanos() as f64;
    Row {
        workload: workload.into(),
        system: system.name().into(),
        in_flight: system.in_flight(),
        per_event: median(rounds.iter().map(|round| publishing(round) / round.events as f64)),
        per_delivery: Some(median(rounds.iter().map(|round| publishing(round) / deliveries(round)))),
        reading: rounds.iter().all(|round| round.reading.is_some()).then(|| {
            median(
                rounds
                    .iter()
                    .map(|round| round.reading.unwrap_or_default().as_nanos() as f64 / deliveries(round)),
            )
        }),
    }
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
