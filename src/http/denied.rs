//! Answers that are not what was asked for.
//!
//! In: a status, a name for programs, a sentence for people. Out: a JSON answer, marked so that [`super::guard`]
//! logs it once.
//! Never: secrets, or how the inside looks.

use crate::api::{ApiError, ErrorBody};
use crate::words;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A refused or failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// The HTTP status, 4xx or 5xx.
    pub status: StatusCode,
    /// A name in camelCase for programs.
    pub code: &'static str,
    /// One sentence for people.
    pub message: String,
    /// Seconds to wait before the next try.
    pub retry_after: Option<u64>,
}

/// Stands in an answer's extensions: this was a refusal of that name.
#[derive(Debug, Clone, Copy)]
pub struct Mark(pub &'static str);

impl Denied {
    /// A refusal without a time to wait.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: words::plain(message.into()), retry_after: None }
    }

    /// The caller is not known.
    pub fn not_signed_in() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "notSignedIn", "Sign in first, or send a token.")
    }

    /// The caller is known and may not.
    pub fn not_allowed(what: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "notAllowed", format!("This sign-in may not {what}."))
    }

    /// There is nothing at this path.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "notFound", "There is nothing at this address.")
    }

    /// The path exists, but not for this method.
    pub fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "methodNotAllowed", "This address does not take this method.")
    }

    /// The service failed; the log has the reason.
    pub fn failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "The service failed here; its log says why.")
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let body = ApiError { error: ErrorBody { code: self.code.into(), message: self.message } };
        let mut response = (self.status, Json(body)).into_response();
        response.extensions_mut().insert(Mark(self.code));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // The only scheme there is; unlike Basic it makes no browser ask for a password of its own.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
