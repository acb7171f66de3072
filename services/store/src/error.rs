//! The failure that every storage port shares.

use chassis::context::Context;
use chassis::env::StartError;
use chassis::hazard::StorageFault;

/// Storage did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written, or the answer is lost; the same call, made again, finds out.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    /// Someone else wrote first: the version or the epoch is no longer the expected one.
    #[error("storage has moved on: {0}")]
    Conflict(String),
    /// What is stored cannot be read: a bug or a damaged file.
    #[error("stored data is unreadable: {0}")]
    Corrupt(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
                Self::Corrupt(error.to_string())
            }
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<StoreError> for tonic::Status {
    /// The caller is told no more than that; what happened is for the log, under the request's trace.
    fn from(error: StoreError) -> Self {
        if let StoreError::Unavailable(_) | StoreError::Corrupt(_) = &error {
            let trace = Context::current().trace.map(|trace| trace.to_string());
            tracing::warn!(%error, trace, "a request failed for its store");
        }
        match error {
            StoreError::Unavailable(_) => Self::unavailable("storage is unavailable"),
            StoreError::Conflict(_) => Self::aborted("changed meanwhile, try again"),
            StoreError::Corrupt(_) => Self::internal("stored data is unreadable"),
        }
    }
}

impl From<StorageFault> for StoreError {
    fn from(fault: StorageFault) -> Self {
        Self::Unavailable(fault.to_string())
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_storage_tells_the_caller_no_details() {
        for error in [
            StoreError::Unavailable("disk full: /secret/path".into()),
            StoreError::Conflict("/secret/row".into()),
            StoreError::Corrupt("/secret/file".into()),
        ] {
            let status = tonic::Status::from(error);
            assert!(!status.message().contains("secret"), "{status}");
        }
    }

    #[test]
    fn a_failure_of_storage_may_be_tried_again_and_an_unreadable_row_may_not() {
        let code = |error: StoreError| tonic::Status::from(error).code();
        assert_eq!(code(StoreError::Unavailable(String::new())), tonic::Code::Unavailable);
        assert_eq!(code(StoreError::Conflict(String::new())), tonic::Code::Aborted);
        assert_eq!(code(StoreError::Corrupt(String::new())), tonic::Code::Internal);
    }
}
