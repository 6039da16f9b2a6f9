//! Who may record, and get at recordings, pictures and announcements; byte ranges; names that are paths.

use super::*;
use crate::cli_owner::Question;
use crate::cli_recordings::Place;
use serde_json::json;

const NAME: &str = "2026-11-22T09-33-07Z_766f68f7.webm";

async fn with_a_recording() -> (Service, String, String, String) {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    std::fs::write(service.media.shelf.folder.join(NAME), content).expect("a file");
    std::fs::write(service.dir.path().join("secret.webm"), "secret").expect("a file");
    let owner = service.sign_in(OWNER).await;
    let talker = service.sign_in(TALKER).await;
    let viewer = service.sign_in(VIEWER).await;
    (service, owner, talker, viewer)
}

#[tokio::test]
async fn recordings_are_the_owners_alone() {
    let (service, owner, talker, viewer) = with_a_recording().await;
    let path = format!("/api/v1/recordings/{NAME}");
    for cookie in [&talker, &viewer] {
        for path in ["/api/v1/recordings", &path] {
            service.get(path).header("cookie", cookie).send(&service).await.denied(403, "notAllowed");
        }
        let delete = service.request(Method::DELETE, &path).header("origin", &service.origin());
        delete.header("cookie", cookie).send(&service).await.denied(403, "notAllowed");
        let start = service.post("/api/v1/recording", json!({"action": "start"})).header("cookie", cookie);
        start.send(&service).await.denied(403, "notAllowed");
        // That he is recorded everybody may know.
        let state = service.get("/api/v1/recording").header("cookie", cookie).send(&service).await;
        assert_eq!(state.json(), json!({"on": false, "since": null, "elapsedMs": null}));
    }
    for path in ["/api/v1/recordings", &path, "/api/v1/recording", "/api/v1/snapshot.jpg", "/api/v1/clips"] {
        service.get(path).send(&service).await.denied(401, "notSignedIn");
    }
    assert!(service.media.asked.lock().expect("no panic").is_empty());

    let start = service.post("/api/v1/recording", json!({"action": "start"})).header("cookie", &owner);
    assert_eq!(start.send(&service).await.json()["on"], json!(true));
    let wrong = service.post("/api/v1/recording", json!({"action": "pause"})).header("cookie", &owner);
    wrong.send(&service).await.denied(400, "badRequest");
    let list = service.get("/api/v1/recordings").header("cookie", &owner).send(&service).await.json();
    assert_eq!((&list[0]["name"], &list[0]["bytes"]), (&json!(NAME), &json!(300_000)));

    let foreign = service.request(Method::DELETE, &path).header("origin", "https://evil.example");
    foreign.header("cookie", &owner).send(&service).await.denied(403, "wrongOrigin");
    let delete = || service.request(Method::DELETE, &path).header("origin", &service.origin()).header("cookie", &owner);
    assert_eq!(delete().send(&service).await.status, StatusCode::NO_CONTENT);
    delete().send(&service).await.denied(404, "notFound");
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_no_empty_list() {
    let (service, owner, ..) = with_a_recording().await;
    let folder = &service.media.shelf.folder;
    std::fs::remove_dir_all(folder).expect("a folder");
    std::fs::write(folder, "in its place").expect("a file");
    let path = format!("/api/v1/recordings/{NAME}");
    for path in ["/api/v1/recordings", &path] {
        service.get(path).header("cookie", &owner).send(&service).await.denied(409, "notDone");
    }
    let delete = service.request(Method::DELETE, &path).header("origin", &service.origin()).header("cookie", &owner);
    delete.send(&service).await.denied(409, "notDone");
}

#[tokio::test]
async fn players_get_the_range_they_ask_for() {
    let (service, owner, ..) = with_a_recording().await;
    let path = format!("/api/v1/recordings/{NAME}");
    let get = |range: &'static str| service.get(&path).header("cookie", &owner).header("range", range).send(&service);
    let whole = get("").await;
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, 300_000));
    assert_eq!((whole.get("content-type"), whole.get("accept-ranges")), ("video/webm", "bytes"));
    let part = get("bytes=256-511").await;
    assert_eq!((part.status.as_u16(), part.get("content-range")), (206, "bytes 256-511/300000"));
    assert_eq!(part.body, whole.body.slice(256..512));
    let end = get("bytes=299999-").await;
    assert_eq!((end.status.as_u16(), end.body.len(), end.get("content-length")), (206, 1, "1"));
    let beyond = get("bytes=300000-").await;
    beyond.denied(416, "noSuchRange");
    assert_eq!(beyond.get("content-range"), "bytes */300000");
    let head = service.request(Method::HEAD, &path).header("cookie", &owner).send(&service).await;
    assert_eq!((head.status.as_u16(), head.get("content-length"), head.body.len()), (200, "300000", 0));
}

