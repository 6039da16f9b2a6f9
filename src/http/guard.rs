//! What every request passes before anything looks at it: is it meant for us, does it come from our own page?
//!
//! In: a request. Out: a refusal, or the request with its [`Site`]; and on every answer the headers that tell the
//! browser what the page may do, and one line in the log for a refusal.
//! Never: looks at who the caller is.

use super::denied::{Denied, Mark};
use super::hosts::{Authority, same_origin};
use super::{AllowedHosts, AppState, Link};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{debug, warn};

/// The place a request was sent to; its host is one of ours.
#[derive(Debug, Clone)]
pub struct Site {
    /// Host and port from the `Host` header.
    pub authority: Authority,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// The middleware around all routes of the main listener.
pub async fn guard(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let link = Link::of(request.extensions());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let (mut response, policy) = match check(&state.allowed, link, &request) {
        Ok(site) => {
            let policy = content_policy(&site);
            request.extensions_mut().insert(site);
            (next.run(request).await, policy)
        }
        Err(denied) => (denied.into_response(), None),
    };
    harden(response.headers_mut(), policy, path.starts_with("/api/"));
    if let Some(Mark(code)) = response.extensions().get() {
        let status = response.status();
        state.panel.metrics.refused(code, path == "/api/v1/sign-in" || path == "/api/v1/setup");
        if [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status) {
            debug!(address = %link.address, %method, path, code, "not found");
        } else if let Some(left_out) = state.log.pass() {
            warn!(address = %link.address, %method, path, code, left_out, "request refused");
        }
    }
    response
}

/// The headers by which a browser asks for a WebSocket.
pub fn wants_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The one host a request names, if it is one of ours.
pub fn host(allowed: &AllowedHosts, request: &Request) -> Result<Authority, Denied> {
    let mut values = request.headers().get_all(header::HOST).iter();
    let authority = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(Authority::parse),
        _ => None,
    };
    let Some(authority) = authority else {
        return Err(Denied::new(StatusCode::BAD_REQUEST, "badHost", "The request must have one valid Host header."));
    };
    if allowed.allows(&authority) {
        return Ok(authority);
    }
    let message = format!(
        "This service does not answer under the name {}; add it to its configuration (names) or use one of its own names.",
        authority.host()
    );
    Err(Denied::new(StatusCode::MISDIRECTED_REQUEST, "wrongHost", message))
}

fn check(allowed: &AllowedHosts, link: Link, request: &Request) -> Result<Site, Denied> {
    let site = Site { authority: host(allowed, request)?, tls: link.tls };
    let method = request.method();
    let headers = request.headers();
    let reads_page = (method == Method::GET || method == Method::HEAD)
        && !request.uri().path().starts_with("/api/")
        && !wants_websocket(headers);
    if reads_page {
        return Ok(site);
    }
    let foreign =
        |value: &HeaderValue| !value.to_str().is_ok_and(|origin| same_origin(origin, site.tls, &site.authority));
    let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
    // Where a browser sends no Origin (a plain GET), it still says whether another site is behind it.
    let sent_by_other_site = origins.peek().is_none()
        && headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
    if sent_by_other_site || origins.any(foreign) {
        let message = "This request was made by the page of another origin; only the device's own page may do that.";
        return Err(Denied::new(StatusCode::FORBIDDEN, "wrongOrigin", message));
    }
    Ok(site)
}

/// The page gets everything from its own origin. The WebSocket is named because not every browser takes it for `'self'`.
fn content_policy(site: &Site) -> Option<HeaderValue> {
    let scheme = if site.tls { "wss" } else { "ws" };
    let policy = format!(
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; \
         connect-src 'self' {scheme}://{}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        site.authority
    );
    HeaderValue::from_str(&policy).ok()
}

/// There is no `Strict-Transport-Security`: with an own CA it would take from people who do not trust it yet the way
/// past the warning, and it holds for all ports of a name, so on localhost it would break other services.
pub fn harden(headers: &mut HeaderMap, content_policy: Option<HeaderValue>, api: bool) {
    let fallback = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, content_policy.unwrap_or(fallback));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS));
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("same-origin"));
    }
    if api {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    } else {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    }
}

const PERMISSIONS: &str =
    "camera=(self), microphone=(self), fullscreen=(self), autoplay=(self), geolocation=(), display-capture=()";
