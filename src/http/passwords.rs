//! Who can sign in, for the owner, and how to change it: `duplex passwd` by the page.
//!
//! In: requests of the owner, who shows his present password again for a change. Out: which roles have a password; a changed one, by
//! which whoever was signed in with the role is signed out. Never: an answer to anybody else; a password in a log or an answer; a
//! device that nobody can sign in to from where it is served.

use super::access::Caller;
use super::api::{Body, attempt, hashed, refused, restore_attempt, session_cookie};
use super::auth::{Auth, OwnerShown, Refused, SessionToken};
use super::denied::Denied;
use super::{AppState, Link};
use crate::api::panel::{PasswordRemoval, PasswordRequest, PasswordState, Passwords};
use crate::api::{ApiError, Role};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use std::time::Duration;
use tracing::{info, warn};

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/passwords", get(passwords).post(set_password))
        .route("/passwords/remove", post(remove_password))
}

/// Which roles have a password.
#[utoipa::path(get, path = "/api/v1/passwords", tag = "owner", responses((status = 200, body = Passwords)))]
pub(super) async fn passwords(State(state): State<AppState>, caller: Caller) -> Result<Json<Passwords>, Denied> {
    caller.must_own()?;
    let at_home = caller.at_home;
    hashed(&state, move |auth| Ok(known(auth, at_home))).await.map(Json)
}

/// Sets or changes the password of a role, with the owner's present password. Whoever is signed in with that role is signed out;
/// but for the owner who changes his own: his calls go on, and he gets another session in the place of his.
#[utoipa::path(
    post,
    path = "/api/v1/passwords",
    tag = "owner",
    request_body = PasswordRequest,
    responses(
        (status = 200, body = Passwords),
        (status = 409, body = ApiError),
        (status = 422, body = ApiError),
        (status = 429, body = ApiError)
    )
)]
pub(super) async fn set_password(
    State(state): State<AppState>,
    caller: Caller,
    body: Result<Body<PasswordRequest>, Denied>,
) -> Result<Response, Denied> {
    caller.must_own()?;
    let Body(request) = body?;
    // It costs no attempt: nothing of what is known is compared.
    Auth::check_new_password(&request.password).map_err(refused)?;
    let (role, at_home, password) = (request.role, caller.at_home, request.password);
    let own = caller.grants.principal.strip_prefix("session:").map(str::to_owned);
    let changed = by_owner(&state, caller.link, request.owner_password, move |auth, shown| {
        let now = auth.set_password_by_owner(shown, role, &password)?;
        let after = if role == Role::Owner { after(auth, &now, own.as_deref()) } else { After::Same };
        Ok((known(auth, at_home), after))
    });
    let (known, after) = changed.await?;
    info!(address = %caller.link.address, ?role, "the owner set a password in the page");
    answer(&state, &caller, known, &after)
}

/// Removes the password of a role, with the owner's present password: nobody can sign in with that role then. The owner's goes last,
/// and only where he is at the device itself and it serves nobody else.
#[utoipa::path(
    post,
    path = "/api/v1/passwords/remove",
    tag = "owner",
    request_body = PasswordRemoval,
    responses((status = 200, body = Passwords), (status = 409, body = ApiError), (status = 429, body = ApiError))
)]
pub(super) async fn remove_password(
    State(state): State<AppState>,
    caller: Caller,
    body: Result<Body<PasswordRemoval>, Denied>,
) -> Result<Response, Denied> {
    caller.must_own()?;
    let Body(request) = body?;
    let (role, at_home) = (request.role, caller.at_home);
    if role == Role::Owner && !at_home {
        let message =
            "Without the owner's password nobody could sign in to a device that serves a network. Change it instead.";
        return Err(Denied::new(StatusCode::CONFLICT, "ownerNeeded", message));
    }
    let changed = by_owner(&state, caller.link, request.owner_password, move |auth, shown| {
        auth.remove_password_by_owner(shown, role)?;
        Ok(known(auth, at_home))
    });
    let known = changed.await?;
    info!(address = %caller.link.address, ?role, "the owner removed a password in the page");
    let after = if role == Role::Owner { After::Ends } else { After::Same };
    answer(&state, &caller, known, &after)
}

/// Does what the owner asks for once he has shown his password. Only a wrong one costs an attempt: whoever changes some passwords in a
/// row must be able to sign in afterwards.
async fn by_owner<T: Send + 'static>(
    state: &AppState,
    link: Link,
    password: Option<String>,
    work: impl FnOnce(&Auth, &OwnerShown) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Denied> {
    let taken = attempt(state, link)?;
    let shown = hashed(state, move |auth| auth.confirm_owner(password.as_deref())).await?;
    restore_attempt(state, link, taken);
    hashed(state, move |auth| work(auth, &shown)).await
}

/// What becomes of who asked for a change.
enum After {
    /// Nothing: he is who he was.
    Same,
    /// His calls go on; he gets this in his session's place.
    GoesOn(SessionToken),
    /// He had no session, as nobody needed one; he gets this one, and his connections begin anew with it.
    Begins(SessionToken),
    /// His connections end.
    Ends,
}

/// Without a session the owner's password is changed all the same, and he signs in with it.
fn after(auth: &Auth, now: &OwnerShown, own: Option<&str>) -> After {
    let goes_on = own.map_or(Ok(None), |id| auth.owner_goes_on(now, id));
    let after = goes_on.and_then(|goes_on| match goes_on {
        Some(session) => Ok(After::GoesOn(session)),
        None => auth.owner_session(now).map(After::Begins),
    });
    after.unwrap_or_else(|error| {
        warn!(%error, "the owner must sign in again: no session could be stored for him");
        After::Ends
    })
}

fn known(auth: &Auth, at_home: bool) -> Passwords {
    let set = auth.roles_with_password();
    let state = |role| {
        let removable = role != Role::Owner || (at_home && set == [Role::Owner]);
        PasswordState { role, set: set.contains(&role), removable: set.contains(&role) && removable }
    };
    Passwords { roles: [Role::Owner, Role::Talker, Role::Viewer].map(state).into() }
}

/// The new state. Other sessions and connections of the role end by themselves, as with `duplex passwd`.
fn answer(state: &AppState, caller: &Caller, known: Passwords, after: &After) -> Result<Response, Denied> {
    if matches!(after, After::Begins(_) | After::Ends) {
        let (hub, principal) = (state.hub.clone(), caller.grants.principal.clone());
        tokio::spawn(async move {
            // The answer travels another way than the end of the connection, and shall be first.
            tokio::time::sleep(HEAD_START).await;
            hub.disconnect(&principal);
        });
    }
    let mut response = Json(known).into_response();
    if let After::GoesOn(session) | After::Begins(session) = after {
        response.headers_mut().insert(header::SET_COOKIE, session_cookie(session, caller.link)?);
    }
    Ok(response)
}

const HEAD_START: Duration = Duration::from_millis(250);
