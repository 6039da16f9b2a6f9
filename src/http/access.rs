//! Who is calling, and what he may do.
//!
//! In: the cookie or the token of a request, and where it comes from. Out: a [`Caller`].
//! Never: passwords (see [`super::api`]); a role that stands in the request itself.
//!
//! | shown                                  | gets                                                        |
//! |----------------------------------------|-------------------------------------------------------------|
//! | a token                                | its scopes; nothing at all when it is wrong; never the panel |
//! | a session's cookie                     | watch; talk too for talker and owner; the panel for owners  |
//! | nothing, in the open mode, from a page | watch and talk, as the owner                                |
//! | nothing, in the open mode, else        | all four scopes, as the owner                               |
//! | nothing                                | nothing                                                     |
//!
//! The open mode holds while the service listens on loopback only, no owner's password is set, and the connection
//! comes from loopback itself.

use super::auth::{Auth, Scope};
use super::denied::Denied;
use super::{AppState, Link};
use crate::api::{Access, Role};
use crate::signalling::Grants;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use std::sync::Arc;
use std::time::SystemTime;
use tracing::error;

/// Who sent a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// His standing, as the page shows it.
    pub access: Access,
    /// What he may do in signalling; also the measure for the API.
    pub grants: Grants,
    /// Where the connection comes from.
    pub link: Link,
    /// What his rights follow from.
    pub credential: Credential,
    /// Whether he may read the metrics.
    pub metrics: bool,
    /// Whether he would be the owner if there were no password: he is at this computer, and nobody else is served.
    pub at_home: bool,
}

/// What somebody's rights follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing was shown.
    None,
    /// A session, by its id.
    Session {
        /// Digest of the cookie.
        id: String,
        /// The role it was opened with.
        role: Role,
    },
    /// A token, by its id.
    Token {
        /// Digest of the token.
        id: String,
    },
    /// Nothing, where nothing is needed.
    Open,
}

impl Caller {
    /// Refuses whoever may not watch.
    pub fn must_watch(&self) -> Result<(), Denied> {
        self.must(self.grants.watch, "watch")
    }

    /// Refuses whoever may not talk.
    pub fn must_talk(&self) -> Result<(), Denied> {
        self.must(self.grants.talk, "talk")
    }

    /// Refuses everybody but the owner.
    pub fn must_own(&self) -> Result<(), Denied> {
        self.must(self.grants.owner, "do that; only the owner may")
    }

    /// Refuses whoever may not read the metrics.
    pub fn must_measure(&self) -> Result<(), Denied> {
        self.must(self.metrics, "read the metrics")
    }

