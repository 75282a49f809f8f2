//! Replies for a message whose job has ended, or is running elsewhere: its sender still gets the outcome, at once or
//! when the job ends.

use super::retry::{self, Interrupted};
use super::{Engine, ProcessError};
use crate::broker::BrokerErrorKind;
use crate::message::{Message, Outgoing, Reply, WorkKind};
use crate::tx::{AddReply, ReplyAdded};

/// Sends or registers the reply of a message that runs nothing. A redelivered message has its reply already, or will
/// get it.
pub(super) async fn send(engine: &Engine, message: &Message, redelivered: bool) -> Result<(), ProcessError> {
    let first = message.attempt == 1 && matches!(message.kind, WorkKind::Job | WorkKind::Single);
    let Some(to) = message.reply.clone().filter(|_| first) else { return Ok(()) };
    let (job, task) = (message.job, message.task.clone());
    match engine.commit(AddReply { job, task, reply: to.clone() }).await? {
        ReplyAdded::Ended { known } if !known || !redelivered => {}
        ReplyAdded::Ended { .. } | ReplyAdded::Registered | ReplyAdded::NotFound => return Ok(()),
    }
    let Some(view) = engine.store.job(job).await? else { return Ok(()) };
    let mut reply = Reply::to(to, &view.job, view.output.as_ref());
    if reply.output_bytes().is_some_and(|bytes| engine.large.is_large(bytes)) {
        reply.leave_out();
    }
    loop {
        match retry::publish(engine, &Outgoing::Reply(reply.clone())).await {
            Ok(Err(error)) if error.kind() == BrokerErrorKind::TooLarge && reply.leave_out() => {}
            Ok(Err(error)) => {
                tracing::debug!(%job, %error, "cannot deliver an outcome; usually its sender no longer waits for it");
                return Ok(());
            }
            Ok(Ok(())) => return Ok(()),
            Err(Interrupted) => return Err(ProcessError::Interrupted),
        }
    }
}
