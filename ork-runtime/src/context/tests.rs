//! The fields of the log lines and metrics of a task.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;

/// Collects the fields of events as text.
#[derive(Debug, Clone, Default)]
struct Fields(Arc<Mutex<Vec<String>>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _infallible = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Fields {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ork")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = event.metadata().target().to_owned();
        event.record(&mut Line(&mut line));
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn log_lines_and_metrics_carry_job_task_step_and_part() {
    let job = JobId::new();
    let step = StepInfo { workflow: "files".into(), step: "load".into(), external: None };
    let info = CallInfo {
        index: Some(7),
        step: Some(Arc::new(step)),
        ..CallInfo::new(job, job, "load_file".into(), Phase::Start)
    };
    let context = Context::new(info, CancellationToken::new(), Arc::new(NoServices));
    let fields = Fields::default();
    tracing::subscriber::with_default(fields.clone(), || {
        context.log("hello");
        context.log_at(tracing::Level::WARN, "careful");
        context.metrics().record("rows", 2.5, &[("table", "users")]);
        context.metrics().record("rows", f64::NAN, &[]);
        Context::for_test().log("alone");
    });
    let lines = fields.0.lock().unwrap().clone();
    assert_eq!(lines.len(), 6, "{lines:#?}");
    let at = format!(r#"job={job} task="load_file" workflow="files" step="load" part=7 attempt=1"#);
    for (line, target) in lines.iter().zip(["ork::task", "ork::task", "ork::metrics", "ork::metrics"]) {
        assert!(line.starts_with(target) && line.contains(&at), "{line}");
    }
    assert!(lines[2].contains(r#"name="rows" value=2.5 labels=[("table", "users")]"#), "{}", lines[2]);
    assert!(lines[4].contains("dropping a measurement") && lines[4].contains("not finite"), "{}", lines[4]);
    assert!(!lines[5].contains("workflow") && !lines[5].contains("index"), "{}", lines[5]);
}