    fn must(&self, granted: bool, what: &str) -> Result<(), Denied> {
        match (granted, &self.credential) {
            (true, _) => Ok(()),
            (false, Credential::None) => Err(Denied::not_signed_in()),
            (false, _) => Err(Denied::not_allowed(what)),
        }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Denied> {
        let link = Link::of(&parts.extensions);
        let bearer = bearer(&parts.headers)?;
        let cookies = session_cookies(&parts.headers, link.tls);
        let browser = parts.headers.contains_key(header::ORIGIN);
        let loopback_only = state.config.listen.iter().all(|address| address.ip().is_loopback());
        // Behind a proxy everybody comes from loopback.
        let proxied = PROXY_HEADERS.iter().any(|name| parts.headers.contains_key(*name));
        let may_be_open = loopback_only && !proxied && link.address.ip().to_canonical().is_loopback();
        let auth = state.auth.clone();
        // The files of `auth` may have to be read again.
        let lookup = move || {
            let now = SystemTime::now();
            let credential = if let Some(bearer) = bearer {
                let Some(token) = auth.token(&bearer, now) else { return Err(wrong_token()) };
                return Ok(by_token(token.id, &token.name, &token.scopes, browser, link));
            } else if let Some(session) = cookies.iter().find_map(|cookie| auth.session(cookie, now)) {
                Credential::Session { id: session.id, role: session.role }
            } else if may_be_open && !auth.has_owner() {
                Credential::Open
            } else {
                Credential::None
            };
            Ok(Caller { at_home: may_be_open, ..by_credential(credential, !auth.has_owner(), browser, link) })
        };
        match tokio::task::spawn_blocking(lookup).await {
            Ok(caller) => caller,
            Err(error) => {
                error!(%error, "a caller could not be looked up");
                Err(Denied::failed())
            }
        }
    }
}

impl Credential {
    /// Whether it is still good; for what goes on after the request was answered.
    pub async fn holds(&self, auth: &Arc<Auth>) -> bool {
        let (credential, auth) = (self.clone(), auth.clone());
        let lookup = move || {
            let now = SystemTime::now();
            match credential {
                Self::None => true,
                Self::Session { id, role } => auth.session_by_id(&id, now).is_some_and(|session| session.role == role),
                Self::Token { id } => auth.token_by_id(&id, now).is_some(),
                Self::Open => !auth.has_owner(),
            }
        };
        tokio::task::spawn_blocking(lookup).await.unwrap_or_else(|error| {
            error!(%error, "a credential could not be looked up");
            false
        })
    }
}

/// The values of the session's cookie; there may be several where a cookie for another path has the same name.
pub fn session_cookies(headers: &HeaderMap, tls: bool) -> Vec<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == cookie_name(tls))
        .map(|(_, value)| value.to_owned())
        .take(4)
        .collect()
}

/// The prefix makes browsers refuse the cookie from any other host or path; it needs TLS.
pub fn cookie_name(tls: bool) -> &'static str {
    if tls { "__Host-duplex" } else { "duplex" }
}

/// The principal of a session.
pub fn session_principal(id: &str) -> String {
    format!("session:{id}")
}

/// The principal of everybody in the open mode.
pub const OPEN: &str = "open";

fn by_credential(credential: Credential, no_owner: bool, browser: bool, link: Link) -> Caller {
    let open = credential == Credential::Open;
    let (role, principal) = match &credential {
        Credential::Session { id, role } => (Some(*role), session_principal(id)),
        Credential::Open => (Some(Role::Owner), OPEN.to_owned()),
        Credential::None | Credential::Token { .. } => (None, "nobody".to_owned()),
    };
    // A stock program on this machine may do all; a page only what people do.
    let machine = open && !browser;
    let grants = Grants {
        watch: role.is_some(),
        talk: role >= Some(Role::Talker),
        produce: machine,
        consume_peer: machine,
        owner: role == Some(Role::Owner),
        browser,
        principal,
    };
    let metrics = grants.owner;
    let access = Access { role, open, needs_setup: no_owner && !open };
    Caller { access, grants, link, credential, metrics, at_home: false }
}

fn by_token(id: String, name: &str, scopes: &[Scope], browser: bool, link: Link) -> Caller {
    let grants = Grants {
        watch: scopes.contains(&Scope::Watch),
        talk: scopes.contains(&Scope::Talk),
        produce: scopes.contains(&Scope::Produce),
        consume_peer: scopes.contains(&Scope::ConsumePeer),
        owner: false,
        browser,
        principal: format!("token:{name}"),
    };
    let role = match (grants.watch, grants.talk) {
        (true, true) => Some(Role::Talker),
        (true, false) => Some(Role::Viewer),
        (false, _) => None,
    };
    let access = Access { role, open: false, needs_setup: false };
    let metrics = scopes.contains(&Scope::Metrics);
    Caller { access, grants, link, credential: Credential::Token { id }, metrics, at_home: false }
}

fn bearer(headers: &HeaderMap) -> Result<Option<String>, Denied> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|value| value.split_once(' '));
    match parsed {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim().to_owned())),
        _ => Err(wrong_token()),
    }
}

fn wrong_token() -> Denied {
    let message =
        "The token in the Authorization header is unknown, expired or revoked, or not of the form `Bearer TOKEN`.";
    Denied::new(StatusCode::UNAUTHORIZED, "wrongToken", message)
}

const PROXY_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
