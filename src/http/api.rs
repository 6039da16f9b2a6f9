//! The HTTP API, version 1: status, signing in and out, setup, the turn to talk.
//!
//! In: JSON of at most 16 KiB. Out: JSON; session cookies.
//! Never: a password in a log or an answer; an answer to what the caller may not know.

use super::access::{Caller, OPEN, cookie_name, session_cookies, session_principal};
use super::auth::{Auth, Refused, SessionToken};
use super::denied::Denied;
use super::{
    AppState, Link, events, latency, log, media, openapi, panel, passwords, quality, recordings, sessions, steering,
};
use crate::api::{Access, ApiError, Role, SetupRequest, SignInRequest, Status, TalkRequest, TalkState};
use crate::desk::DeskClosed;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};
use tracing::{error, info};
use utoipa::ToSchema;

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/status", get(status))
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/setup", post(setup))
        .route("/events", get(events::events))
        .route("/talk", post(talk))
        .route("/talk/release", post(release))
        .merge(media::routes())
        .merge(recordings::routes())
        .merge(openapi::routes())
        .merge(panel::routes())
        .merge(sessions::routes())
        .merge(log::routes())
        .merge(passwords::routes())
        .merge(steering::routes())
        .merge(quality::routes())
        .merge(latency::routes())
        .fallback(async || Denied::not_found())
}

/// The status as this caller may see it.
pub fn status_for(status: Status, caller: &Caller) -> Status {
    let status = Status { access: caller.access.clone(), ..status };
    if caller.grants.watch {
        return status;
    }
    // A caller without rights needs only what the sign-in view shows.
    Status { device_id: None, ice_servers: Vec::new(), video: false, audio: false, inbound_video: false, ..status }
}

/// A peer of the caller's own, or the words for one that does not exist.
pub fn own_peer(state: &AppState, caller: &Caller, peer: &str) -> Result<(), Denied> {
    let own = state.hub.grants(peer).is_some_and(|grants| grants.principal == caller.grants.principal);
    if own {
        return Ok(());
    }
    let message = "You have no signalling connection with this peer id; connect first.";
    Err(Denied::new(StatusCode::NOT_FOUND, "unknownPeer", message))
}

/// A JSON body within limits of size and time.
pub struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = Denied;

    async fn from_request(request: Request, _: &AppState) -> Result<Self, Denied> {
        let json = request.headers().get(header::CONTENT_TYPE).is_some_and(|value| {
            let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
        });
        if !json {
            let message = "The body must be JSON, with Content-Type: application/json.";
            return Err(Denied::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "notJson", message));
        }
        let too_large =
            || Denied::new(StatusCode::PAYLOAD_TOO_LARGE, "tooLarge", "The body must have at most 16384 bytes.");
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > MAX_BODY as u64) {
            return Err(too_large());
        }
        let body = axum::body::to_bytes(request.into_body(), MAX_BODY);
        let Ok(body) = tokio::time::timeout(BODY_TIME, body).await else {
            return Err(Denied::new(StatusCode::REQUEST_TIMEOUT, "tooSlow", "The body must arrive within 10 s."));
        };
        let bytes = body.map_err(|_| too_large())?;
        let refused = |reason: &str| {
            let message = format!("The body is not what this call takes: {reason}.");
            Denied::new(StatusCode::BAD_REQUEST, "badRequest", message)
        };
        // An array would do for serde as well: its items in the order of the fields.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(refused("it must be a JSON object"));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| refused(without_place(&error.to_string())))
    }
}

/// What a parser says, without the place: the body is one line that a page has made.
fn without_place(error: &str) -> &str {
    error.split(" at line ").next().unwrap_or(error)
}

/// What a page must know before it can call. Without a sign-in it tells the name, the version and the way in.
#[utoipa::path(get, path = "/api/v1/status", tag = "everybody", responses((status = 200, body = Status)), security(()))]
pub(super) async fn status(State(state): State<AppState>, caller: Caller) -> Json<Status> {
    Json(status_for(state.desk.status(caller.access.clone()), &caller))
}

