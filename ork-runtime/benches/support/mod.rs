//! What the benchmarks share: one store a run, peak memory, and the last line for programs.
#![expect(dead_code, clippy::cast_sign_loss, reason = "each benchmark uses its own share of it")]

use std::time::{Duration, Instant};

/// The stop-watch of the benchmarks.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How many a second.
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// The largest resident memory this process has had, in MiB.
pub(crate) fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// A number with four digits that matter, so that lines stay short.
pub(crate) fn round(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powf(4.0 - number.abs().log10().ceil());
    (number * scale).round() / scale
}

/// The middle one.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The one that `share` of the numbers are below.
pub(crate) fn quantile(mut numbers: Vec<f64>, share: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let place = ((numbers.len() - 1) as f64 * share).round() as usize;
    numbers[place]
}
