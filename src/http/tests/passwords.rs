//! Passwords changed in the page: by the owner with his own, under the rules of `duplex passwd`, and who is signed out by it.

use super::signalling::Socket;
use super::*;
use serde_json::json;

const NEW: &str = "another staple entirely";

fn set(service: &Service, cookie: &str, role: &str, password: &str, own: Option<&str>) -> Ask {
    let body = json!({"role": role, "password": password, "ownerPassword": own});
    service.post("/api/v1/passwords", body).header("cookie", cookie)
}

fn remove(service: &Service, cookie: &str, role: &str, own: Option<&str>) -> Ask {
    let body = json!({"role": role, "ownerPassword": own});
    service.post("/api/v1/passwords/remove", body).header("cookie", cookie)
}

/// Role, whether it has a password, and whether that may be removed.
fn states(reply: &Reply) -> Vec<(String, bool, bool)> {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let of = |one: &Value| {
        let told = |key: &str| one[key].as_bool().expect("a boolean");
        (one["role"].as_str().expect("a role").to_owned(), told("set"), told("removable"))
    };
    reply.json()["roles"].as_array().expect("roles").iter().map(of).collect()
}

fn of(states: [(&str, bool, bool); 3]) -> Vec<(String, bool, bool)> {
    states.map(|(role, set, removable)| (role.to_owned(), set, removable)).into()
}

async fn role(service: &Service, cookie: &str) -> Value {
    service.get("/api/v1/status").header("cookie", cookie).send(service).await.json()["access"]["role"].clone()
}

#[tokio::test]
async fn the_owner_sets_and_removes_with_his_own_password_and_the_role_is_signed_out() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let (owner, talker, viewer) =
        (service.sign_in(OWNER).await, service.sign_in(TALKER).await, service.sign_in(VIEWER).await);
    let mut socket = Socket::with_cookie(&service, &talker).await;
    let first = service.get("/api/v1/passwords").header("cookie", &owner).send(&service).await;
    let all = [("owner", true, false), ("talker", true, true), ("viewer", true, true)];
    assert_eq!(states(&first), of(all));
    assert!(!first.text().contains("argon2"), "{}", first.text());

    let reply = set(&service, &owner, "talker", NEW, Some(OWNER)).send(&service).await;
    assert_eq!((states(&reply), reply.get("set-cookie")), (of(all), ""));
    assert_eq!(service.auth.sign_in(NEW).expect("the new one").0, Role::Talker);
    assert!(service.auth.sign_in(TALKER).is_err());
    assert_eq!(role(&service, &talker).await, json!(null));
    assert!(socket.closed().await.contains("1008"), "and its connections end");
    assert_eq!((role(&service, &owner).await, role(&service, &viewer).await), (json!("owner"), json!("viewer")));

    let reply = remove(&service, &owner, "viewer", Some(OWNER)).send(&service).await;
    assert_eq!(states(&reply)[2], ("viewer".to_owned(), false, false));
    assert_eq!(role(&service, &viewer).await, json!(null));
    assert!(service.auth.sign_in(VIEWER).is_err());
}

#[tokio::test]
async fn an_owner_who_changes_his_own_goes_on_and_his_other_browsers_do_not() {
    let service = Service::start(Setup::default()).await;
    let (owner, other) = (service.sign_in(OWNER).await, service.sign_in(OWNER).await);
    let mut socket = Socket::with_cookie(&service, &owner).await;
    let mut elsewhere = Socket::with_cookie(&service, &other).await;
    let reply = set(&service, &owner, "owner", NEW, Some(OWNER)).send(&service).await;
    assert_eq!(states(&reply)[0], ("owner".to_owned(), true, false));
    assert!(reply.get("set-cookie").contains("; HttpOnly") && reply.get("set-cookie").contains("; Secure"));
    assert_eq!(role(&service, &reply.cookie()).await, json!("owner"));
    // A cookie that somebody copied before is worth nothing.
    assert_eq!((role(&service, &owner).await, role(&service, &other).await), (json!(null), json!(null)));
    assert!(elsewhere.closed().await.contains("1008"));
    // His own connection, on which he may be talking, is as it was.
    socket.send(json!({ "type": "list" })).await;
    while socket.next().await["type"] != "list" {}
    assert_eq!(service.auth.sign_in(NEW).expect("the new one").0, Role::Owner);
    assert!(service.auth.sign_in(OWNER).is_err());
}

#[tokio::test]
async fn whoever_is_not_the_owner_or_does_not_show_his_password_changes_nothing() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let (owner, talker) = (service.sign_in(OWNER).await, service.sign_in(TALKER).await);
    let before = std::fs::read(service.dir.path().join("state/auth.toml")).expect("hashes");
    for ask in [set(&service, &talker, "viewer", NEW, Some(OWNER)), remove(&service, &talker, "viewer", Some(OWNER))] {
        ask.send(&service).await.denied(403, "notAllowed");
    }
    for ask in [set(&service, "", "viewer", NEW, Some(OWNER)), remove(&service, "", "viewer", Some(OWNER))] {
        ask.send(&service).await.denied(401, "notSignedIn");
    }
    // Who may not learns nothing about his body; it costs no attempt.
    for _ in 0..6 {
        set(&service, &talker, "king", "", None).send(&service).await.denied(403, "notAllowed");
    }
    let foreign = set(&service, &owner, "viewer", NEW, Some(OWNER)).header("origin", "https://evil.example");
    foreign.send(&service).await.denied(403, "wrongOrigin");
    set(&service, &owner, "king", NEW, Some(OWNER)).send(&service).await.denied(400, "badRequest");
    // Two attempts went into the sign-ins: of five there are three.
    set(&service, &owner, "viewer", NEW, None).send(&service).await.denied(401, "wrongPassword");
    set(&service, &owner, "viewer", NEW, Some(TALKER)).send(&service).await.denied(401, "wrongPassword");
    remove(&service, &owner, "viewer", Some("")).send(&service).await.denied(401, "wrongPassword");
    let reply = set(&service, &owner, "viewer", NEW, Some(OWNER)).send(&service).await;
    reply.denied(429, "tooManyAttempts");
    assert!(reply.get("retry-after").parse::<u64>().is_ok_and(|wait| (1..=10).contains(&wait)));
    let after = std::fs::read(service.dir.path().join("state/auth.toml")).expect("hashes");
    assert_eq!(before, after);
}

