//! Errors, as the browser gets them: a status and `{"error": "…"}`; and what is gone: `{"gone": "…"}`.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use streamer::{
    HistoryError,
    archive::{ArchiveError, TransferError},
    engine::{EngineError, EngineErrorKind},
};

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    text: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// What was asked for is not in the store, or not there any more. The answer is `gone` with status 200:
    /// the page shows it, and the browser reports no failed request.
    pub(crate) fn gone(text: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, text)
    }

    pub(crate) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let what = if self.status == StatusCode::OK { "gone" } else { "error" };
        (self.status, Json(json!({what: self.text}))).into_response()
    }
}

fn status_of(kind: EngineErrorKind) -> StatusCode {
    match kind {
        EngineErrorKind::InvalidInput | EngineErrorKind::WrongType => StatusCode::BAD_REQUEST,
        // They are gone.
        EngineErrorKind::NoStream | EngineErrorKind::NoGroup => StatusCode::OK,
        EngineErrorKind::Permission => StatusCode::FORBIDDEN,
        EngineErrorKind::Connection
        | EngineErrorKind::Unavailable
        | EngineErrorKind::Moved
        | EngineErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        Self::new(status_of(error.kind()), error.to_string())
    }
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        Self::unavailable(error.to_string())
    }
}

#[cfg(feature = "outbox")]
impl From<streamer::outbox::OutboxError> for Problem {
    fn from(error: streamer::outbox::OutboxError) -> Self {
        let status = match error {
            // Somebody else released or skipped the row.
            streamer::outbox::OutboxError::NotBlocked(_) => StatusCode::OK,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}
