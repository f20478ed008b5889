//! How often something may be done: token buckets, each in one atomic number.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A; "virtual scheduling"): instead of tokens, which would have to
//! be filled up, a bucket keeps the time at which it will be full again. A token puts that off by the interval
//! between two tokens; one that would put it off by more than `burst` intervals from now is refused.
//!
//! Time is counted in units of which an interval has a whole number, from half a nanosecond to one. So intervals are
//! summed without an error, and what the clock says is converted anew each time, rounded down: nothing drifts, the
//! burst passes in full at any moment, and no token passes a nanosecond before its time. Where an interval is a whole
//! number of nanoseconds nothing is rounded at all.

use std::{fmt, hash::Hash};

use crate::{
    error::LimitExceeded,
    limits::Limits,
    sync::{AtomicU64, Ordering},
};

const NANOS: u128 = 1_000_000_000;
/// Tokens in a second: one in twelve days, one in a nanosecond.
const PER_SECOND: std::ops::RangeInclusive<f64> = 1e-6..=1e9;
/// Units that a bucket takes to fill, about 146 years.
const FILL_MAX: u128 = 1 << 63;
/// A bucket that is not used any more.
const GONE: u64 = u64::MAX;
/// Nanoseconds between two searches for buckets that need not be kept.
const SWEEP_NANOS: u64 = 1_000_000_000;

/// Why numbers are no rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RateError {
    /// Not a number, or too slow or too fast.
    PerSecond(f64),
    /// No token at all, or so many that the bucket would not fill up in a lifetime.
    Burst(u32),
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(given) => write!(
                f,
                "`per_second` is {given}: pass a number from {:e} to {:e}",
                PER_SECOND.start(),
                PER_SECOND.end()
            ),
            Self::Burst(given) => {
                write!(f, "`burst` is {given}: pass 1 or more, and less than the rate gives in 146 years")
            }
        }
    }
}

impl std::error::Error for RateError {}

/// So many in a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_second: f64,
    burst: u32,
    /// Units between two tokens.
    interval: u64,
    /// Units from a full bucket to one with a single token.
    tolerance: u64,
    /// Units in a nanosecond, from 1 to 2, with 63 binary places.
    units: u64,
}

impl Rate {
    /// `per_second` tokens come in a second, and `burst` of them are kept.
    ///
    /// # Errors
    /// No token at once, or a rate that is no number between 0.000001 and 1,000,000,000.
    pub fn new(per_second: f64, burst: u32) -> Result<Self, RateError> {
        if !PER_SECOND.contains(&per_second) {
            return Err(RateError::PerSecond(per_second));
        }
        let (mantissa, places) = binary(per_second);
        // An interval is `NANOS / per_second` nanoseconds long; the next whole number is that of its units.
        let interval = (NANOS << places).div_ceil(mantissa);
        let scaled = interval * mantissa;
        let units = if places > 63 { scaled >> (places - 63) } else { scaled << (63 - places) } / NANOS;
        let fill = interval * u128::from(burst);
        match (u64::try_from(interval), u64::try_from(units)) {
            (Ok(interval), Ok(units)) if burst > 0 && fill <= FILL_MAX => {
                Ok(Self { per_second, burst, interval, tolerance: interval * u64::from(burst - 1), units })
            }
            _ => Err(RateError::Burst(burst)),
        }
    }

    /// Tokens that come in a second.
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Tokens that are kept, so that so many may be taken at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// A moment in whole units.
    fn moment(&self, nanos: u64) -> u64 {
        let units = (u128::from(nanos) * u128::from(self.units)) >> 63;
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

/// `mantissa / 2^places` is exactly `number`, which is in [`PER_SECOND`].
fn binary(number: f64) -> (u128, u32) {
    const FRACTION_BITS: u32 = 52;
    let bits = number.to_bits();
    let mantissa = bits & ((1 << FRACTION_BITS) - 1) | 1 << FRACTION_BITS;
    let exponent = (bits >> FRACTION_BITS) as u32;
    (mantissa.into(), (1023 + FRACTION_BITS).saturating_sub(exponent))
}

/// What became of a token that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    No,
    /// The bucket is not used any more: ask the one in its place.
    Gone,
}

/// A bucket without its rate: the moment at which it will be full again, in units; [`GONE`] for ever.
///
/// The number is all there is, so tokens order no other memory. Only the end of a bucket does.
#[derive(Debug)]
struct Level(AtomicU64);

impl Level {
    /// A bucket that is full from this moment on.
    fn full_at(units: u64) -> Self {
        Self(AtomicU64::new(units))
    }

    fn take(&self, rate: &Rate, now_nanos: u64) -> Taken {
        let now = rate.moment(now_nanos);
        let latest = now.saturating_add(rate.tolerance);
        // Who sees the end of a bucket sees what was noted before it.
        let mut full = self.0.load(Ordering::Acquire);
        loop {
            if full == GONE {
                return Taken::Gone;
            }
            if full > latest {
                return Taken::No;
            }
            // At the end of time nothing passes.
            let Some(next) = full.max(now).checked_add(rate.interval).filter(|next| *next < GONE) else {
                return Taken::No;
            };
            match self.0.compare_exchange_weak(full, next, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return Taken::Yes,
                Err(found) => full = found,
            }
        }
    }

