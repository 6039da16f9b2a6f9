//! The CA's certificate on both listeners, and the plain listener's limits.

use super::*;

/// The plain listener of a service.
async fn help(service: &Service) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let router = help_router(service.state.trust.clone(), service.state.allowed.clone(), service.address.port());
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move {
        stopped.await.unwrap_or_default();
    };
    let task = tokio::spawn(serve(vec![listener], None, router, shutdown));
    let (hub, notices) = Hub::spawn(Limits::default());
    Service {
        address,
        tls: None,
        ca: service.ca.clone(),
        auth: service.auth.clone(),
        hub,
        notices,
        state: service.state.clone(),
        media: service.media.clone(),
        dir: TempDir::new().expect("a temporary folder"),
        stop: Some(stop),
        task,
    }
}

#[tokio::test]
async fn the_certificate_is_offered_in_all_forms_on_both_listeners() {
    let service = Service::start(Setup::default()).await;
    let help = help(&service).await;
    for listener in [&service, &help] {
        let pem = listener.get("/ca.pem").send(listener).await;
        assert_eq!(pem.text(), service.ca.ca_pem());
        assert!(pem.get("content-disposition").contains("duplex-ca.pem"));
        let der = listener.get("/ca.der").send(listener).await;
        assert_eq!((&der.body[..], der.get("content-type")), (service.ca.ca_der(), "application/x-x509-ca-cert"));
        let profile = listener.get("/ca.mobileconfig").send(listener).await;
        assert_eq!(
            (profile.text(), profile.get("content-type")),
            (service.ca.mobileconfig(), "application/x-apple-aspen-config")
        );
        for reply in [pem, der, profile] {
            assert!(!reply.text().contains("PRIVATE"));
        }
        let page = listener.get("/trust").send(listener).await;
        assert!(
            page.text().replace("<wbr>", "").contains(&service.ca.fingerprint_sha256())
                && page.text().contains(service.ca.common_name())
        );
        assert!(!page.text().contains("{{") && !page.text().contains("style="), "nothing the content policy forbids");
        for system in ["iPhone", "Android", "Windows", "macOS", "Linux", "Firefox", "Chromium"] {
            assert!(page.text().contains(system), "{system}");
        }
        let style = listener.get("/trust.css").send(listener).await;
        assert_eq!((style.status, style.get("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
        // What the page names is there: a link that leads nowhere, or to a certificate not trusted yet, is an error in the browser.
        let text = page.text();
        for (at, _) in text.match_indices("=\"/") {
            let address = text[at + 2..].split('"').next().unwrap_or_default();
            let found = listener.get(address).send(listener).await;
            let unbuilt = address == "/icon.svg" && crate::http::assets::FILES.is_empty();
            assert!(found.status == StatusCode::OK || address == "/" || unbuilt, "{address}: {}", found.status);
        }
    }
}

#[tokio::test]
async fn the_plain_listener_sends_everything_else_to_https() {
    let service = Service::start(Setup::default()).await;
    let help = help(&service).await;
    let port = service.address.port();
    for (host, path, target) in [
        ("door.local", "/", format!("https://door.local:{port}/")),
        ("door.local:8080", "/a/b?c=d", format!("https://door.local:{port}/a/b?c=d")),
        ("127.0.0.1:8080", "/api/v1/status", format!("https://127.0.0.1:{port}/api/v1/status")),
        ("[::1]:8080", "/signalling", format!("https://[::1]:{port}/signalling")),
        ("localhost", "//evil.example/", format!("https://localhost:{port}//evil.example/")),
    ] {
        let reply = help.get(path).header("host", host).send(&help).await;
        assert_eq!((reply.status, reply.get("location")), (StatusCode::PERMANENT_REDIRECT, target.as_str()));
    }
    let reply = help.post("/api/v1/sign-in", serde_json::json!({"password": OWNER})).send(&help).await;
    assert_eq!((reply.status, reply.get("set-cookie")), (StatusCode::PERMANENT_REDIRECT, ""));
    for path in ["/", "/trust", "/ca.pem"] {
        help.get(path).header("host", "evil.example").send(&help).await.denied(421, "wrongHost");
    }
    assert!(help.get("/trust").send(&help).await.get("content-security-policy").contains("default-src 'none'"));
}

#[tokio::test]
async fn with_a_foreign_certificate_there_is_nothing_to_trust() {
    let service = Service::start(Setup { own_ca: false, ..Setup::default() }).await;
    let help = help(&service).await;
    for listener in [&service, &help] {
        for path in ["/trust", "/ca.pem", "/ca.der", "/ca.mobileconfig"] {
            listener.get(path).send(listener).await.denied(404, "notOwnCa");
        }
    }
}

#[tokio::test]
async fn a_new_ca_is_offered_at_once() {
    let service = Service::start(Setup { own_ca: false, ..Setup::default() }).await;
    service.state.trust.replace(service.ca.clone());
    assert_eq!(service.get("/ca.pem").send(&service).await.text(), service.ca.ca_pem());
}

#[test]
fn the_page_on_trust_has_the_colours_of_the_device_s_page() {
    // It is served where the other's style is not; what both write down must stay the same.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/web-app/src/style.css")).expect("a file");
    let tokens = |css: &str| -> Vec<String> {
        css.lines().map(str::trim).filter(|line| line.starts_with("--")).map(str::to_owned).collect()
    };
    let (own, pages) = (tokens(include_str!("../trust.css")), tokens(&page));
    assert!(own.len() > 5, "{own:?}");
    for token in own {
        assert!(pages.contains(&token), "{token}");
    }
}