/// Signs in with the password of a role; sets the session's cookie.
#[utoipa::path(
    post,
    path = "/api/v1/sign-in",
    tag = "everybody",
    request_body = SignInRequest,
    responses((status = 200, body = Access), (status = 401, body = ApiError), (status = 429, body = ApiError)),
    security(())
)]
pub(super) async fn sign_in(
    State(state): State<AppState>,
    link: Link,
    headers: HeaderMap,
    Body(request): Body<SignInRequest>,
) -> Result<Response, Denied> {
    attempt(&state, link)?;
    let (role, token) = hashed(&state, move |auth| auth.sign_in(&request.password)).await?;
    end_sessions(&state, &headers, link).await?;
    state.panel.metrics.signed_in();
    info!(address = %link.address, ?role, "signed in");
    signed_in(role, &token, link)
}

/// Sets the owner's password with the code from the device's terminal, and signs in.
#[utoipa::path(
    post,
    path = "/api/v1/setup",
    tag = "everybody",
    request_body = SetupRequest,
    responses(
        (status = 200, body = Access),
        (status = 401, body = ApiError),
        (status = 409, body = ApiError),
        (status = 422, body = ApiError),
        (status = 429, body = ApiError)
    ),
    security(())
)]
pub(super) async fn setup(
    State(state): State<AppState>,
    link: Link,
    headers: HeaderMap,
    Body(request): Body<SetupRequest>,
) -> Result<Response, Denied> {
    attempt(&state, link)?;
    let token = hashed(&state, move |auth| auth.setup(&request.code, &request.password)).await?;
    end_sessions(&state, &headers, link).await?;
    state.hub.disconnect(OPEN);
    info!(address = %link.address, "the owner's password was set");
    signed_in(Role::Owner, &token, link)
}

/// Ends the session and every connection it opened.
#[utoipa::path(post, path = "/api/v1/sign-out", tag = "everybody", responses((status = 204)), security(()))]
pub(super) async fn sign_out(
    State(state): State<AppState>,
    link: Link,
    headers: HeaderMap,
) -> Result<Response, Denied> {
    end_sessions(&state, &headers, link).await?;
    let cookie = cookie("", 0, link)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Asks for the turn to talk; for talkers and owners.
#[utoipa::path(
    post,
    path = "/api/v1/talk",
    tag = "call",
    request_body = TalkRequest,
    responses((status = 200, body = TalkState), (status = 403, body = ApiError), (status = 404, body = ApiError))
)]
pub(super) async fn talk(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<TalkRequest>,
) -> Result<Json<TalkState>, Denied> {
    caller.must_talk()?;
    own_peer(&state, &caller, &request.peer)?;
    if request.take && !caller.grants.owner {
        return Err(Denied::new(StatusCode::FORBIDDEN, "notOwner", "Only the owner may end another's turn."));
    }
    state.desk.ask(&request.peer, request.take).await.map(Json).map_err(closing)
}

/// Gives the turn back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseRequest {
    /// The caller's signalling peer id.
    peer: String,
}

/// Gives the turn, or the place in the line, back.
#[utoipa::path(
    post,
    path = "/api/v1/talk/release",
    tag = "call",
    request_body = ReleaseRequest,
    responses((status = 200, body = TalkState), (status = 404, body = ApiError))
)]
pub(super) async fn release(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<ReleaseRequest>,
) -> Result<Json<TalkState>, Denied> {
    caller.must_talk()?;
    own_peer(&state, &caller, &request.peer)?;
    state.desk.release(&request.peer).await.map(Json).map_err(closing)
}

/// The service is on its way out.
pub fn closing(error: DeskClosed) -> Denied {
    Denied::new(StatusCode::SERVICE_UNAVAILABLE, "closing", format!("Not now: {error}."))
}

/// Takes one of the caller's attempts at a password or a code, and tells when.
pub(super) fn attempt(state: &AppState, link: Link) -> Result<Instant, Denied> {
    let now = Instant::now();
    let mut attempts = state.attempts.lock().unwrap_or_else(PoisonError::into_inner);
    attempts.check(link.address.ip(), now).map(|()| now).map_err(|wait| Denied {
        retry_after: Some(wait.seconds()),
        ..Denied::new(StatusCode::TOO_MANY_REQUESTS, "tooManyAttempts", wait.to_string())
    })
}

