//! The stopwatch: wall time of single requests, CPU time of a stretch of work.

use std::time::{Duration, Instant};

use paceline_learn::search::Latency;

/// CPU seconds that the calling thread has used so far.
#[must_use]
pub fn thread_cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 * 1e-9
}

/// Wall times of one step's requests.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Times one request.
    pub fn time<T>(&mut self, request: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let answer = request();
        self.0.push(start.elapsed().as_secs_f64() * 1e3);
        answer
    }

    /// Adds the requests of another.
    pub fn extend(&mut self, other: Samples) {
        self.0.extend(other.0);
    }

    /// Number of requests so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was timed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Median, 99th percentile (nearest rank) and mean in milliseconds.
    ///
    /// # Panics
    /// When nothing was timed.
    #[must_use]
    pub fn latency(&self) -> Latency {
        assert!(!self.is_empty(), "no request was timed");
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
        Latency { p50: rank(0.5), p99: rank(0.99), mean: sorted.iter().sum::<f64>() / sorted.len() as f64 }
    }
}

/// Times `request(0), request(1), ...` (wrapping at `distinct`) after a warm-up, until `most` requests or `limit` has
/// passed, but at least `least` requests.
pub fn measure(distinct: usize, least: usize, most: usize, limit: Duration, mut request: impl FnMut(usize)) -> Samples {
    for i in 0..least.min(distinct).min(10) {
        request(i);
    }
    let mut samples = Samples::default();
    let start = Instant::now();
    while samples.len() < most && (samples.len() < least || start.elapsed() < limit) {
        let i = samples.len() % distinct;
        samples.time(|| request(i));
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let samples = Samples((1..=200).map(f64::from).rev().collect());
        assert_eq!(samples.latency(), Latency { p50: 100.0, p99: 198.0, mean: 100.5 });
        assert_eq!(Samples(vec![3.0]).latency(), Latency { p50: 3.0, p99: 3.0, mean: 3.0 });
    }

    #[test]
    fn measuring_is_bounded_by_count_and_has_a_least() {
        let mut seen = Vec::new();
        let samples = measure(3, 5, 7, Duration::ZERO, |i| seen.push(i));
        assert_eq!(samples.len(), 5);
        assert_eq!(seen, [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(measure(3, 1, 4, Duration::from_secs(60), |_| ()).len(), 4);
    }
}
