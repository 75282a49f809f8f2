//! A task of which programs have two versions, with inputs that do not fit the other one. A worker parks an input of a
//! newer program until a worker that has the newer version gets it.

use super::scenario::Scenario;
use super::workload::{Act, Job};

/// The version of older programs.
pub(crate) mod older {
    use ork::{Context, Result, State, task};

    use crate::tasks::{Here, Script};

    #[task(name = "versioned", retries = 2, backoff = "500ms")]
    pub(crate) async fn versioned(
        script: Script,
        weight: Option<u64>,
        here: State<Here>,
        context: Context,
    ) -> Result<u64> {
        let _: Option<u64> = weight;
        here.play(&script, &context).await
    }
}

/// The version of newer programs: the weight has become a text.
pub(crate) mod newer {
    use ork::{Context, Result, State, task};

    use crate::tasks::{Here, Script};

    #[task(name = "versioned", retries = 2, backoff = "500ms")]
    pub(crate) async fn versioned(script: Script, weight: String, here: State<Here>, context: Context) -> Result<u64> {
        drop(weight);
        here.play(&script, &context).await
    }
}

/// Whether a function is of the other version than the program.
pub(crate) fn is_of_other(function: &str, is_newer: bool) -> bool {
    function.contains(if is_newer { "::older::" } else { "::newer::" })
}

impl Scenario {
    /// Whether the program of the client that submits this job is newer than the first worker's.
    pub(crate) fn is_newer(&self, act: &Act) -> bool {
        act.client(self.n_clients()).and_then(|number| self.clients.get(number)).is_some_and(|client| client.newer)
    }

    /// Whether some jobs are parked by workers with another version.
    pub(crate) fn has_versions(&self) -> bool {
        let is_versioned = |(_, act): &(u64, Act)| matches!(act, Act::Submit(_, Job::Versioned(_)));
        self.workers.iter().any(|worker| worker.newer) && self.acts.iter().any(is_versioned)
    }

    /// Returns the number of a job that no worker can run.
    pub(crate) fn job_of_no_version(&self) -> Option<u64> {
        let has_worker = |act: &Act| self.workers.iter().any(|worker| worker.newer == self.is_newer(act));
        let is_stranded = |act: &&Act| matches!(act, Act::Submit(_, Job::Versioned(_))) && !has_worker(act);
        Some(self.acts.iter().map(|(_, act)| act).find(is_stranded)?.submits()?.0)
    }
}
