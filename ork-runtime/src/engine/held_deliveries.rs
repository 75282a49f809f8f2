//! The jobs of which this process holds unsettled messages: a message that waits here for a slot is not lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::{Acker, Delivery, Disposition};
use crate::id::JobId;
use crate::mutant::{self, Mutant};

/// The number of messages of each job that are held.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldDeliveries(Arc<Mutex<BTreeMap<JobId, usize>>>);

impl HeldDeliveries {
    fn messages(&self) -> MutexGuard<'_, BTreeMap<JobId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the message of a delivery as held until the delivery is settled.
    pub(crate) fn until_settled(&self, delivery: Delivery) -> Delivery {
        let Ok(job) = delivery.message.as_ref().map(|message| message.job) else { return delivery };
        *self.messages().entry(job).or_default() += 1;
        let acker = Box::new(HeldAcker { held: Some((self.clone(), job)), acker: Some(delivery.acker) });
        Delivery { acker, ..delivery }
    }

    /// Returns the jobs of which messages are held.
    pub(crate) fn jobs(&self) -> Vec<JobId> {
        self.messages().keys().copied().collect()
    }

    fn settled(&self, job: JobId) {
        let mut messages = self.messages();
        if let Some(count) = messages.get_mut(&job) {
            *count -= 1;
            if *count == 0 {
                messages.remove(&job);
            }
        }
    }
}

/// The acker of a message that counts as held until it is settled or dropped.
#[derive(Debug)]
struct HeldAcker {
    held: Option<(HeldDeliveries, JobId)>,
    acker: Option<Box<dyn Acker>>,
}

impl Acker for HeldAcker {
    fn settle(mut self: Box<Self>, disposition: Disposition) {
        if let Some(acker) = self.acker.take() {
            if acker.is_channel_closed() && mutant::is_on(Mutant::KeepsLostDeliveries) {
                self.held = None;
            }
            acker.settle(disposition);
        }
    }

    fn is_channel_closed(&self) -> bool {
        !mutant::is_on(Mutant::RunsLostDeliveries) && self.acker.as_deref().is_some_and(Acker::is_channel_closed)
    }
}

impl Drop for HeldAcker {
    fn drop(&mut self) {
        if let Some((held, job)) = self.held.take() {
            held.settled(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[derive(Debug)]
    struct Ignored;

    impl Acker for Ignored {
        fn settle(self: Box<Self>, _disposition: Disposition) {}
    }

    #[test]
    fn job_is_held_until_the_last_of_its_messages_is_settled_or_dropped() {
        let (held, job) = (HeldDeliveries::default(), JobId::new());
        let delivery = || {
            let message = Ok(Message::about(job, "task"));
            held.until_settled(Delivery {
                message,
                redelivered: 0,
                is_copy: false,
                anonymous: false,
                acker: Box::new(Ignored),
            })
        };
        let (one, two) = (delivery(), delivery());
        assert_eq!(held.jobs(), [job]);
        one.acker.settle(Disposition::Ack);
        assert_eq!(held.jobs(), [job]);
        drop(two);
        assert_eq!(held.jobs(), []);
    }
}
