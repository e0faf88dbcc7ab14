//! What is measured: runs, medians, percentiles and means.

use std::time::Duration;

/// How a run of a program went.
pub(crate) struct Run {
    /// What it wrote to standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its exit code.
    pub(crate) code: i32,
    /// From before instantiation to after the end.
    pub(crate) time: Duration,
}

/// Durations of one thing, measured again and again.
#[derive(Default)]
pub(crate) struct Samples {
    values: Vec<Duration>,
}

impl Samples {
    pub(crate) fn push(&mut self, value: Duration) {
        self.values.push(value);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.values.append(&mut other.values);
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// The smallest sample that is not less than `percent` of all. Zero if there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.values.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

pub(crate) fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

pub(crate) fn geometric_mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|r| r.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples = Samples::default();
        assert_eq!(samples.median(), Duration::ZERO);
        for ms in [5, 1, 4, 2, 3] {
            samples.push(Duration::from_millis(ms));
        }
        assert_eq!(samples.median(), Duration::from_millis(3));
        assert_eq!(samples.percentile(99), Duration::from_millis(5));
        assert_eq!(samples.percentile(0), Duration::from_millis(1));
    }

    #[test]
    fn geometric_mean_of_inverses_is_one() {
        assert!((geometric_mean(&[4.0, 0.25]) - 1.0).abs() < 1e-12);
    }
}