#[tokio::test]
async fn a_name_is_never_a_path() {
    let (service, owner, ..) = with_a_recording().await;
    for name in [
        "..%2Fsecret.webm",
        "..%2f..%2fetc%2fpasswd",
        "%2Fetc%2Fpasswd",
        ".",
        "..",
        "%2e%2e",
        "secret.webm",
        "2026-11-22T09-33-07Z_..%2F..%2Fsecret.webm",
        "2026-11-22T09-33-07Z_766f68f7.webm%00",
        "",
    ] {
        for method in [Method::GET, Method::DELETE] {
            let path = format!("/api/v1/recordings/{name}");
            let ask = service.request(method, &path).header("cookie", &owner).header("origin", &service.origin());
            let reply = ask.send(&service).await;
            assert!([400, 404].contains(&reply.status.as_u16()), "{path}: {} {}", reply.status, reply.text());
        }
    }
    assert!(service.dir.path().join("secret.webm").exists());
}

#[tokio::test]
async fn who_watches_gets_pictures_and_who_talks_may_announce() {
    let (service, _, talker, viewer) = with_a_recording().await;
    let picture = service.get("/api/v1/snapshot.jpg").header("cookie", &viewer).send(&service).await;
    assert_eq!((picture.get("content-type"), &picture.body[..3]), ("image/jpeg", &b"\xFF\xD8\xFF"[..]));
    assert_eq!(picture.get("cache-control"), "no-store");
    let small = service.get("/api/v1/still.jpg").header("cookie", &viewer).send(&service).await;
    assert_eq!((small.get("content-type"), small.get("cache-control")), ("image/jpeg", "no-store"));
    let (stranger, elsewhere) =
        (service.get("/api/v1/still.jpg"), service.get("/api/v1/still.jpg").header("cookie", &viewer));
    let nothing = stranger.send(&service).await;
    assert_eq!((nothing.status, nothing.body.len()), (StatusCode::NO_CONTENT, 0));
    elsewhere.header("sec-fetch-site", "cross-site").send(&service).await.denied(403, "wrongOrigin");
    for (path, body) in [("/api/v1/say", json!({"text": "hello"})), ("/api/v1/clips/play", json!({"name": "gong.wav"}))]
    {
        service.post(path, body.clone()).header("cookie", &viewer).send(&service).await.denied(403, "notAllowed");
        let done = service.post(path, body).header("cookie", &talker).send(&service).await;
        assert_eq!(done.status, StatusCode::NO_CONTENT);
    }
    service.get("/api/v1/clips").header("cookie", &viewer).send(&service).await.denied(403, "notAllowed");
    let clips = service.get("/api/v1/clips").header("cookie", &talker).send(&service).await;
    assert_eq!(clips.json(), json!(["gong.wav"]));
    let missing = service.post("/api/v1/clips/play", json!({"name": "../x"})).header("cookie", &talker);
    missing.send(&service).await.denied(404, "notFound");
    assert_eq!(
        *service.media.asked.lock().expect("no panic"),
        ["snapshot", "small snapshot", "say hello", "play gong.wav", "play ../x"]
    );
}

#[tokio::test]
async fn the_owner_at_the_terminal_has_the_same_recordings() {
    let (service, ..) = with_a_recording().await;
    let ask = |question| local::answer(&service.state, question);
    let list: Vec<RecordingEntry> =
        serde_json::from_value(ask(Question::Recordings).await.expect("a list")).expect("entries");
    assert_eq!(list.iter().map(|entry| (&*entry.name, entry.bytes)).collect::<Vec<_>>(), [(NAME, 300_000)]);

    let locate = |name: &str| ask(Question::Recording { name: name.to_owned() });
    let delete = |name: &str| ask(Question::DeleteRecording { name: name.to_owned() });
    let path = service.media.shelf.folder.join(NAME);
    let place: Place = serde_json::from_value(locate(NAME).await.expect("a place")).expect("its type");
    assert_eq!(place, Place { path: path.clone(), recording: false });
    for name in ["../secret.webm", "", "2026-11-22T09-33-07Z_nobody.webm"] {
        let sentence = format!("there is no recording {name:?}; `duplex record list` lists them");
        assert_eq!((locate(name).await, delete(name).await), (Err(sentence.clone()), Err(sentence)));
    }
    *service.media.recorded_to.lock().expect("no panic") = Some((NAME.to_owned(), SystemTime::UNIX_EPOCH));
    let place: Place = serde_json::from_value(locate(NAME).await.expect("a place")).expect("its type");
    assert!(place.recording);
    assert_eq!(delete(NAME).await, Err(format!("{NAME} is being recorded; `duplex record stop` ends it")));
    assert!(path.exists());
    *service.media.recorded_to.lock().expect("no panic") = None;
    delete(NAME).await.expect("deleted");
    assert!(!path.exists());
}
