//! The hooks that a client attaches to a job it submits.

use super::{Client, ClientError, encode};
use crate::hook::{HookError, Hooks, MOST_BYTES, MOST_HOOKS, OnComplete, StoredHooks, When};
use crate::job::JobKind;
use crate::task::TaskMessage;

/// The messages to send after the job has ended, in order. An error is kept until the job is submitted.
#[derive(Debug, Default)]
pub(super) struct Following(Vec<Result<(OnComplete, JobKind), ClientError>>);

impl Following {
    /// Encodes and adds a message.
    pub(super) fn add<N: TaskMessage>(&mut self, message: N, when: When) {
        let body = encode(&message);
        drop(message);
        let hook = body.map(|body| {
            let inputs = Some(String::from_utf8_lossy(&body).into_owned());
            (OnComplete { when, ..OnComplete::new(N::TASK, inputs) }, N::KIND)
        });
        self.0.push(hook);
    }

    /// Converts the messages to hooks. They are checked like the hooks of messages from other programs.
    pub(super) fn into_kept(self, client: &Client) -> Result<Option<Box<StoredHooks>>, ClientError> {
        let mut on_complete = Vec::with_capacity(self.0.len());
        for (at, hook) in self.0.into_iter().enumerate() {
            let (hook, kind) = hook?;
            let splits = client.engine.registry.get(&hook.route)?.split.is_some();
            if splits && kind == JobKind::Single {
                let expected =
                    format!("is a single item of `{}`, which has a split: send `{0}_part` instead", hook.route);
                return Err(HookError::Field { at, field: "route".to_owned(), expected }.into());
            }
            on_complete.push(hook);
        }
        if on_complete.len() > MOST_HOOKS {
            return Err(HookError::TooMany { found: on_complete.len() }.into());
        }
        let found = OnComplete::write_all(&on_complete).len();
        if found > MOST_BYTES {
            return Err(HookError::TooLarge { found }.into());
        }
        Ok(StoredHooks::new(&Hooks { part: None, on_complete }))
    }
}
