//! Unique keys: no two open jobs hold one.

use ork_ports::store::JobView;

use super::Oracle;
use crate::names::Property;

impl Oracle {
    /// Checks that no two open jobs hold one unique key.
    pub(super) fn check_unique(&mut self, JobView { job, .. }: &JobView) {
        let Some(key) = job.unique_key.as_deref() else { return };
        let holder = self.holders.get(key).copied();
        if job.state.is_final() {
            if holder == Some(job.id) {
                self.holders.remove(key);
            }
            return;
        }
        if let Some(other) = holder.filter(|other| *other != job.id) {
            self.report(Property::Unique, format!("{} and {other} are open, and hold the key `{key}`", job.id));
        }
        self.holders.insert(key.to_owned(), job.id);
    }
}
