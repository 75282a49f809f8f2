//! Helpers that the benchmarks share: the clock, rates, peak memory, rounding and quantiles.
#![expect(dead_code, clippy::cast_sign_loss, reason = "each benchmark uses its own share of it")]

use std::time::{Duration, Instant};

/// Returns the current time of the real clock.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the rate per second.
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Returns the peak resident memory of this process, in MiB.
pub(crate) fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Rounds to four significant digits, to keep lines short.
pub(crate) fn round(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powf(4.0 - number.abs().log10().ceil());
    (number * scale).round() / scale
}

/// Returns the median.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Returns the quantile that `share` of the numbers are below, e.g. 0.99.
pub(crate) fn quantile(mut numbers: Vec<f64>, share: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let place = ((numbers.len() - 1) as f64 * share).round() as usize;
    numbers[place]
}
