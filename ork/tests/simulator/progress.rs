//! Progress reports: the store has each of them soon.

use std::sync::Arc;

use ork::{Context, PartFilter, PartState};

use super::executor::Owner;
use super::names::{Property, Reached};
use super::tasks::{Here, Script};
use super::world::{Calling, World};

/// A report is in the store within this time, in microseconds.
const SOON: u64 = 5_000_000;

/// A report: the attempt, and how many reports this attempt has made so far.
type Place = (u32, u32);

fn place_of(info: &str) -> Option<Place> {
    let (attempt, number) = info.split_once(' ')?;
    Some((attempt.parse().ok()?, number.parse().ok()?))
}

impl Here {
    /// Takes as long as the script says, and reports progress in between.
    pub(crate) async fn works(&self, call: &Calling, script: &Script, context: &Context) {
        let share = script.takes * 1_000 / u64::from(script.reports + 1);
        for number in 1..=script.reports {
            self.world.executor.sleep(share).await;
            let percent = 100.0 * f64::from(number) / f64::from(script.reports + 1);
            context.report_progress(percent, format!("{} {number}", context.attempt()));
            if self.world.has_store() {
                let world = Arc::clone(&self.world);
                let (call, context, place) = (call.number(), context.clone(), (context.attempt(), number));
                self.world.executor.spawn(Owner::WORLD, async move {
                    let reported = world.executor.now();
                    world.executor.sleep(SOON).await;
                    world.check_reported(call, &context, place, reported);
                });
            }
        }
        self.world.executor.sleep(share).await;
    }
}

impl World {
    /// Checks that the store has a report, or a later one, if its call still runs and nothing has disturbed it.
    fn check_reported(&self, call: u64, context: &Context, place: Place, reported: u64) {
        let now = self.executor.now();
        if !self.oracle(|oracle| oracle.runs_alone(call, reported, now)) {
            return;
        }
        let id = context.job_id();
        let running = self.truth(|tables| {
            let view = tables.job(id).filter(|view| !view.job.state.is_final())?;
            if !context.is_part() {
                return Some(view.progress);
            }
            let only = PartFilter { from: context.parallel_index(), limit: 1, ..PartFilter::default() };
            Some(tables.list_parts(id, &only).pop().filter(|part| part.state == PartState::Running)?.progress)
        });
        // The call of a job that was cancelled may take a while to stop.
        let Some(stored) = running else { return };
        self.oracle(|oracle| oracle.reaches(Reached::ProgressCompared));
        let stored = stored.and_then(|progress| place_of(&progress.info));
        if stored.is_none_or(|stored| stored < place) {
            let key = context.idempotency_key();
            let detail =
                format!("{key} has reported {place:?}, and the store has {stored:?} {} s later", SOON / 1_000_000);
            self.oracle(|oracle| oracle.report(Property::Progress, detail));
        }
    }
}