    /// Whether a token could be taken; one that is at its end gives way to a full one.
    fn has_token(&self, rate: &Rate, now_nanos: u64) -> bool {
        let full = self.0.load(Ordering::Relaxed);
        full == GONE || full <= rate.moment(now_nanos).saturating_add(rate.tolerance)
    }

    /// Ends the bucket if it is full now; answers whether it is at its end. A full bucket that comes in its place is
    /// the same, and a token that is taken meanwhile is taken from one of the two.
    fn retire(&self, rate: &Rate, now_nanos: u64) -> bool {
        let now = rate.moment(now_nanos);
        let full = self.0.load(Ordering::Relaxed);
        full == GONE
            || (full <= now
                && self.0.compare_exchange(full, GONE, Ordering::Release, Ordering::Relaxed).is_ok())
    }

    fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == GONE
    }
}

/// A bucket of tokens, full at first, for any number of threads.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    level: Level,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self { rate, level: Level::full_at(0) }
    }

    /// Takes a token at `now_nanos`, nanoseconds on a clock that all takers share, from 0; answers whether there was
    /// one. Where the clock goes back no token comes until it has caught up.
    pub fn take(&self, now_nanos: u64) -> bool {
        self.level.take(&self.rate, now_nanos) == Taken::Yes
    }

    /// Whether [`Bucket::take`] would find a token now.
    pub fn has_token(&self, now_nanos: u64) -> bool {
        self.level.has_token(&self.rate, now_nanos)
    }
}

/// Buckets of one rate by key, such as a user and a tenant, for any number of threads.
pub struct Buckets<K> {
    rate: Rate,
    levels: papaya::HashMap<K, Level>,
    keys_max: usize,
    /// When to look for buckets that need not be kept, at the earliest: [`SWEEP_NANOS`] after the last time.
    next_sweep: AtomicU64,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// No buckets yet; each is full when its key first comes.
    pub fn new(rate: Rate, limits: &Limits) -> Self {
        let levels = papaya::HashMap::new();
        Self { rate, levels, keys_max: limits.rate_keys_max, next_sweep: AtomicU64::new(0) }
    }

    /// Takes a token of the bucket of `key`; see [`Bucket::take`].
    ///
    /// # Errors
    /// `rate_keys_max`, where the key is a new one and no bucket is full, which is as good as none. Keys that come at
    /// the same moment may be more than the bound by the number of threads.
    pub fn take(&self, key: &K, now_nanos: u64) -> Result<bool, LimitExceeded> {
        let levels = self.levels.pin();
        loop {
            let level = if let Some(level) = levels.get(key) {
                level
            } else {
                self.make_room(now_nanos)?;
                levels.get_or_insert_with(key.clone(), || self.fresh())
            };
            match level.take(&self.rate, now_nanos) {
                Taken::Yes => return Ok(true),
                Taken::No => return Ok(false),
                // Whether this thread or the one that sweeps takes it out: a full one comes in its place.
                Taken::Gone => drop(levels.remove_if(key, |_, level| level.is_gone())),
            }
        }
    }

    /// Whether [`Buckets::take`] would find a token of `key` now; a key without a bucket has a full one.
    pub fn have_token(&self, key: &K, now_nanos: u64) -> bool {
        self.levels.pin().get(key).is_none_or(|level| level.has_token(&self.rate, now_nanos))
    }

    /// Keys that have a bucket.
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether no key has a bucket.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// A bucket that is full from the last sweep on: one in whose place it comes was full then, and perhaps not at the
    /// moment that a thread has which looked at the clock before.
    fn fresh(&self) -> Level {
        let swept = self.next_sweep.load(Ordering::Relaxed).saturating_sub(SWEEP_NANOS);
        Level::full_at(self.rate.moment(swept))
    }

    fn make_room(&self, now_nanos: u64) -> Result<(), LimitExceeded> {
        let asked = |len: usize| LimitExceeded::check("rate_keys_max", len + 1, self.keys_max);
        if asked(self.levels.len()).is_ok() {
            return Ok(());
        }
        // Seldom: whoever brings new keys all the time would otherwise have all keys looked at each time.
        let due = self.next_sweep.load(Ordering::Relaxed);
        let next = now_nanos.saturating_add(SWEEP_NANOS);
        let is_mine = due <= now_nanos
            && self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_mine {
            self.levels.pin().retain(|_, level| !level.retire(&self.rate, now_nanos));
        }
        asked(self.levels.len())
    }
}

// Without the keys: they say who is here.
impl<K> fmt::Debug for Buckets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("rate", &self.rate).finish_non_exhaustive()
    }
}

#[cfg(all(test, coulis_loom))]
mod model;
#[cfg(all(test, not(coulis_loom)))]
mod tests;
