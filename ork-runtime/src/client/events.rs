//! The stream of events: over a broker those of all processes, otherwise those of this one.

use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

use super::{Client, ClientError};
use crate::event::{Event, EventKind, EventScope};
use crate::id::JobId;

impl Client {
    /// What happens to jobs, from now on.
    ///
    /// Over RabbitMQ these are the events of all processes, each at least once; one that comes again has the same
    /// [`Event::id`]. The events about a job that one process publishes arrive in the order in which they happened;
    /// those of a process that was delayed may arrive after later ones of another process. With the broker `embedded`
    /// they are those of this process, each once.
    ///
    /// ```
    /// # use futures_util::StreamExt as _;
    /// # use ork::{EventKind, Ork, task};
    /// # #[task] fn salute(name: String) -> String { format!("hello {name}") }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ork = Ork::builder().store("memory:").build().await?;
    /// ork.start_worker();
    /// let mut events = ork.events().await?;
    /// ork.submit(salute { name: "Ada".into() }).await?;
    /// while let Some(event) = events.next().await {
    ///     let event = event?;
    ///     println!("{} {} {}", event.time, event.kind, event.task);
    ///     if event.kind == EventKind::Completed {
    ///         break;
    ///     }
    /// }
    /// # ork.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the broker cannot be asked for them; when this process tells none: over RabbitMQ `events` must be
    /// set.
    /// The stream has a `MissedEvents` where this process could not keep up.
    ///
    /// # Cancel safety
    /// Nothing is lost but the stream if the future is dropped.
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

    /// What happens to a job and to those below it, from now on until it has ended.
    ///
    /// # Errors
    /// As [`Client::events`]; and when there is no such job, or the store cannot be read.
    ///
    /// # Cancel safety
    /// Nothing is lost but the stream if the future is dropped.
    pub async fn events_of(&self, id: JobId) -> Result<BoxStream<'static, Result<Event, ClientError>>, ClientError> {
        let events = self.events().await?;
        // What ended before was told before.
        if self.status(id).await?.state.is_final() {
            return Ok(futures_util::stream::empty().boxed());
        }
        let ends = |event: &Event| {
            let end = matches!(event.kind, EventKind::Completed | EventKind::Failed | EventKind::Canceled);
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
