//! The page and its files, from a folder and from a binary without them.

use super::*;

/// A web app with what one needs, and something beside it that is nobody's business.
fn web_app() -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    let app = dir.path().join("app");
    for folder in ["assets", "gstwebrtc-api", ".hidden"] {
        std::fs::create_dir_all(app.join(folder)).expect("a folder");
    }
    for (name, content) in [
        ("app/index.html", "<!doctype html><title>page</title>"),
        ("app/assets/index-abc.js", "console.log(1)"),
        ("app/gstwebrtc-api/index.html", "<!doctype html><title>stock</title>"),
        ("app/.hidden/file.txt", "secret"),
        ("secret.txt", "secret"),
    ] {
        std::fs::write(dir.path().join(name), content).expect("a file");
    }
    std::os::unix::fs::symlink("../secret.txt", app.join("link.txt")).expect("a link");
    dir
}

#[tokio::test]
async fn files_come_with_type_and_caching() {
    let dir = web_app();
    let service = Service::start(Setup { web_app: Some(dir.path().join("app")), ..Setup::default() }).await;
    let page = service.get("/").send(&service).await;
    assert_eq!((page.status, page.text().contains("<title>page")), (StatusCode::OK, true));
    assert_eq!((page.get("content-type"), page.get("cache-control")), ("text/html; charset=utf-8", "no-cache"));
    let script = service.get("/assets/index-abc.js").send(&service).await;
    assert_eq!(script.get("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(script.get("cache-control"), "public, max-age=31536000, immutable");
    let tag = script.get("etag").to_owned();
    let again = service.get("/assets/index-abc.js").header("if-none-match", &tag).send(&service).await;
    assert_eq!((again.status, again.body.len(), again.get("etag")), (StatusCode::NOT_MODIFIED, 0, tag.as_str()));
    std::fs::write(dir.path().join("app/assets/index-abc.js"), "console.log(2)").expect("a file");
    let changed = service.get("/assets/index-abc.js").header("if-none-match", &tag).send(&service).await;
    assert_eq!((changed.status, changed.text().as_str()), (StatusCode::OK, "console.log(2)"));
    let head = service.request(Method::HEAD, "/").send(&service).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.get("content-length"), page.body.len().to_string());
}

#[tokio::test]
async fn the_page_is_told_whether_signalling_would_be_refused() {
    let service = Service::start(Setup { passwords: ALL_ROLES, ..Setup::default() }).await;
    let viewer = service.sign_in(VIEWER).await;
    let door = |reply: Reply| reply.get("server-timing").to_owned();
    assert_eq!(door(service.get("/").send(&service).await), "door;desc=\"shut\"");
    assert_eq!(door(service.get("/").header("cookie", &viewer).send(&service).await), "door;desc=\"open\"");
    let wrong = service.get("/").header("authorization", "Bearer dpx_none").send(&service).await;
    assert_eq!(door(wrong), "door;desc=\"shut\"");
    let open = Service::start(Setup { loopback: true, passwords: &[], ..Setup::default() }).await;
    assert_eq!(door(open.get("/").send(&open).await), "door;desc=\"open\"");
}

#[tokio::test]
async fn folders_have_their_page_and_no_list() {
    let dir = web_app();
    let service = Service::start(Setup { web_app: Some(dir.path().join("app")), ..Setup::default() }).await;
    let stock = service.get("/gstwebrtc-api/").send(&service).await;
    assert!(stock.text().contains("<title>stock"));
    let moved = service.get("/gstwebrtc-api").send(&service).await;
    assert_eq!((moved.status, moved.get("location")), (StatusCode::PERMANENT_REDIRECT, "/gstwebrtc-api/"));
    service.get("/assets/").send(&service).await.denied(404, "notFound");
    service.get("/assets").send(&service).await.denied(404, "notFound");
}

#[tokio::test]
async fn nothing_outside_of_the_folder_is_served() {
    let dir = web_app();
    let service = Service::start(Setup { web_app: Some(dir.path().join("app")), ..Setup::default() }).await;
    for path in [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/..%5c..%5csecret.txt",
        "//secret.txt",
        "/./../secret.txt",
        "/.hidden/file.txt",
        "/link.txt",
        "/index.html/x",
        "/index.html%00",
        "/etc/passwd",
        "/assets//index-abc.js",
    ] {
        let reply = service.get(path).send(&service).await;
        reply.denied(404, "notFound");
        assert!(!reply.text().contains("secret"), "{path}");
    }
}

#[tokio::test]
async fn a_folder_without_a_page_says_how_to_build_one() {
    let dir = TempDir::new().expect("a temporary folder");
    let service = Service::start(Setup { web_app: Some(dir.path().to_owned()), ..Setup::default() }).await;
    let reply = service.get("/").send(&service).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.text().contains("npm --prefix web-app run build"), "{}", reply.text());
}

#[tokio::test]
async fn the_binary_answers_with_or_without_a_page_in_it() {
    let service = Service::start(Setup::default()).await;
    let reply = service.get("/").send(&service).await;
    assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&reply.status));
    assert_eq!(reply.get("content-type"), "text/html; charset=utf-8");
    service.get("/no-such-file.js").send(&service).await.denied(404, "notFound");
}
