//! The certificate authority for people: downloads and the page of steps, and the plain listener that has only these.
//!
//! In: the CA's public certificate. Out: it in three forms, and `/trust`; on the plain listener a redirect of all else.
//! Never: a private key; anything of the API or the page over plain HTTP, but the icon that `/trust` shows.
//!
//! Over plain HTTP somebody between could put another certificate in place of ours. So the page shows the fingerprint
//! and asks to compare it with the device's own terminal.

use super::denied::Denied;
use super::{AllowedHosts, Link, assets, guard};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Router, middleware};
use duplex_pki::Ca;
use std::sync::{Arc, PoisonError, RwLock};
use tracing::debug;

/// The CA whose certificate is offered, if it is the service's own.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    ca: Arc<RwLock<Option<Ca>>>,
}

impl Trust {
    /// Offers this CA's certificate.
    pub fn own(ca: Ca) -> Self {
        Self { ca: Arc::new(RwLock::new(Some(ca))) }
    }

    /// Offers nothing: the server's certificate was issued by somebody else.
    pub fn foreign() -> Self {
        Self::default()
    }

    /// Offers another CA's certificate from now on.
    pub fn replace(&self, ca: Ca) {
        *self.ca.write().unwrap_or_else(PoisonError::into_inner) = Some(ca);
    }

    /// The service's own CA, if it has one.
    pub fn authority(&self) -> Option<Ca> {
        self.ca.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ca(&self) -> Result<Ca, Denied> {
        let message =
            "This service uses a certificate that was not issued by its own authority; there is nothing to trust here.";
        self.authority().ok_or_else(|| Denied::new(StatusCode::NOT_FOUND, "notOwnCa", message))
    }
}

/// The paths about trust, for both listeners.
pub fn routes() -> Router<Trust> {
    Router::new()
        .route("/trust", get(page))
        .route("/trust.css", get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
        .route("/ca.pem", get(pem))
        .route("/ca.der", get(der))
        .route("/ca.mobileconfig", get(mobileconfig))
}

/// All of the plain listener: the paths about trust, and everything else sent on to HTTPS at `https_port`.
pub fn help_router(trust: Trust, allowed: AllowedHosts, https_port: u16) -> Router {
    let front = Arc::new(Front { allowed, https_port });
    let redirect = {
        let front = front.clone();
        async move |request: Request| redirect(&front, &request)
    };
    let icon = get(async || assets::embedded("icon.svg"));
    routes()
        .with_state(trust)
        .route("/icon.svg", icon)
        .fallback(redirect)
        .layer(middleware::from_fn_with_state(front, plain_guard))
}

struct Front {
    allowed: AllowedHosts,
    https_port: u16,
}

fn redirect(front: &Front, request: &Request) -> Result<Redirect, Denied> {
    let host = guard::host(&front.allowed, request)?.host();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    // An absolute-form or asterisk target is no path.
    let path = if path.starts_with('/') { path } else { "/" };
    Ok(Redirect::permanent(&format!("https://{host}:{}{path}", front.https_port)))
}

async fn plain_guard(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let link = Link::of(request.extensions());
    let mut response = match guard::host(&front.allowed, &request) {
        Ok(_) => next.run(request).await,
        Err(denied) => {
            debug!(address = %link.address, code = denied.code, "request refused on the plain listener");
            denied.into_response()
        }
    };
    let policy =
        HeaderValue::from_static("default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'");
    guard::harden(response.headers_mut(), Some(policy), false);
    response
}

async fn page(State(trust): State<Trust>) -> Result<Html<String>, Denied> {
    let ca = trust.ca()?;
    // A line may end between two bytes alone.
    let fingerprint = ca.fingerprint_sha256().replace(':', ":<wbr>");
    let page = PAGE.replace("{{name}}", &escape(ca.common_name())).replace("{{fingerprint}}", &fingerprint);
    Ok(Html(page))
}

async fn pem(State(trust): State<Trust>) -> Result<Response, Denied> {
    Ok(download("application/x-pem-file", "attachment; filename=\"duplex-ca.pem\"", trust.ca()?.ca_pem().into_bytes()))
}

/// Inline: then Firefox offers to import it, instead of only saving it.
async fn der(State(trust): State<Trust>) -> Result<Response, Denied> {
    Ok(download("application/x-x509-ca-cert", "inline; filename=\"duplex-ca.crt\"", trust.ca()?.ca_der().to_vec()))
}

async fn mobileconfig(State(trust): State<Trust>) -> Result<Response, Denied> {
    let profile = trust.ca()?.mobileconfig().into_bytes();
    Ok(download("application/x-apple-aspen-config", "attachment; filename=\"duplex-ca.mobileconfig\"", profile))
}

fn download(kind: &'static str, disposition: &'static str, bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)], bytes).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const PAGE: &str = include_str!("trust.html");
const STYLE: &str = include_str!("trust.css");
