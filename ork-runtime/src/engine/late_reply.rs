//! A message whose job is done with, or under way elsewhere, and that asks for the outcome: its sender is answered all the
//! same, at once or when the job has ended.

use super::hooks::patiently;
use super::{Engine, ProcessError, services};
use crate::broker::{BrokerErrorKind, Disposition};
use crate::message::{Message, Outgoing, Reply, WorkKind};
use crate::tx::{AddReply, ReplyAdded};

/// Answers the sender of a message of which nothing is run. One that came before has been answered, or will be.
pub(super) async fn again(engine: &Engine, message: &Message, redelivered: bool) -> Result<(), ProcessError> {
    let first = message.attempt == 1 && matches!(message.kind, WorkKind::Job | WorkKind::Single);
    let Some(to) = message.reply.clone().filter(|_| first && engine.store.is_durable()) else { return Ok(()) };
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
        let sent = patiently(engine, || services::publish(engine, Outgoing::Reply(reply.clone()))).await;
        match sent {
            Ok(Err(error)) if error.kind() == BrokerErrorKind::TooLarge && reply.leave_out() => {}
            Ok(Err(error)) => {
                tracing::debug!(%job, %error, "an outcome cannot be delivered: mostly nobody waits for it any more");
                return Ok(());
            }
            Ok(Ok(())) => return Ok(()),
            Err(_interrupted) => return Err(ProcessError::Unsettled(Disposition::Requeue)),
        }
    }
}
