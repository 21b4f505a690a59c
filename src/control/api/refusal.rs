//! An answer that is not what was asked for.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::control::rejection::{Rejection, RejectionKind};

/// What was refused and what to do instead: the body of every status but 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}{}{remedy}", if .remedy.is_empty() { "" } else { "; " })]
pub struct Refusal {
    #[serde(skip)]
    status: u16,
    /// What was refused, and why.
    pub error: String,
    /// What to do.
    pub remedy: String,
}

impl Refusal {
    /// A refusal under an HTTP status.
    pub(super) fn new(status: StatusCode, error: impl Into<String>, remedy: &str) -> Self {
        Self { status: status.as_u16(), error: error.into(), remedy: remedy.to_owned() }
    }

    /// The same under the status it came with.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status: status.as_u16(), ..self }
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.status
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let status = match rejection.kind {
            RejectionKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            RejectionKind::Wrong => StatusCode::BAD_REQUEST,
            RejectionKind::Configuration => StatusCode::UNPROCESSABLE_ENTITY,
            RejectionKind::NotFound => StatusCode::NOT_FOUND,
            RejectionKind::Conflict => StatusCode::CONFLICT,
            RejectionKind::Permission => StatusCode::FORBIDDEN,
        };
        Self::new(status, rejection.what, &rejection.remedy)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}
