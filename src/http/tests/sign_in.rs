//! Passwords, sessions, setup, tokens, the open mode, and what each may do with the API.

use super::signalling::Socket;
use super::*;
use crate::http::auth::Scope;
use serde_json::json;

async fn status(service: &Service, cookie: &str) -> Value {
    let reply = service.get("/api/v1/status").header("cookie", cookie).send(service).await;
    assert_eq!(reply.status, StatusCode::OK);
    reply.json()
}

#[tokio::test]
async fn a_session_from_sign_in_to_sign_out() {
    let service = Service::start(Setup::default()).await;
    let before = status(&service, "").await;
    assert_eq!(before["access"], json!({"role": null, "open": false, "needsSetup": false}));
    assert_eq!(
        (&before["deviceId"], &before["iceServers"], &before["video"]),
        (&json!(null), &json!([]), &json!(false))
    );
    assert_eq!((&before["name"], &before["version"]), (&json!("Door"), &json!("1.2.3")));

    let reply = service.post("/api/v1/sign-in", json!({"password": OWNER})).send(&service).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.json(), json!({"role": "owner", "open": false, "needsSetup": false}));
    let set = reply.get("set-cookie");
    assert!(set.starts_with("__Host-duplex="), "{set}");
    for part in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/;", "; Max-Age=2592000"] {
        assert!(set.contains(part), "{part} is missing in {set}");
    }
    let cookie = reply.cookie();
    let during = status(&service, &cookie).await;
    assert_eq!(during["access"]["role"], "owner");
    assert_eq!((&during["deviceId"], &during["video"]), (&json!("device"), &json!(true)));
    assert_eq!(during["iceServers"][0]["urls"], json!(["stun:stun.door.local"]));

    let reply = service.post("/api/v1/sign-out", json!({})).header("cookie", &cookie).send(&service).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert!(reply.get("set-cookie").starts_with("__Host-duplex=; ") && reply.get("set-cookie").contains("Max-Age=0"));
    assert_eq!(status(&service, &cookie).await["access"]["role"], json!(null), "the cookie is worth nothing any more");
}

#[tokio::test]
async fn a_new_sign_in_ends_the_old_session() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let viewer = service.sign_in(VIEWER).await;
    let ask = service.post("/api/v1/sign-in", json!({"password": OWNER})).header("cookie", &viewer);
    let owner = ask.send(&service).await.cookie();
    assert_eq!(status(&service, &owner).await["access"]["role"], "owner");
    assert_eq!(status(&service, &viewer).await["access"]["role"], json!(null));
}

#[tokio::test]
async fn cookies_over_plain_http_have_another_name() {
    let service = Service::start(Setup { tls: false, ..Setup::default() }).await;
    let reply = service.post("/api/v1/sign-in", json!({"password": OWNER})).send(&service).await;
    let set = reply.get("set-cookie");
    assert!(set.starts_with("duplex=") && !set.contains("Secure") && set.contains("HttpOnly"), "{set}");
    assert_eq!(status(&service, &reply.cookie()).await["access"]["role"], "owner");
}

#[tokio::test]
async fn wrong_passwords_are_refused_and_rationed() {
    let service = Service::start(Setup::default()).await;
    for password in ["", "wrong", &OWNER.to_uppercase(), &"x".repeat(5000)] {
        let reply = service.post("/api/v1/sign-in", json!({"password": password})).send(&service).await;
        reply.denied(401, "wrongPassword");
        assert_eq!(reply.get("set-cookie"), "");
    }
    service.sign_in(OWNER).await;
    // Five are used; the right password does not help now.
    let reply = service.post("/api/v1/sign-in", json!({"password": OWNER})).send(&service).await;
    reply.denied(429, "tooManyAttempts");
    let wait: u64 = reply.get("retry-after").parse().expect("seconds");
    assert!((1..=10).contains(&wait), "{wait}");
}

