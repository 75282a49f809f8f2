//! [`Conclusion`]: a result with a message to a person and a proposed next step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A result with a message for a person and a proposed next step. A task returns it in place of its plain result.
///
/// The command line shows the message and the next step before the data, and any program finds them in the result:
/// `{"outcome": {"message": "…", "next": {"type": "url", "url": "…"}}, "data": …}`.
///
/// ```
/// use ork::{Conclusion, Next, task};
///
/// /// Sends the records of a sheet.
/// #[task]
/// async fn send(records: u64) -> Conclusion<u64> {
///     let sheet = Next::Url { url: "https://example.com/sheet".into(), label: Some("See the sheet".into()) };
///     Conclusion::new(format!("{records} records were sent."), records).next(sheet)
/// }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// let sent = runtime.block_on(send(12));
/// assert_eq!((sent.data, sent.outcome.message.as_str()), (12, "12 records were sent."));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conclusion<T> {
    /// The message and the next step.
    pub outcome: ConclusionOutcome,
    /// The result itself.
    pub data: T,
}

/// A message for a person, and a proposed next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConclusionOutcome {
    /// The outcome of the job, as a sentence.
    pub message: String,
    /// The proposed next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// A next step that is proposed to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Next {
    /// Open a web page.
    Url {
        /// The URL.
        url: String,
        /// The label of the step, e.g. the text of a link.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Download a file.
    Download {
        /// The URL.
        url: String,
        /// The label of the step, e.g. the text of a link.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        /// The file name under which it is saved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file_name: Option<String>,
    },
    /// Open an object of the application.
    Id {
        /// The id of the object in the application.
        id: String,
        /// The label of the step, e.g. the text of a link.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Wait for another job to end.
    Wait {
        /// The id of the job.
        job: crate::id::JobId,
    },
    /// Run the job again.
    Retry {
        /// The label of the step, e.g. the text of a button.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
}

impl<T> Conclusion<T> {
    /// Creates a conclusion from a message and a result.
    pub fn new(message: impl Into<String>, data: T) -> Self {
        Self { outcome: ConclusionOutcome { message: message.into(), next: None }, data }
    }

    /// Sets the proposed next step.
    #[must_use]
    pub fn next(mut self, next: Next) -> Self {
        self.outcome.next = Some(next);
        self
    }
}

impl std::fmt::Display for ConclusionOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.next.iter().try_for_each(|next| write!(f, "\nnext: {next}"))
    }
}

impl std::fmt::Display for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (label, what) = match self {
            Self::Url { url, label } | Self::Download { url, label, .. } => (label.as_deref(), url.clone()),
            Self::Id { id, label } => (label.as_deref(), id.clone()),
            Self::Wait { job } => (Some("wait"), format!("`jobs watch {job}`")),
            Self::Retry { label } => (None, label.clone().unwrap_or_else(|| "try again".into())),
        };
        label.iter().try_for_each(|label| write!(f, "{label}: "))?;
        f.write_str(&what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conclusion_has_the_documented_json_form() {
        let next = Next::Download { url: "https://a/b".into(), label: None, file_name: Some("b.csv".into()) };
        let conclusion = Conclusion::new("done", 3).next(next);
        let json = serde_json::json!({
            "outcome": { "message": "done", "next": { "type": "download", "url": "https://a/b", "fileName": "b.csv" } },
            "data": 3,
        });
        assert_eq!(serde_json::to_value(&conclusion).unwrap(), json);
        assert_eq!(serde_json::from_value::<Conclusion<u32>>(json).unwrap(), conclusion);
        assert_eq!(conclusion.outcome.to_string(), "done\nnext: https://a/b");
    }

    /// The command line recognizes a conclusion by its shape, so a plain result must not look like one.
    #[test]
    fn similar_json_is_not_a_conclusion() {
        for json in [r#"{"outcome": "fine", "data": 1}"#, r#"{"outcome": {"message": "a"}, "data": 1, "more": 2}"#] {
            assert!(serde_json::from_str::<Conclusion<serde_json::Value>>(json).is_err(), "{json}");
        }
    }
}
