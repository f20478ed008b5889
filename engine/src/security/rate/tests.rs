//! Rates: against exact arithmetic, at the bounds, and among threads.

use std::{
    sync::atomic::{AtomicU64 as Clock, AtomicUsize},
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn rate(per_second: f64, burst: u32) -> Rate {
    Rate::new(per_second, burst).expect("a rate")
}

/// A bucket by the book: tokens come with time, up to the burst. All numbers are multiples of
/// `1 / (NANOS << places)` tokens, so that nothing is rounded.
struct Oracle {
    tokens: i128,
    full: i128,
    one: i128,
    per_nano: i128,
    now: u64,
}

impl Oracle {
    fn new(per_second: f64, burst: u32) -> Self {
        let (mantissa, places) = binary(per_second);
        let one = i128::try_from(NANOS << places).expect("102 bits");
        let full = one * i128::from(burst);
        Self { tokens: full, full, one, per_nano: i128::try_from(mantissa).expect("53 bits"), now: 0 }
    }

    fn pass_time(&mut self, now: u64) {
        let come = self.per_nano.saturating_mul((now - self.now).into());
        self.tokens = self.tokens.saturating_add(come).min(self.full);
        self.now = now;
    }
}

#[test]
fn as_many_as_the_burst_pass_at_once_and_one_more_after_an_interval() {
    for burst in [1, 2, 3, 100] {
        for start in [0, 1, 12_345, SECOND] {
            let bucket = Bucket::new(rate(4.0, burst));
            for _ in 0..burst {
                assert!(bucket.take(start));
            }
            assert!(!bucket.take(start), "the burst and one more");
            let next = start + SECOND / 4;
            assert!(!bucket.take(next - 1), "a nanosecond early");
            assert!(bucket.take(next));
            assert!(!bucket.take(next));
            assert!(!bucket.take(next + SECOND / 4 - 1));
            // Two came meanwhile, as far as they are kept.
            let later = next + SECOND / 2;
            assert_eq!([(); 3].map(|()| bucket.take(later)), [true, burst > 1, false]);
        }
    }
}

#[test]
fn a_rate_without_a_whole_interval_does_not_drift() {
    for per_second in [3.0, 7.0, 0.3, 100.0 / 60.0, 700_000.0, 999_999_999.0] {
        // Two are kept, so that who takes the first a moment after it came does not put off the next one.
        let bucket = Bucket::new(rate(per_second, 2));
        assert_eq!([(); 3].map(|()| bucket.take(0)), [true, true, false]);
        let (mantissa, places) = binary(per_second);
        for token in 1..3_000 {
            let due = u64::try_from(((token * NANOS) << places).div_ceil(mantissa)).unwrap();
            assert!(!bucket.take(due - 1), "token {token} of {per_second} in a second, early");
            assert!(bucket.take(due + 1), "token {token} of {per_second} in a second");
        }
    }
    // After 31 years of seconds: the same to a unit.
    let rate = rate(3.0, 1);
    let units = rate.moment(SECOND * SECOND);
    assert!((3 * SECOND * rate.interval).abs_diff(units) <= 1);
}

#[test]
fn a_burst_passes_in_full_at_any_moment() {
    for per_second in [1e-6, 0.3, 3.0, 100.0 / 60.0, 999_999_999.0, 1e9] {
        for now in [0, 1, 5, 12_345, SECOND, SECOND * SECOND + 1] {
            let bucket = Bucket::new(rate(per_second, 1_000));
            let passed = (0..1_002).filter(|_| bucket.take(now)).count();
            assert_eq!(passed, 1_000, "{per_second} in a second, at {now}");
        }
    }
}

#[test]
fn a_clock_that_goes_back_brings_no_token_and_takes_none_for_long() {
    let bucket = Bucket::new(rate(1.0, 2));
    assert!(bucket.take(10 * SECOND));
    assert!(!bucket.take(0));
    assert!(!bucket.take(9 * SECOND));
    assert!(bucket.take(10 * SECOND), "the second of the burst");
    assert!(!bucket.take(10 * SECOND));
    assert!(!bucket.take(0));
    assert!(bucket.take(11 * SECOND), "as if it had not gone back");
    assert!(!bucket.take(11 * SECOND));
}

#[test]
fn nothing_passes_at_the_end_of_time_and_nothing_panics() {
    for (per_second, burst) in
        [(1e9, u32::MAX), (1e9, 1), (1e-6, 1), (1e-6, 9_000), (0.3, 5), (999_999_999.0, 3)]
    {
        let bucket = Bucket::new(rate(per_second, burst));
        for now in [u64::MAX, u64::MAX - 1, 0, u64::MAX / 2, u64::MAX] {
            bucket.take(now);
        }
        let passed = (0..100_000).filter(|_| bucket.take(u64::MAX)).count();
        assert!(passed <= burst as usize);
    }
}

#[test]
fn numbers_that_are_no_rate_are_refused() {
    for per_second in [0.0, -1.0, 9e-7, 1.1e9, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, -0.0] {
        let refused = Rate::new(per_second, 1).unwrap_err();
        assert!(matches!(refused, RateError::PerSecond(_)));
        assert!(refused.to_string().starts_with("`per_second` is "));
    }
    assert_eq!(Rate::new(1.0, 0), Err(RateError::Burst(0)));
    assert_eq!(Rate::new(1e-6, u32::MAX), Err(RateError::Burst(u32::MAX)));
    let slowest = rate(1e-6, 9_223);
    assert_eq!((slowest.per_second(), slowest.burst()), (1e-6, 9_223));
    assert_eq!(rate(1e9, u32::MAX).interval, 1);
}

proptest! {
    /// Fed with what passes, the exact bucket never lacks what comes in a nanosecond; and when something is refused it
    /// has had a token for less than one. Where the interval is a whole number of nanoseconds the two agree.
    #[test]
    fn what_passes_is_what_exact_arithmetic_lets_pass(
        exponent in -6.0..9.0_f64,
        whole in prop::option::of(prop::sample::select(vec![1.0, 2.0, 4.0, 10.0, 1000.0, 1e6, 0.5, 0.25])),
        burst in 1..20_u32,
        start in 0..1_u64 << 55,
        waits in prop::collection::vec((0..4_u8, 0.0..3.0_f64, 0..3_u64), 1..200),
    ) {
        let per_second = whole.unwrap_or_else(|| 10_f64.powf(exponent).clamp(1e-6, 1e9));
        let bucket = Bucket::new(rate(per_second, burst));
        let mut oracle = Oracle::new(per_second, burst);
        let mut now = start;
        for (kind, intervals, nanos) in waits {
            now += match kind {
                0 => 0,
                1 => nanos,
                _ => Duration::from_secs_f64(intervals / per_second).as_nanos() as u64 + nanos,
            };
            oracle.pass_time(now);
            let near = if whole.is_some() { 0 } else { oracle.per_nano };
            if bucket.take(now) {
                prop_assert!(oracle.tokens + near >= oracle.one, "one too many");
                oracle.tokens -= oracle.one;
            } else {
                prop_assert!(oracle.tokens < oracle.one + near, "one too few");
            }
        }
    }
}

#[test]
fn threads_take_each_token_once() {
    let bucket = Bucket::new(rate(1e-6, 1_000));
    let passed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let taken = (0..1_000).filter(|_| bucket.take(5)).count();
                passed.fetch_add(taken, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(passed.into_inner(), 1_000);
}

/// Threads on one clock, with six keys each minute of which three are of the minute before.
#[test]
fn threads_never_pass_more_than_the_rate_allows_while_buckets_are_swept() {
    const STEP: u64 = SECOND / 50;
    let limits = Limits { rate_keys_max: 8, ..Limits::default() };
    let buckets = Buckets::new(rate(0.1, 3), &limits);
    let (clock, refused) = (Clock::new(0), AtomicUsize::new(0));
    let passed: Vec<_> = (0..100).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (buckets, clock, passed, refused) = (&buckets, &clock, &passed, &refused);
            scope.spawn(move || {
                let mut random = crate::random::Random(thread);
                for _ in 0..20_000 {
                    let now = clock.fetch_add(STEP, Ordering::Relaxed);
                    let key = now / (60 * SECOND) * 3 + random.below(6);
                    let count = match buckets.take(&key, now) {
                        Ok(true) => &passed[key as usize],
                        Ok(false) => continue,
                        Err(_) => refused,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let passed: Vec<_> = passed.into_iter().map(AtomicUsize::into_inner).collect();
    // A key is asked for in two minutes.
    assert!(passed.iter().all(|passed| *passed <= 3 + 12), "{passed:?}");
    assert!(passed.iter().sum::<usize>() > 500, "{passed:?}");
    assert!(refused.into_inner() > 0);
    assert!(buckets.len() <= 8 + 4);
}

#[test]
fn each_key_has_a_bucket_of_its_own() {
    let buckets = Buckets::new(rate(1.0, 1), &Limits::default());
    assert!(buckets.is_empty());
    assert_eq!(buckets.take(&("u", "t"), 0), Ok(true));
    assert_eq!(buckets.take(&("u", "t"), 0), Ok(false));
    assert_eq!(buckets.take(&("u", "other"), 0), Ok(true));
    assert_eq!(buckets.take(&("v", "t"), 0), Ok(true));
    assert_eq!(buckets.take(&("u", "t"), SECOND), Ok(true));
    assert_eq!(buckets.len(), 3);
}

#[test]
fn a_new_key_takes_the_place_of_full_buckets_only() {
    let limits = Limits { rate_keys_max: 3, ..Limits::default() };
    let buckets = Buckets::new(rate(1.0, 2), &limits);
    let full = Err(LimitExceeded { limit: "rate_keys_max", asked: 4, max: 3 });
    assert_eq!(["a", "b", "c"].map(|key| buckets.take(&key, 0)), [Ok(true), Ok(true), Ok(true)]);
    assert_eq!(buckets.take(&"d", 0), full, "no bucket is full");
    assert_eq!(buckets.take(&"a", 0), Ok(true), "known keys are not concerned");
    // `b` and `c` are full after a second, `a` after two.
    assert_eq!(buckets.take(&"d", SECOND - 1), full);
    assert_eq!(buckets.take(&"d", SECOND), Ok(true));
    assert_eq!(buckets.len(), 2);
    assert_eq!([(); 2].map(|()| buckets.take(&"a", SECOND)), [Ok(true), Ok(false)], "`a` was kept as it was");
    assert_eq!([(); 3].map(|()| buckets.take(&"b", SECOND)), [Ok(true), Ok(true), Ok(false)]);
}

#[test]
fn who_looked_at_the_clock_before_a_sweep_gets_no_second_burst() {
    let limits = Limits { rate_keys_max: 1, ..Limits::default() };
    let buckets = Buckets::new(rate(1.0, 2), &limits);
    assert_eq!([(); 2].map(|()| buckets.take(&"a", 0)), [Ok(true), Ok(true)]);
    assert_eq!(buckets.take(&"b", 2 * SECOND), Ok(true), "in the place of `a`, which is full");
    let limits = Limits { rate_keys_max: 2, ..Limits::default() };
    let buckets = Buckets { keys_max: limits.rate_keys_max, ..buckets };
    assert_eq!(buckets.take(&"a", 0), Ok(false), "`a` was not full then");
    assert_eq!([(); 3].map(|()| buckets.take(&"a", 2 * SECOND)), [Ok(true), Ok(true), Ok(false)]);
}

#[test]
fn full_buckets_are_looked_for_at_most_once_in_a_second() {
    let limits = Limits { rate_keys_max: 1, ..Limits::default() };
    let buckets = Buckets::new(rate(1_000.0, 1), &limits);
    assert_eq!(buckets.take(&"a", 0), Ok(true));
    assert!(buckets.take(&"b", 0).is_err(), "looked at all, and `a` was not full");
    assert!(buckets.take(&"b", SECOND - 1).is_err(), "not looked");
    assert_eq!(buckets.take(&"b", SECOND), Ok(true));
    assert_eq!(buckets.len(), 1);
}