#[tokio::test]
async fn setting_up_with_the_code_from_the_terminal() {
    let service = Service::start(Setup { passwords: &[], ..Setup::default() }).await;
    assert_eq!(status(&service, "").await["access"], json!({"role": null, "open": false, "needsSetup": true}));
    let setup = |code: &str, password: &str| service.post("/api/v1/setup", json!({"code": code, "password": password}));
    setup("AAAA-AAAA", OWNER).send(&service).await.denied(401, "wrongCode");
    let code = service.auth.setup_code().expect("there is no owner");
    setup(&code, "short").send(&service).await.denied(422, "weakPassword");
    let reply = setup(&code, OWNER).send(&service).await;
    assert_eq!((reply.status, &reply.json()["role"]), (StatusCode::OK, &json!("owner")), "{}", reply.text());
    assert_eq!(status(&service, &reply.cookie()).await["access"]["role"], "owner");
    setup(&code, OWNER).send(&service).await.denied(409, "alreadySetUp");
    assert_eq!(status(&service, "").await["access"]["needsSetup"], json!(false));
}

#[tokio::test]
async fn bodies_are_checked_before_anything_else() {
    let service = Service::start(Setup::default()).await;
    let sign_in = || service.post("/api/v1/sign-in", json!({}));
    for body in ["", "{", "[]", "null", "{}", r#"{"password": 5}"#, r#"{"password": "x", "role": "owner"}"#] {
        sign_in().body(body).send(&service).await.denied(400, "badRequest");
    }
    sign_in().header("content-type", "text/plain").send(&service).await.denied(415, "notJson");
    sign_in().header("content-type", "").send(&service).await.denied(415, "notJson");
    let large = json!({"password": "x".repeat(16 * 1024)}).to_string();
    sign_in().body(large).send(&service).await.denied(413, "tooLarge");
    // None of these was an attempt.
    service.sign_in(OWNER).await;
}

