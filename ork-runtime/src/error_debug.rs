//! `Debug` of the errors that a `main` may return, and that Rust then prints: a sentence for people, with its causes.

use std::error::Error;
use std::fmt;

/// Writes an error and its causes, each after a colon.
pub(crate) fn fmt(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(f, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::app::BuildError;
    use crate::client::ClientError;
    use crate::config::Config;
    use crate::id::JobId;
    use crate::store::{StoreError, StoreErrorKind};

    /// Regression test: `?` in a `main` printed the fields of the error.
    #[test]
    fn errors_of_main_are_printed_as_sentences() {
        let error = BuildError::from(Config::default().set("concurency", "3").unwrap_err());
        let text = "code: unknown key `concurency`, did you mean `concurrency`?";
        assert_eq!(format!("{error:?}"), text);
        let disk = std::io::Error::other("the disk is on fire");
        let error = StoreError::new(StoreErrorKind::Unavailable, "cannot read jobs.db").with_source(disk);
        let error = ClientError::from(error);
        assert_eq!(format!("{error:?}"), "cannot read jobs.db: the disk is on fire");
        assert!(error.is_retryable());
        let missing = ClientError::JobNotFound { id: JobId::from_bytes([0; 16]) };
        assert_eq!(format!("{missing:?}"), "there is no job 00000000-0000-0000-0000-000000000000");
        assert!(!missing.is_retryable());
    }
}
