//! Concurrency limits: no more calls run than a limit permits, and nothing waits for a permit that is free.

use std::collections::BTreeMap;
use std::sync::Arc;

use ork::{Context, Filter, JobId, Result, State, task};
use ork_ports::store::JobView;
use serde_json::Value;

use super::expected::is_open;
use super::names::{Property, Reached};
use super::tasks::{Here, Script};
use super::world::World;

/// How many calls each limit permits at once.
const PERMITS: usize = 2;

/// Has one limit for each value of `of`.
#[task(retries = 2, backoff = "500ms", concurrency(2, key = "of"))]
pub(crate) async fn keyed(of: u64, script: Script, here: State<Here>, context: Context) -> Result<u64> {
    let _: u64 = of;
    here.play(&script, &context).await
}

/// The limit that the calls of a job are under, by its task and its key.
fn limit_of(view: &JobView) -> Option<String> {
    match view.job.task.as_str() {
        "narrow" => Some("narrow".to_owned()),
        "keyed" => {
            let input: Value = serde_json::from_slice(&view.input).ok()?;
            Some(format!("keyed {}", input.get("of")?))
        }
        _ => None,
    }
}

/// The open jobs under one limit.
#[derive(Debug, Default)]
struct UnderLimit {
    /// Those that wait for a permit.
    waiting: Vec<JobId>,
    /// How many have been woken, and may still wait for a slot.
    n_woken: u32,
    /// How many run although their delivery was lost.
    n_duplicates: u32,
    /// How many permits are free, if one waits for them.
    free: u32,
    /// The names of the limits that the store knows for them.
    names: Vec<Arc<str>>,
}

impl World {
    /// Checks at the start of a call that no more run than its limit permits.
    pub(crate) fn check_limit(&self, context: &Context) {
        if !matches!(context.task_name(), "narrow" | "keyed") {
            return;
        }
        let limit = |job: JobId| self.truth(|tables| tables.job(job)).as_ref().and_then(limit_of);
        let (Some(own), now) = (limit(context.job_id()), self.executor.now()) else { return };
        let n_calls = self.oracle(|oracle| oracle.calls_of(|job| limit(job).as_ref() == Some(&own), now));
        if n_calls == PERMITS {
            self.oracle(|oracle| oracle.reaches(Reached::LimitUsed));
        }
        if n_calls > PERMITS {
            let detail = format!("{n_calls} calls of `{own}` at once, of {PERMITS}");
            self.oracle(|oracle| oracle.report(Property::Permits, detail));
        }
    }

    /// Checks that a job waits for a permit only while none is free, and only for those of its own key. A job that was
    /// woken may still wait for a slot.
    pub(crate) fn check_permits(&self) {
        let now = self.executor.now();
        let mut limits: BTreeMap<String, UnderLimit> = BTreeMap::new();
        for view in ["narrow", "keyed"].into_iter().flat_map(|task| self.open_of(task)) {
            let (Some(limit), id) = (limit_of(&view), view.job.id) else { continue };
            let under = limits.entry(limit).or_default();
            let pending = self.truth(|tables| tables.diagnostics(id).outbox);
            if let Some((limit, taken)) = pending.limit {
                // A job may also wait for the end of others.
                under.waiting.push(id);
                under.free = limit.permits.saturating_sub(taken);
                under.names.push(limit.name);
            } else {
                // The row of a call that died with its process is released, too; its job is still running.
                let is_called = self.oracle(|oracle| oracle.has_call(id));
                under.n_woken += u32::from(!is_called);
                // A call whose delivery was lost has a second message. If that had to wait for a permit, it may have been
                // woken in place of another job, and does not use the permit before the call has ended.
                under.n_duplicates += u32::from(is_called && self.oracle(|oracle| oracle.was_redelivered(id)));
            }
        }
        if limits.values().any(|under| under.free > under.n_woken && under.free <= under.n_woken + under.n_duplicates) {
            self.oracle(|oracle| oracle.excuses("a permit that is free while a redelivered job runs"));
        }
        let idle = limits.values().filter(|under| under.free > under.n_woken + under.n_duplicates);
        let idle: Vec<_> = idle.flat_map(|under| under.waiting.iter().copied()).collect();
        self.oracle(|oracle| oracle.waits_for_free_permit(&idle, now));
        let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, under) in &limits {
            for name in &under.names {
                let other = keys.insert(name, key).filter(|other| *other != key.as_str());
                if let Some(other) = other {
                    let detail = format!("jobs of `{key}` and of `{other}` wait for the same permits, of `{name}`");
                    self.oracle(|oracle| oracle.report(Property::Idle, detail));
                }
            }
        }
    }

    /// The open jobs of a task.
    fn open_of(&self, task: &str) -> Vec<JobView> {
        let filter = Filter { limit: usize::MAX, task: Some(task.into()), ..Filter::default() };
        self.truth(|tables| tables.jobs(&filter)).into_iter().filter(is_open).collect()
    }
}
