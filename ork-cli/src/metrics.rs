//! The command `jobs metrics`: lists what a job and all jobs below it have recorded.

use super::{Failure, Output};
use ork_core::id::JobId;
use ork_core::metric::Metric;
use ork_runtime::app::Ork;

/// Lists the metrics, one per line for each job, name and set of labels.
pub(super) async fn metrics(ork: &Ork, id: JobId, output: &Output) -> Result<(), Failure> {
    let head = ["job", "task", "name", "labels", "count", "mean", "min", "max", "last", "sum"];
    output.list(&ork.metrics(id).await?, "no metrics", &head, row);
    Ok(())
}

fn row(metric: &Metric) -> Vec<String> {
    let labels: Vec<_> = metric.labels.iter().map(|(key, label)| format!("{key}={label}")).collect();
    let [mean, min, max, last, sum] = [metric.mean(), metric.min, metric.max, metric.last, metric.sum].map(short);
    vec![
        metric.job.to_string(),
        metric.step.as_ref().unwrap_or(&metric.task).clone(),
        metric.name.clone(),
        labels.join(" "),
        metric.count.to_string(),
        mean,
        min,
        max,
        last,
        sum,
    ]
}

/// Formats a number for reading: at most three decimals, or scientific notation for very large and very small ones.
fn short(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-3..1e15).contains(&size) {
        return format!("{number:.3e}");
    }
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 3.0, -2.5, 1200.0, 1.0 / 3.0, 1e20, 1e-9].map(short);
        assert_eq!(shown, ["0", "3", "-2.5", "1200", "0.333", "1.000e20", "1.000e-9"]);
    }
}