#[tokio::test]
async fn a_body_without_a_length_is_limited_too() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let service = Service::start(Setup::default()).await;
    let mut stream = service.connect().await;
    let head = format!(
        "POST /api/v1/sign-in HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        service.host()
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    let mut answer = String::new();
    for _ in 0..3 {
        // The answer may come, and the connection go, before all of it is sent.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut bytes = [0; 4096];
    while !answer.contains("tooLarge") {
        let read = timeout(PATIENCE, stream.read(&mut bytes)).await.expect("in time").expect("an answer");
        assert_ne!(read, 0, "ended with {answer:?}");
        answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn unknown_addresses_and_methods() {
    let service = Service::start(Setup::default()).await;
    service.get("/api/v1/nothing").send(&service).await.denied(404, "notFound");
    service.get("/api/v2/status").send(&service).await.denied(404, "notFound");
    service.get("/api/v1/sign-in").send(&service).await.denied(405, "methodNotAllowed");
    service.post("/api/v1/status", json!({})).send(&service).await.denied(405, "methodNotAllowed");
    for path in ["/", "/index.html", "/nothing", "/trust", "/ca.pem"] {
        service.post(path, json!({})).send(&service).await.denied(405, "methodNotAllowed");
    }
    for method in [Method::OPTIONS, Method::DELETE, Method::TRACE, Method::PUT] {
        service.request(method, "/nothing").send(&service).await.denied(405, "methodNotAllowed");
    }
}

#[tokio::test]
async fn the_turn_to_talk_by_role() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let cookies = [service.sign_in(VIEWER).await, service.sign_in(TALKER).await, service.sign_in(OWNER).await];
    let mut peers = Vec::new();
    for cookie in &cookies {
        peers.push(Socket::with_cookie(&service, cookie).await);
    }
    let talk = |who: usize, peer: &str, take: bool| {
        service.post("/api/v1/talk", json!({"peer": peer, "take": take})).header("cookie", &cookies[who])
    };
    service.post("/api/v1/talk", json!({"peer": peers[1].id})).send(&service).await.denied(401, "notSignedIn");
    talk(0, &peers[0].id, false).send(&service).await.denied(403, "notAllowed");
    talk(1, "no such peer", false).send(&service).await.denied(404, "unknownPeer");
    // Not even the owner speaks in another's name.
    talk(2, &peers[1].id, false).send(&service).await.denied(404, "unknownPeer");
    talk(1, &peers[1].id, true).send(&service).await.denied(403, "notOwner");
    let state = talk(1, &peers[1].id, false).send(&service).await.json();
    assert_eq!(state["version"].as_u64(), Some(1));
    assert_eq!((&state["you"], &state["busy"], &state["waiting"]), (&json!("talking"), &json!(false), &json!(0)));
    assert_eq!((&state["place"], &state["revokedBy"]), (&json!(0), &json!(null)));
    let state = talk(2, &peers[2].id, false).send(&service).await.json();
    assert_eq!((&state["you"], &state["busy"]), (&json!("waiting"), &json!(true)));
    let state = talk(2, &peers[2].id, true).send(&service).await.json();
    assert_eq!(state["you"], "talking");
    let release = |who: usize, peer: &str| {
        service.post("/api/v1/talk/release", json!({"peer": peer})).header("cookie", &cookies[who])
    };
    release(1, &peers[2].id).send(&service).await.denied(404, "unknownPeer");
    release(0, &peers[0].id).send(&service).await.denied(403, "notAllowed");
    assert_eq!(release(2, &peers[2].id).send(&service).await.json()["you"], "idle");
}

#[tokio::test]
async fn events_come_for_ones_own_peer_and_end_with_it() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let (talker, owner) = (service.sign_in(TALKER).await, service.sign_in(OWNER).await);
    let socket = Socket::with_cookie(&service, &talker).await;
    let other = Socket::with_cookie(&service, &owner).await;
    let events =
        |peer: &str, cookie: &str| service.get(&format!("/api/v1/events?peer={peer}")).header("cookie", cookie);
    events(&socket.id, "").send(&service).await.denied(401, "notSignedIn");
    events("unknown", &talker).send(&service).await.denied(404, "unknownPeer");
    events(&other.id, &talker).send(&service).await.denied(404, "unknownPeer");
    events(&socket.id, &owner).send(&service).await.denied(404, "unknownPeer");
    service.get("/api/v1/events").header("cookie", &talker).send(&service).await.denied(400, "badRequest");

    let response = events(&socket.id, &talker).open(&service).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let mut stream = Events::new(response);
    let first = stream.next().await.expect("an event");
    assert_eq!((&first["type"], &first["status"]["access"]["role"]), (&json!("status"), &json!("talker")), "{first}");
    assert_eq!(first["status"]["deviceId"], "device");
    let second = stream.next().await.expect("an event");
    assert_eq!((&second["type"], &second["talk"]["you"]), (&json!("talk"), &json!("idle")), "{second}");

    let ask = service.post("/api/v1/talk", json!({"peer": other.id})).header("cookie", &owner);
    assert_eq!(ask.send(&service).await.json()["you"], "talking");
    let third = stream.next().await.expect("an event");
    assert_eq!(third["talk"]["busy"], json!(true), "{third}");

    service.post("/api/v1/sign-out", json!({})).header("cookie", &talker).send(&service).await;
    assert_eq!(stream.next().await, None, "the events end with the session");
    let mut socket = socket;
    assert!(socket.closed().await.contains("1008"), "so does signalling");
    assert!(service.hub.grants(&other.id).is_some(), "of this session only");
}

#[tokio::test]
async fn a_quality_is_chosen_for_ones_own_peer() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let (viewer, owner) = (service.sign_in(VIEWER).await, service.sign_in(OWNER).await);
    let socket = Socket::with_cookie(&service, &viewer).await;
    let choose = |peer: &str, quality: &str, cookie: &str| {
        service.post("/api/v1/quality", json!({"peer": peer, "quality": quality})).header("cookie", cookie)
    };
    choose(&socket.id, "low", "").send(&service).await.denied(401, "notSignedIn");
    // Not even the owner chooses for another.
    choose(&socket.id, "low", &owner).send(&service).await.denied(404, "unknownPeer");
    choose(&socket.id, "best", &viewer).send(&service).await.denied(400, "badRequest");

    let events = service.get(&format!("/api/v1/events?peer={}", socket.id)).header("cookie", &viewer);
    let mut stream = Events::new(events.open(&service).await);
    for _ in 0..2 {
        stream.next().await.expect("an event");
    }
    assert_eq!(choose(&socket.id, "low", &viewer).send(&service).await.status, StatusCode::NO_CONTENT);
    let told = stream.next().await.expect("an event");
    let state = json!({"choice": "low", "rung": 2, "rungs": 3});
    assert_eq!((&told["type"], &told["state"]), (&json!("quality"), &state), "{told}");
}

