//! Requests that are not meant for us or not made by our page, and the headers on every answer.

use super::*;
use serde_json::json;
use std::cell::RefCell;
use std::sync::Once;

const FOREIGN: [&str; 6] = [
    "https://evil.example",
    "http://localhost",
    "https://localhost:1",
    "https://localhost.evil.example",
    "https://door.local",
    "null",
];

#[tokio::test]
async fn strange_hosts_are_turned_away_whatever_they_ask() {
    let service = Service::start(Setup::default()).await;
    let port = service.address.port();
    for path in ["/", "/signalling", "/api/v1/status", "/trust", "/ca.pem"] {
        for host in ["evil.example", "127.0.0.2", &format!("localhost.evil.example:{port}")] {
            let reply = service.get(path).header("host", host).send(&service).await;
            reply.denied(421, "wrongHost");
        }
    }
    for host in ["door.local", "DOOR.LOCAL.:1", "127.0.0.1", "[::1]:8443", "localhost"] {
        let reply = service.get("/api/v1/status").header("host", host).send(&service).await;
        assert_eq!(reply.status, StatusCode::OK, "{host}: {}", reply.text());
    }
    for host in ["", "user@localhost", "localhost:x", "localhost/x"] {
        service.get("/api/v1/status").header("host", host).send(&service).await.denied(400, "badHost");
    }
}

#[tokio::test]
async fn two_hosts_are_none() {
    let service = Service::start(Setup::default()).await;
    let mut ask = service.get("/api/v1/status");
    ask.request.headers_mut().append("host", HeaderValue::from_static("door.local"));
    ask.send(&service).await.denied(400, "badHost");
}

#[tokio::test]
async fn foreign_pages_reach_neither_api_nor_signalling() {
    // The open mode is the worst case: no cookie is needed.
    let service = Service::start(Setup { loopback: true, passwords: &[], ..Setup::default() }).await;
    for origin in FOREIGN {
        for path in ["/api/v1/sign-in", "/api/v1/sign-out", "/api/v1/setup", "/api/v1/talk", "/api/v1/talk/release"] {
            let body = json!({"peer": "x", "password": "x", "code": "x"});
            service.post(path, body).header("origin", origin).send(&service).await.denied(403, "wrongOrigin");
        }
        for path in ["/api/v1/status", "/api/v1/events?peer=x"] {
            service.get(path).header("origin", origin).send(&service).await.denied(403, "wrongOrigin");
        }
        for path in ["/", "/signalling"] {
            let ask = signalling::websocket(&service, path).header("origin", origin);
            ask.send(&service).await.denied(403, "wrongOrigin");
        }
    }
    assert_eq!(service.hub.counts().peers, 0);
}

#[tokio::test]
async fn what_browsers_say_about_other_sites_counts_where_there_is_no_origin() {
    let service = Service::start(Setup { loopback: true, passwords: &[], ..Setup::default() }).await;
    for site in ["cross-site", "same-site"] {
        let ask = service.get("/api/v1/status").header("sec-fetch-site", site);
        ask.send(&service).await.denied(403, "wrongOrigin");
    }
    for site in ["same-origin", "none"] {
        let reply = service.get("/api/v1/status").header("sec-fetch-site", site).send(&service).await;
        assert_eq!(reply.status, StatusCode::OK);
    }
    // A link from another site to the page is what links are for.
    let reply = service.get("/trust").header("sec-fetch-site", "cross-site").send(&service).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn the_own_page_reaches_everything() {
    let service = Service::start(Setup { loopback: true, passwords: &[], ..Setup::default() }).await;
    let reply = service.get("/api/v1/status").header("origin", &service.origin()).send(&service).await;
    assert_eq!(reply.status, StatusCode::OK);
    let reply = service.post("/api/v1/sign-out", json!({})).send(&service).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn every_answer_tells_the_browser_what_is_allowed() {
    let service = Service::start(Setup::default()).await;
    for path in ["/", "/trust", "/api/v1/status", "/api/v1/nothing", "/nothing", "/ca.pem"] {
        let reply = service.get(path).send(&service).await;
        let policy = reply.get("content-security-policy");
        for part in ["default-src 'self'", "script-src 'self';", "frame-ancestors 'none'", "object-src 'none'"] {
            assert!(policy.contains(part), "{path}: {part} is missing in {policy:?}");
        }
        assert!(policy.contains(&format!("connect-src 'self' wss://{};", service.host())), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.get("x-content-type-options"), "nosniff");
        assert_eq!(reply.get("referrer-policy"), "no-referrer");
        assert!(reply.get("permissions-policy").contains("camera=(self), microphone=(self)"));
        assert_eq!(reply.get("strict-transport-security"), "", "an own CA and this header lock people out");
        let caching = if path.starts_with("/api/") { "no-store" } else { "no-cache" };
        assert_eq!(reply.get("cache-control"), caching, "{path}");
    }
    let refused = service.get("/").header("host", "evil.example").send(&service).await;
    assert!(refused.get("content-security-policy").contains("default-src 'none'"));
}

#[tokio::test]
async fn refusals_are_logged_with_act_and_address_and_without_secrets() {
    let log = Log::capture();
    let service = Service::start(Setup::default()).await;
    let secret = "this password is a secret";
    service.post("/api/v1/sign-in", json!({"password": secret})).send(&service).await.denied(401, "wrongPassword");
    let ask = service.get("/signalling").header("authorization", "Bearer dpx_this-token-is-a-secret");
    ask.send(&service).await.denied(401, "wrongToken");
    let ask = service.post("/api/v1/talk", json!({})).header("origin", "https://evil.example");
    ask.send(&service).await.denied(403, "wrongOrigin");
    let text = log.text();
    for expected in ["wrongPassword", "/api/v1/sign-in", "wrongToken", "wrongOrigin", "127.0.0.1:"] {
        assert!(text.contains(expected), "{expected} is not in the log:\n{text}");
    }
    assert!(!text.contains("is-a-secret") && !text.contains("is a secret"), "a secret is in the log:\n{text}");
}

/// The log of this test's thread, on which all its tasks run.
///
/// One subscriber for the whole process: with one for each test, a line is now and then missed while other tests'
/// subscribers come and go, because tracing remembers for each line whether anybody wants it.
pub struct Log;

impl Log {
    pub fn capture() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::INFO)
                .with_ansi(false)
                .with_writer(|| Lines)
                .init();
        });
        LINES.with_borrow_mut(Vec::clear);
        Self
    }

    pub fn text(&self) -> String {
        LINES.with_borrow(|lines| String::from_utf8_lossy(lines).into_owned())
    }
}

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
