//! Jobs that are submitted together: all of them, or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use ork::{ClientError, Context, Filter, JobId, JobState, Ork, Result, State, task};
use serde_json::Value;

use super::names::{Property, Reached};
use super::tasks::{Here, Script};
use super::world::World;

/// One of the jobs that a client has submitted together: `of` is the number of the submission.
#[task(retries = 2, backoff = "500ms")]
pub(crate) async fn together(of: u64, place: u64, script: Script, here: State<Here>, context: Context) -> Result<u64> {
    let _: (u64, u64) = (of, place);
    here.play(&script, &context).await
}

impl World {
    /// Submits jobs together; returns the id of the first one.
    pub(crate) async fn send_all(
        self: &Arc<Self>,
        ork: &Ork,
        of: u64,
        scripts: Vec<Script>,
    ) -> Result<JobId, ClientError> {
        let jobs = scripts.into_iter().zip(0..).map(|(script, place)| together { of, place, script });
        let handles = ork.submit_all(jobs).await?;
        for handle in &handles {
            self.names(handle.id(), of);
        }
        let first = handles.first().map(ork::Handle::id);
        first.ok_or_else(|| ClientError::Rejected("there are no jobs".to_owned()))
    }

    /// Checks the jobs of a submission: each is there as often as the others, and has ended as its script says.
    /// `least` is 1 if the client got a confirmation, and `most` is how often it has tried.
    pub(crate) fn check_together(&self, number: u64, scripts: &[Script], (least, most): (usize, usize)) {
        let filter = Filter { limit: usize::MAX, task: Some("together".into()), ..Filter::default() };
        let mut found: BTreeMap<u64, Vec<JobState>> =
            (0..).zip(scripts).map(|(place, _)| (place, Vec::new())).collect();
        for view in self.truth(|tables| tables.jobs(&filter)) {
            let Ok(input) = serde_json::from_slice::<Value>(&view.input) else { continue };
            let field = |name: &str| input.get(name).and_then(Value::as_u64);
            if field("of") == Some(number)
                && let Some(place) = field("place")
            {
                found.entry(place).or_default().push(view.job.state);
            }
        }
        let counts: Vec<_> = found.values().map(Vec::len).collect();
        let (fewest, highest) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
        if fewest != highest || fewest < least || highest > most {
            let detail =
                format!("of the jobs that were submitted as {number}, there are {counts:?}, tried {most} times");
            return self.oracle(|oracle| oracle.report(Property::Together, detail));
        }
        self.oracle(|oracle| oracle.reaches(Reached::SubmittedTogether));
        let has_lost = self.oracle(|oracle| oracle.has_deaths_beyond(self.scenario.most_losses()));
        for (script, (place, states)) in scripts.iter().zip(&found) {
            let wanted = if script.succeeds() { JobState::Succeeded } else { JobState::Failed };
            // A client controls the first one only.
            let is_controlled = *place == 0 && self.is_disturbed(number);
            if !has_lost && !is_controlled && states.iter().any(|state| *state != wanted) {
                let detail = format!("job {place} of those submitted as {number} is {states:?}, not {wanted}");
                self.oracle(|oracle| oracle.report(Property::Outcome, detail));
            }
        }
    }
}
