//! Times in buckets whose width follows their size: a fixed amount of memory for any number of them, within 1.6 percent.

use super::outcome::Latency;

/// Buckets for each power of two.
const STEPS: u64 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// How many times fell into each bucket.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; ((64 - STEP_BITS as usize) + 1) * STEPS as usize], count: 0, max: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, nanoseconds: u64) {
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// The time that a `share` of all stays below or at, in nanoseconds.
    fn quantile(&self, share: f64) -> u64 {
        let due = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= due
        });
        at.map_or(self.max, |at| upper_end(at).min(self.max))
    }

    /// In microseconds; `None` when there was nothing.
    pub(super) fn latency(&self) -> Option<Latency> {
        let us = |share| self.quantile(share) as f64 / 1e3;
        let latency = Latency { p50: us(0.5), p90: us(0.9), p99: us(0.99), p999: us(0.999), max: self.max as f64 / 1e3 };
        (self.count > 0).then_some(latency)
    }
}

#[inline]
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

/// The largest value of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_its_bucket_and_near_its_end() {
        for value in
            (0..64).flat_map(|bit| [1u64 << bit, (1u64 << bit) - 1, (1u64 << bit) + (1u64 << bit) / 3]).filter(|value| *value < 1 << 62)
        {
            let end = upper_end(bucket(value));
            assert!(end >= value && end - value <= value / STEPS + 1, "{value} ends at {end}");
            assert!(bucket(end) == bucket(value) && bucket(end + 1) == bucket(value) + 1, "{value} ends at {end}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        assert!(histogram.latency().is_none());
        (1..=1000).for_each(|us| histogram.add(us * 1000));
        let latency = histogram.latency().unwrap();
        let near = |got: f64, want: f64| (want..=want * 1.02).contains(&got);
        assert!(
            near(latency.p50, 500.0) && near(latency.p90, 900.0) && near(latency.p99, 990.0) && near(latency.p999, 999.0),
            "{latency:?}"
        );
        assert!((latency.max - 1000.0).abs() < f64::EPSILON);
    }
}