#[tokio::test]
async fn a_browsers_figure_is_taken_for_ones_own_peer_within_bounds_and_seldom() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let (viewer, owner) = (service.sign_in(VIEWER).await, service.sign_in(OWNER).await);
    let socket = Socket::with_cookie(&service, &viewer).await;
    let tell = |figure: serde_json::Value, cookie: &str| {
        service
            .post("/api/v1/latency", json!({"peer": socket.id, "captureToScreenMs": figure}))
            .header("cookie", cookie)
    };
    tell(json!(80), "").send(&service).await.denied(401, "notSignedIn");
    tell(json!(80), &owner).send(&service).await.denied(404, "unknownPeer");
    assert_eq!(tell(json!(80), &viewer).send(&service).await.status, StatusCode::NO_CONTENT, "dropped");
    let metrics = &service.state.panel.metrics;
    drop(metrics.session_began("session", &socket.id));
    for wrong in [json!(-1), json!(80.5), json!(null), json!("80"), json!(1e300)] {
        tell(wrong, &viewer).send(&service).await.denied(400, "badRequest");
    }
    tell(json!(60_001), &viewer).send(&service).await.denied(422, "badLatency");
    assert_eq!(metrics.sessions()[0].capture_to_screen, None);
    assert_eq!(tell(json!(80), &viewer).send(&service).await.status, StatusCode::NO_CONTENT);
    tell(json!(90), &viewer).send(&service).await.denied(429, "tooOften");
    assert_eq!(metrics.sessions()[0].capture_to_screen, Some(Duration::from_millis(80)));
}

#[tokio::test]
async fn changed_passwords_and_revoked_tokens_end_what_is_open() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let talker = service.sign_in(TALKER).await;
    let token = service.auth.token_new("camera", &[Scope::Watch], None).expect("a token");
    let mut by_password = Socket::with_cookie(&service, &talker).await;
    let mut by_token = Socket::with_token(&service, &token).await;
    service.auth.set_password(Role::Talker, "something else entirely").expect("a good password");
    service.auth.token_revoke("camera").expect("it exists");
    assert!(by_password.closed().await.contains("1008"));
    assert!(by_token.closed().await.contains("1008"));
    eventually("both have left", || service.hub.counts().peers == 0).await;
}