#[tokio::test]
async fn only_a_wrong_password_costs_an_attempt() {
    let service = Service::start(Setup { passwords: &[(Role::Owner, OWNER)], ..Setup::default() }).await;
    let owner = service.sign_in(OWNER).await;
    for number in 0..6 {
        let new = format!("number {number} of many");
        assert_eq!(set(&service, &owner, "viewer", &new, Some(OWNER)).send(&service).await.status, StatusCode::OK);
        set(&service, &owner, "viewer", "short", Some("a guess")).send(&service).await.denied(422, "weakPassword");
        set(&service, &owner, "viewer", OWNER, Some(OWNER)).send(&service).await.denied(422, "samePassword");
        remove(&service, &owner, "talker", Some(OWNER)).send(&service).await.denied(409, "noPassword");
    }
    // One attempt of five went into the sign-in.
    for _ in 0..4 {
        set(&service, &owner, "viewer", NEW, Some("a wrong guess")).send(&service).await.denied(401, "wrongPassword");
    }
    set(&service, &owner, "viewer", NEW, Some(OWNER)).send(&service).await.denied(429, "tooManyAttempts");
}

#[tokio::test]
async fn an_owner_without_a_new_session_has_changed_his_password_all_the_same() {
    let service = Service::start(Setup::default()).await;
    let owner = service.sign_in(OWNER).await;
    let mut socket = Socket::with_cookie(&service, &owner).await;
    let file = service.dir.path().join("state/sessions.toml");
    std::fs::write(&file, "").expect("a spoiled file");
    let reply = set(&service, &owner, "owner", NEW, Some(OWNER)).send(&service).await;
    assert_eq!((states(&reply)[0].clone(), reply.get("set-cookie")), (("owner".to_owned(), true, false), ""));
    assert!(socket.closed().await.contains("1008"), "and his connections end");
    assert_eq!(role(&service, &owner).await, json!(null));
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!(service.auth.sign_in(NEW).expect("the new one").0, Role::Owner);
}

#[tokio::test]
async fn the_rules_are_those_of_the_command() {
    let service = Service::start(Setup { passwords: &[(Role::Owner, OWNER)], ..Setup::default() }).await;
    let owner = service.sign_in(OWNER).await;
    set(&service, &owner, "talker", "short", Some(OWNER)).send(&service).await.denied(422, "weakPassword");
    set(&service, &owner, "talker", OWNER, Some(OWNER)).send(&service).await.denied(422, "samePassword");
    remove(&service, &owner, "talker", Some(OWNER)).send(&service).await.denied(409, "noPassword");
    // On a network the owner's stays, whatever else there is; the refusal costs no attempt.
    for _ in 0..3 {
        remove(&service, &owner, "owner", Some(OWNER)).send(&service).await.denied(409, "ownerNeeded");
    }
    assert!(service.auth.has_owner());
}

#[tokio::test]
async fn at_the_device_itself_the_owners_is_set_first_and_removed_last() {
    let service = Service::start(Setup { loopback: true, passwords: &[], tls: false, ..Setup::default() }).await;
    let none = [("owner", false, false), ("talker", false, false), ("viewer", false, false)];
    assert_eq!(states(&service.get("/api/v1/passwords").send(&service).await), of(none));
    set(&service, "", "viewer", VIEWER, None).send(&service).await.denied(409, "ownerFirst");
    let reply = set(&service, "", "owner", OWNER, None).send(&service).await;
    assert_eq!(states(&reply), of([("owner", true, true), none[1], none[2]]));
    let owner = reply.cookie();
    assert_eq!(role(&service, &owner).await, json!("owner"));
    assert_eq!(role(&service, "").await, json!(null), "nobody is the owner by being here any more");
    let reply = set(&service, &owner, "viewer", VIEWER, Some(OWNER)).send(&service).await;
    assert_eq!(states(&reply), of([("owner", true, false), none[1], ("viewer", true, true)]));
    remove(&service, &owner, "owner", Some(OWNER)).send(&service).await.denied(409, "ownerLast");
    // Behind a proxy he may be anywhere.
    let list = service.get("/api/v1/passwords").header("cookie", &owner).header("via", "1.1 proxy");
    assert_eq!(states(&list.send(&service).await)[0], ("owner".to_owned(), true, false));
    let away = remove(&service, &owner, "owner", Some(OWNER)).header("via", "1.1 proxy");
    away.send(&service).await.denied(409, "ownerNeeded");
    service.auth.remove_password(Role::Viewer).expect("it is set");
    let reply = remove(&service, &owner, "owner", Some(OWNER)).send(&service).await;
    assert_eq!(states(&reply), of(none));
    assert_eq!(role(&service, "").await, json!("owner"), "as before");
}