/// Gives back the attempt that the caller took then.
pub(super) fn restore_attempt(state: &AppState, link: Link, taken: Instant) {
    state.attempts.lock().unwrap_or_else(PoisonError::into_inner).restore(link.address.ip(), taken);
}

/// Runs what hashes passwords where it holds nobody up.
pub(super) async fn hashed<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce(&Auth) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Denied> {
    let auth = state.auth.clone();
    match tokio::task::spawn_blocking(move || work(&auth)).await {
        Ok(result) => result.map_err(refused),
        Err(error) => {
            error!(%error, "a password could not be checked");
            Err(Denied::failed())
        }
    }
}

/// A refusal in the terms of HTTP; what failed is logged.
pub(super) fn refused(refused: Refused) -> Denied {
    let (status, code) = match &refused {
        Refused::WrongPassword => (StatusCode::UNAUTHORIZED, "wrongPassword"),
        Refused::WrongCode => (StatusCode::UNAUTHORIZED, "wrongCode"),
        Refused::TooManyTries => (StatusCode::TOO_MANY_REQUESTS, "tooManyAttempts"),
        Refused::AlreadySetUp => (StatusCode::CONFLICT, "alreadySetUp"),
        Refused::WeakPassword(_) => (StatusCode::UNPROCESSABLE_ENTITY, "weakPassword"),
        Refused::SamePassword => (StatusCode::UNPROCESSABLE_ENTITY, "samePassword"),
        Refused::OwnerFirst => (StatusCode::CONFLICT, "ownerFirst"),
        Refused::OwnerLast => (StatusCode::CONFLICT, "ownerLast"),
        Refused::NoPassword(_) => (StatusCode::CONFLICT, "noPassword"),
        Refused::Failed(error) => {
            error!(%error, "credentials could not be stored");
            (StatusCode::INTERNAL_SERVER_ERROR, "failed")
        }
    };
    Denied::new(status, code, refused.to_string())
}

/// Ends the sessions of a request's cookies, with the signalling peers they opened.
async fn end_sessions(state: &AppState, headers: &HeaderMap, link: Link) -> Result<(), Denied> {
    let cookies = session_cookies(headers, link.tls);
    if cookies.is_empty() {
        return Ok(());
    }
    let auth = state.auth.clone();
    let end = move || {
        let mut ended = Vec::new();
        for cookie in cookies {
            ended.extend(auth.session(&cookie, SystemTime::now()));
            auth.sign_out(&cookie)?;
        }
        Ok::<_, super::auth::Error>(ended)
    };
    let ended = match tokio::task::spawn_blocking(end).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => {
            error!(%error, "a session could not be ended");
            return Err(Denied::failed());
        }
        Err(error) => {
            error!(%error, "a session could not be ended");
            return Err(Denied::failed());
        }
    };
    for session in ended {
        state.hub.disconnect(&session_principal(&session.id));
        info!(address = %link.address, role = ?session.role, "signed out");
    }
    Ok(())
}

fn signed_in(role: Role, token: &SessionToken, link: Link) -> Result<Response, Denied> {
    let access = Access { role: Some(role), open: false, needs_setup: false };
    Ok(([(header::SET_COOKIE, session_cookie(token, link)?)], Json(access)).into_response())
}

/// What makes a browser show this session from now on.
pub(super) fn session_cookie(token: &SessionToken, link: Link) -> Result<HeaderValue, Denied> {
    cookie(token.as_str(), MONTH, link)
}

fn cookie(value: &str, seconds: u64, link: Link) -> Result<HeaderValue, Denied> {
    let secure = if link.tls { "; Secure" } else { "" };
    let name = cookie_name(link.tls);
    let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&cookie).map_err(|error| {
        error!(%error, "a cookie could not be written");
        Denied::failed()
    })
}

const MAX_BODY: usize = 16 * 1024;
const BODY_TIME: Duration = Duration::from_secs(10);
/// Seconds; as long as a session lives unused.
const MONTH: u64 = 30 * 24 * 60 * 60;
