//! The owner's routes: what they show, who is refused, and how a session ends.

use super::signalling::Socket;
use super::*;
use crate::http::auth::Scope;
use serde_json::json;

const OWNERS: &[&str] =
    &["device", "devices", "certificate", "configuration", "sessions", "passwords", "log", "log/events"];

#[tokio::test]
async fn the_panel_is_the_owners() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let token = service.auth.token_new("all", &[Scope::Watch, Scope::Talk, Scope::Metrics], None).expect("a token");
    let owner = service.sign_in(OWNER).await;
    let others = [service.sign_in(VIEWER).await, service.sign_in(TALKER).await];
    for path in OWNERS {
        let path = format!("/api/v1/{path}");
        service.get(&path).send(&service).await.denied(401, "notSignedIn");
        for cookie in &others {
            service.get(&path).header("cookie", cookie).send(&service).await.denied(403, "notAllowed");
        }
        let bearer = format!("Bearer {token}");
        service.get(&path).header("authorization", &bearer).send(&service).await.denied(403, "notAllowed");
        // Only the head: the log's events have no end.
        let reply = service.get(&path).header("cookie", &owner).open(&service).await;
        assert_eq!(reply.status(), StatusCode::OK, "{path}");
    }
    let foreign = service.request(Method::DELETE, "/api/v1/sessions/x").header("cookie", &owner);
    foreign.header("origin", "https://evil.example").send(&service).await.denied(403, "wrongOrigin");
}

#[tokio::test]
async fn what_is_shown_is_what_is_there() {
    let service = Service::start(Setup::default()).await;
    let owner = service.sign_in(OWNER).await;
    let get = async |path: &str| service.get(path).header("cookie", &owner).send(&service).await.json();
    let certificate = get("/api/v1/certificate").await;
    assert_eq!(certificate["names"], json!(["door.local", "localhost", "127.0.0.1"]));
    assert_eq!(certificate["authority"]["fingerprint"], json!(service.ca.fingerprint_sha256()));
    assert!(certificate["notAfter"].as_u64() > certificate["notBefore"].as_u64(), "{certificate}");
    let device = get("/api/v1/device").await;
    assert_eq!((&device["problems"], &device["version"]), (&json!([]), &json!("1.2.3")));
    assert!(device["memory"]["total"].as_u64() > Some(0), "{device}");
    assert_eq!(device["disks"][0]["purpose"], "state");
    let bad = service.get("/api/v1/log?lines=9999").header("cookie", &owner).send(&service).await;
    bad.denied(400, "badRequest");
}

#[tokio::test]
async fn a_recording_is_shown_with_the_time_of_its_own_file() {
    let service = Service::start(Setup::default()).await;
    let owner = service.sign_in(OWNER).await;
    let recording = async || {
        service.get("/api/v1/device").header("cookie", &owner).send(&service).await.json()["recording"].clone()
    };
    // The desk tells of the talker's, which began first.
    assert_eq!(recording().await, json!({"since": 1000, "file": null}));
    let call = ("call.mkv".to_owned(), SystemTime::UNIX_EPOCH + Duration::from_secs(2000));
    *service.media.recorded_to.lock().expect("no panic") = Some(call);
    assert_eq!(recording().await, json!({"since": 2000, "file": "call.mkv"}));
}

#[tokio::test]
async fn ending_a_session_signs_the_person_out() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let owner = service.sign_in(OWNER).await;
    let viewer = service.sign_in(VIEWER).await;
    let mut socket = Socket::with_cookie(&service, &viewer).await;
    let own = Socket::with_cookie(&service, &owner).await;
    let list = service.get("/api/v1/sessions").header("cookie", &owner).send(&service).await.json();
    let sessions = list["sessions"].as_array().expect("a list").clone();
    assert_eq!(sessions.len(), 2, "{list}");
    let of = |id: &str| sessions.iter().find(|session| session["id"] == id).cloned().expect("a session");
    assert_eq!((&of(&socket.id)["role"], &of(&socket.id)["own"]), (&json!("viewer"), &json!(false)));
    assert_eq!((&of(&own.id)["role"], &of(&own.id)["own"]), (&json!("owner"), &json!(true)));
    assert_eq!(of(&socket.id)["address"], "127.0.0.1");

    let path = format!("/api/v1/events?peer={}", socket.id);
    let events = service.get(&path).header("cookie", &viewer).open(&service).await;
    let end = async |id: &str| {
        let ask = service.request(Method::DELETE, &format!("/api/v1/sessions/{id}"));
        ask.header("cookie", &owner).header("origin", &service.origin()).send(&service).await
    };
    assert_eq!(end(&socket.id).await.status, StatusCode::NO_CONTENT);
    let text = timeout(PATIENCE, events.into_body().collect()).await.expect("an end").expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains(r#""type":"ended","message":"The owner"#), "{text}");
    socket.closed().await;
    let status = service.get("/api/v1/status").header("cookie", &viewer).send(&service).await.json();
    assert_eq!(status["access"]["role"], json!(null), "the cookie is worth nothing any more");
    end(&socket.id).await.denied(404, "unknownSession");

    // An owner who ends a page of his own stays signed in.
    assert_eq!(end(&own.id).await.status, StatusCode::NO_CONTENT);
    let status = service.get("/api/v1/status").header("cookie", &owner).send(&service).await.json();
    assert_eq!(status["access"]["role"], "owner");
}

#[tokio::test]
async fn metrics_and_health_for_machines() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let token =
        |name: &str, scope| format!("Bearer {}", service.auth.token_new(name, &[scope], None).expect("a token"));
    let (measure, watch) = (token("prometheus", Scope::Metrics), token("watcher", Scope::Watch));
    service.get("/metrics").send(&service).await.denied(401, "notSignedIn");
    service.get("/metrics").header("authorization", &watch).send(&service).await.denied(403, "notAllowed");
    let viewer = service.sign_in(VIEWER).await;
    service.get("/metrics").header("cookie", &viewer).send(&service).await.denied(403, "notAllowed");
    let reply = service.get("/metrics").header("authorization", &measure).send(&service).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert!(reply.get("content-type").starts_with("application/openmetrics-text"));
    let text = reply.text();
    assert!(text.contains("duplex_requests_refused_total{code=\"notSignedIn\"} 1"), "{text}");
    assert!(text.contains("duplex_sign_ins_total 1") && text.ends_with("# EOF\n"), "{text}");
    // It is good for nothing else.
    let reply = service.get("/api/v1/status").header("authorization", &measure).send(&service).await.json();
    assert_eq!(reply["access"]["role"], json!(null));
    let socket = service.get("/signalling").header("authorization", &measure);
    let socket = socket.header("connection", "upgrade").header("upgrade", "websocket");
    socket.send(&service).await.denied(403, "notAllowed");

    let reply = service.get("/healthz").send(&service).await;
    assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!({"healthy": true, "problems": []})));
}