#[tokio::test]
async fn tokens_do_what_their_scopes_say() {
    let service = Service::start(Setup::default()).await;
    let token = |name: &str, scopes: &[Scope]| {
        format!("Bearer {}", service.auth.token_new(name, scopes, None).expect("a token"))
    };
    let watch = token("watch", &[Scope::Watch]);
    let talk = token("talk", &[Scope::Talk]);
    let machine = token("machine", &[Scope::Produce, Scope::ConsumePeer]);
    for (token, role, device) in [
        (&watch, json!("viewer"), json!("device")),
        (&talk, json!(null), json!(null)),
        (&machine, json!(null), json!(null)),
    ] {
        let status = service.get("/api/v1/status").header("authorization", token).send(&service).await.json();
        assert_eq!((&status["access"]["role"], &status["deviceId"]), (&role, &device));
    }
    let socket = Socket::with_header(&service, "authorization", &talk).await;
    let ask =
        |peer: &str, token: &str| service.post("/api/v1/talk", json!({"peer": peer})).header("authorization", token);
    assert_eq!(ask(&socket.id, &talk).send(&service).await.json()["you"], "talking");
    ask(&socket.id, &watch).send(&service).await.denied(403, "notAllowed");
    let ask = service.get(&format!("/api/v1/events?peer={}", socket.id)).header("authorization", &talk);
    ask.send(&service).await.denied(403, "notAllowed");
    for (header, value) in [
        ("authorization", "Bearer dpx_wrong"),
        ("authorization", "Bearer"),
        ("authorization", "Bearer "),
        ("authorization", "Basic dXNlcjpwYXNz"),
        ("authorization", &watch.replace("Bearer ", "")),
    ] {
        let reply = service.get("/api/v1/status").header(header, value).send(&service).await;
        reply.denied(401, "wrongToken");
        assert_eq!(reply.get("www-authenticate"), "Bearer");
    }
    service.auth.token_revoke("watch").expect("it exists");
    service.get("/api/v1/status").header("authorization", &watch).send(&service).await.denied(401, "wrongToken");
}

#[tokio::test]
async fn loopback_without_a_password_is_open() {
    let service = Service::start(Setup { loopback: true, passwords: &[], tls: false, ..Setup::default() }).await;
    let open = json!({"role": "owner", "open": true, "needsSetup": false});
    assert_eq!(status(&service, "").await["access"], open);
    // Whoever shows something wrong is not taken for somebody who shows nothing.
    let ask = service.get("/api/v1/status").header("authorization", "Bearer dpx_wrong");
    ask.send(&service).await.denied(401, "wrongToken");
    for header in ["x-forwarded-for", "forwarded", "via", "x-real-ip"] {
        let reply = service.get("/api/v1/status").header(header, "192.0.2.1").send(&service).await;
        assert_eq!(reply.json()["access"]["role"], json!(null), "behind a proxy everybody is loopback");
    }
    let program = Socket::with_header(&service, "user-agent", "gst").await;
    let page = Socket::with_header(&service, "origin", &service.origin()).await;
    let grants = |socket: &Socket| service.hub.grants(&socket.id).expect("connected");
    let (program_grants, page_grants) = (grants(&program), grants(&page));
    assert!(program_grants.produce && program_grants.consume_peer && !program_grants.browser);
    assert!(!page_grants.produce && !page_grants.consume_peer && page_grants.browser);
    assert!(page_grants.watch && page_grants.talk && page_grants.owner);
    // With an owner's password the open mode is over, also for those who are in.
    let mut program = program;
    service.auth.set_password(Role::Owner, OWNER).expect("a good password");
    assert!(program.closed().await.contains("1008"));
    assert_eq!(status(&service, "").await["access"], json!({"role": null, "open": false, "needsSetup": false}));
}

#[tokio::test]
async fn a_service_for_a_network_is_never_open() {
    let service = Service::start(Setup { loopback: false, passwords: &[], ..Setup::default() }).await;
    assert_eq!(status(&service, "").await["access"]["open"], json!(false));
    signalling::websocket(&service, "/").send(&service).await.denied(401, "notSignedIn");
}

/// Server-sent events as a browser takes them.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    fn new(response: axum::http::Response<Incoming>) -> Self {
        Self { body: response.into_body(), text: String::new() }
    }

    async fn next(&mut self) -> Option<Value> {
        // One deadline for the whole: comments that keep the connection alive must not prolong it.
        let next = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let event = event.strip_prefix("data: ").map(|data| serde_json::from_str(data).expect("JSON"));
                    self.text = rest.to_owned();
                    if event.is_some() {
                        return event;
                    }
                } else {
                    let frame = self.body.frame().await?.ok()?;
                    self.text.push_str(std::str::from_utf8(frame.data_ref()?).expect("text"));
                }
            }
        };
        timeout(PATIENCE, next).await.expect("an event in time")
    }
}
