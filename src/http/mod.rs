//! The web side of the service: page, API, events, signalling's WebSocket, and the CA's certificate.
//!
//! In: connections, and the handles of the other parts in [`AppState`]. Out: answers; peers for the signalling hub.
//! Never: media; a decision that is not written down in [`access`] (who is it?) or [`guard`] (may this request be here?).
//!
//! ```text
//! serve: TCP > TLS > HTTP/1.1 > guard --+-- /             page, or signalling when it asks for a WebSocket
//!                                       +-- /signalling   WebSocket > hub
//!                                       +-- /api/v1/...   api, events, media; the owner's: panel, recordings, sessions, passwords, log, steering
//!                                       +-- /whep        a player's offer > hub
//!                                       +-- /healthz, /metrics  monitoring
//!                                       +-- /trust, /ca.* trust
//!                                       +-- anything else assets
//! plain listener (help_router) ---------+-- /trust, /ca.* and a redirect of anything else
//! ```

pub mod access;
pub mod api;
pub mod assets;
pub mod auth;
pub mod denied;
pub mod events;
pub mod guard;
pub mod hosts;
pub mod latency;
pub mod local;
pub mod log;
pub mod media;
pub mod media_desk;
pub mod monitoring;
pub mod openapi;
pub mod panel;
pub mod passwords;
pub mod quality;
pub mod recordings;
pub mod serve;
pub mod sessions;
pub mod socket;
pub mod steering;
pub mod talk_desk;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod trust;
pub mod whep;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::signalling::hub::Hub;
use crate::signalling::ration::LogRation;
use access::Caller;
use assets::Page;
use auth::{Attempts, Auth};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use denied::Denied;
pub use hosts::AllowedHosts;
pub use media_desk::MediaDesk;
pub use panel::Panel;
pub use serve::{Link, serve};
use std::sync::{Arc, Mutex};
pub use talk_desk::TalkDesk;
pub use tls::TlsCert;
pub use trust::{Trust, help_router};

/// What the answers are made of. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Passwords, sessions, tokens.
    pub auth: Arc<Auth>,
    /// Signalling.
    pub hub: Hub,
    /// Who talks, and how the device is.
    pub desk: Arc<dyn TalkDesk>,
    /// Pictures, announcements, recordings.
    pub media: Arc<dyn MediaDesk>,
    /// Names under which requests are answered.
    pub allowed: AllowedHosts,
    /// The CA's certificate, if the service has its own CA.
    pub trust: Trust,
    /// What the owner gets to see.
    pub panel: Arc<Panel>,
    page: Arc<Page>,
    attempts: Arc<Mutex<Attempts>>,
    log: Arc<LogRation>,
    players: Arc<Mutex<whep::Players>>,
}

impl AppState {
    /// Puts the parts together; the page comes from `config.web_app` or from the binary.
    pub fn new(
        config: Arc<Config>,
        auth: Arc<Auth>,
        hub: Hub,
        desk: impl TalkDesk,
        media: impl MediaDesk,
        allowed: AllowedHosts,
        trust: Trust,
    ) -> Self {
        let page = Page::new(config.web_app.clone());
        Self {
            config,
            auth,
            hub,
            desk: Arc::new(desk),
            media: Arc::new(media),
            allowed,
            trust,
            panel: Arc::new(Panel::bare(Metrics::new(env!("CARGO_PKG_VERSION")))),
            page: Arc::new(page),
            attempts: Arc::default(),
            log: Arc::default(),
            players: Arc::default(),
        }
    }

    /// With something for the owner to see.
    #[must_use]
    pub fn with_panel(self, panel: Panel) -> Self {
        Self { panel: Arc::new(panel), ..self }
    }
}

/// All routes of the main listener.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/signalling", get(socket::upgrade))
        .nest("/api/v1", api::routes())
        .merge(monitoring::routes())
        .merge(whep::routes())
        .merge(trust::routes().with_state(state.trust.clone()))
        .fallback(assets::asset)
        .method_not_allowed_fallback(async || Denied::method())
        .layer(middleware::from_fn_with_state(state.clone(), guard::guard))
        .with_state(state)
}

/// Stock clients know no path: for them signalling is at `/` as well.
///
/// The page learns by `Server-Timing`, the one header that a script can read of its own page, whether signalling would be
/// refused: it tries it ahead of everything else, and a browser writes each refusal into its console as an error.
async fn root(State(state): State<AppState>, request: Request) -> Response {
    if guard::wants_websocket(request.headers()) {
        socket::upgrade(State(state), request).await.into_response()
    } else {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, &state).await;
        let mut page = assets::asset(State(state), Request::from_parts(parts, body)).await.into_response();
        // Always told: a page out of the browser's cache keeps the header that it came with unless there is another.
        let door =
            if caller.is_ok_and(|caller| caller.grants.watch) { "door;desc=\"open\"" } else { "door;desc=\"shut\"" };
        page.headers_mut().insert(HeaderName::from_static("server-timing"), HeaderValue::from_static(door));
        page
    }
}
