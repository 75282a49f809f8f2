//! Event streams of the client: over a broker the events of all processes, otherwise those of this process.

use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

use super::{Client, ClientError};
use crate::event::{Event, EventKind, EventScope};
use crate::id::JobId;

impl Client {
    /// Returns a stream of the events of all jobs, from now on.
    ///
    /// Over RabbitMQ the stream has the events of all processes, each at least once; an event that is delivered again
    /// has the same [`Event::id`]. The events about a job that one process publishes arrive in the order in which
    /// they happened; those of a delayed process may arrive after later ones of another process. With the broker
    /// `embedded` the stream has the events of this process only, each once.
    ///
    /// ```
    /// # use futures_util::StreamExt as _;
    /// # use ork::{EventKind, Ork, task};
    /// # #[task] fn salute(name: String) -> String { format!("hello {name}") }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ork = ork::builder().store("memory:").build().await?;
    /// ork.spawn_worker();
    /// let mut events = ork.events().await?;
    /// ork.submit(salute { name: "Ada".into() }).await?;
    /// while let Some(event) = events.next().await {
    ///     let event = event?;
    ///     println!("{} {} {}", event.time, event.kind, event.task);
    ///     if event.kind == EventKind::Succeeded {
    ///         break;
    ///     }
    /// }
    /// # ork.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`NoEvents`](ClientError::NoEvents) if events are switched off in this process; over RabbitMQ the setting
    /// `events` must be set. Otherwise the error of the broker, if it cannot be subscribed to.
    ///
    /// The stream yields [`MissedEvents`](ClientError::MissedEvents) where this process was too slow, and then
    /// continues.
    ///
    /// # Cancel safety
    /// This method is cancel safe: if the future is dropped, there is no stream, and nothing else is lost.
    pub async fn events(&self) -> Result<BoxStream<'static, Result<Event, ClientError>>, ClientError> {
        if self.engine.settings.events == EventScope::Off {
            return Err(ClientError::NoEvents);
        }
        if let Some(events) = self.engine.broker.events().await? {
            let next = |mut events: mpsc::Receiver<Event>| async { Some((Ok(events.recv().await?), events)) };
            return Ok(unfold(events, next).boxed());
        }
        let next = |mut events: broadcast::Receiver<Arc<Event>>| async {
            let event = match events.recv().await {
                Ok(event) => Ok(Arc::unwrap_or_clone(event)),
                Err(RecvError::Lagged(n)) => Err(ClientError::MissedEvents { n }),
                Err(RecvError::Closed) => return None,
            };
            Some((event, events))
        };
        Ok(unfold(self.engine.store.notifier().events(), next).boxed())
    }

    /// Returns a stream of the events of a job and of the jobs below it, from now on. For a job that itself has a
    /// parent, only its direct children are included.
    ///
    /// The stream ends after the event about the end of the job. It is empty if the job has ended already.
    ///
    /// # Errors
    /// As for [`Client::events`]. It also fails if the job does not exist, there is no store, or the store cannot be
    /// read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: if the future is dropped, there is no stream, and nothing else is lost.
    pub async fn events_of(&self, id: JobId) -> Result<BoxStream<'static, Result<Event, ClientError>>, ClientError> {
        let events = self.events().await?;
        // The last event of a job that has ended was published before this subscription, so the stream would never
        // end.
        if self.status(id).await?.state.is_final() {
            return Ok(futures_util::stream::empty().boxed());
        }
        let ends = |event: &Event| {
            let end = matches!(event.kind, EventKind::Succeeded | EventKind::Failed | EventKind::Cancelled);
            end && event.part.is_none()
        };
        let of_it = move |event: &Result<Event, ClientError>| {
            let concerns =
                event.as_ref().map_or(true, |event| event.job == id || event.root == id || event.parent == Some(id));
            std::future::ready(concerns)
        };
        let next = move |events: Option<BoxStream<'static, Result<Event, ClientError>>>| async move {
            let mut events = events?;
            let event = events.next().await?;
            let last = event.as_ref().is_ok_and(|event| event.job == id && ends(event));
            Some((event, (!last).then_some(events)))
        };
        Ok(unfold(Some(events.filter(of_it).boxed()), next).boxed())
    }
}
