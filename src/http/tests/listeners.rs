//! TCP and TLS: certificates, limits of time and number, the end.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset is as good an end as any here; what came before it counts.
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end in time").ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn the_certificate_can_be_exchanged_without_a_restart() {
    let service = Service::start(Setup::default()).await;
    let tcp = TcpStream::connect(service.address).await.expect("it listens");
    let old = tls(tcp, &service.ca).await.expect("trusted");
    let (_, session) = old.get_ref();
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]), "although HTTP/2 was offered");
    let store = Store::open(service.dir.path().join("another-pki")).expect("a fresh folder");
    let names = ["localhost".parse().expect("a name")];
    let ensured = store.ensure_server(&names, SystemTime::now()).expect("a certificate");
    let cert = service.tls.clone().expect("TLS");
    cert.swap(ensured.identity).expect("a usable certificate");
    let tcp = TcpStream::connect(service.address).await.expect("it listens");
    assert!(tls(tcp, &service.ca).await.is_err(), "the old CA did not sign the new certificate");
    let tcp = TcpStream::connect(service.address).await.expect("it listens");
    tls(tcp, &ensured.ca).await.expect("the new one did");
    drop(old);
}

#[tokio::test]
async fn a_key_that_does_not_belong_is_refused_and_the_old_one_stays() {
    let service = Service::start(Setup::default()).await;
    let identity = |name: &str| {
        let store = Store::open(service.dir.path().join(name)).expect("a fresh folder");
        store.ensure_server(&["localhost".parse().expect("a name")], SystemTime::now()).expect("a certificate").identity
    };
    let (mut one, two) = (identity("one"), identity("two"));
    one.key = two.key;
    let cert = service.tls.clone().expect("TLS");
    let error = cert.swap(one).expect_err("they are not a pair");
    assert!(error.to_string().starts_with("the certificate cannot be used for TLS"), "{error}");
    let tcp = TcpStream::connect(service.address).await.expect("it listens");
    tls(tcp, &service.ca).await.expect("the old one");
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_a_sentence() {
    let service = Service::start(Setup::default()).await;
    let mut tcp = TcpStream::connect(service.address).await.expect("it listens");
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("writes");
    let answer = rest(&mut tcp).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.ends_with("put https:// (or wss://) in front."), "{answer}");
}

#[tokio::test]
async fn junk_instead_of_a_handshake_ends_that_connection_only() {
    let service = Service::start(Setup::default()).await;
    let mut tcp = TcpStream::connect(service.address).await.expect("it listens");
    tcp.write_all(&[0x16, 0x03, 0x01, 0xff, 0xff, 0, 0, 0, 0, 0]).await.expect("writes");
    tcp.write_all(&[0xaa; 2000]).await.expect("writes");
    rest(&mut tcp).await;
    assert_eq!(service.get("/api/v1/status").send(&service).await.status, StatusCode::OK);
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let service = Service::start(Setup::default()).await;
    let handshake = async {
        let mut tcp = TcpStream::connect(service.address).await.expect("it listens");
        rest(&mut tcp).await
    };
    let half_a_request = async {
        let mut stream = service.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.expect("writes");
        rest(&mut stream).await
    };
    let between_requests = async {
        let mut stream = service.connect().await;
        let head = format!("HEAD /trust HTTP/1.1\r\nHost: {}\r\n\r\n", service.host());
        stream.write_all(head.as_bytes()).await.expect("writes");
        rest(&mut stream).await
    };
    let start = Instant::now();
    let (_, _, answer) = tokio::join!(handshake, half_a_request, between_requests);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let waited = start.elapsed();
    assert!(waited > Duration::from_secs(5), "cut off after {waited:?} already");
}

#[tokio::test]
async fn pending_handshakes_are_limited() {
    let service = Service::start(Setup::default()).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(service.address).await.expect("it listens"));
    }
    // The listener takes them one after the other, so the next one finds 64 before it.
    let mut next = TcpStream::connect(service.address).await.expect("it listens");
    let start = Instant::now();
    assert_eq!(rest(&mut next).await, "");
    assert!(start.elapsed() < Duration::from_secs(5), "it was made to wait");
    drop(silent);
    let open = async {
        loop {
            let tcp = TcpStream::connect(service.address).await.expect("it listens");
            if tls(tcp, &service.ca).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, open).await.expect("those that hung up make room");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let service = Service::start(Setup::default()).await;
    let reply = service.get("/api/v1/status").header("cookie", &"x".repeat(60_000)).send(&service).await;
    assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn stopping_is_quick_even_with_connections_open() {
    let mut service = Service::start(Setup::default()).await;
    let mut idle = service.connect().await;
    let cookie = service.sign_in(OWNER).await;
    let socket = signalling::Socket::with_cookie(&service, &cookie).await;
    let events = service.get(&format!("/api/v1/events?peer={}", socket.id)).header("cookie", &cookie);
    let events = events.open(&service).await;
    let start = Instant::now();
    service.stop().await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(service.address).await.is_err(), "the port is free");
    drop((socket, events));
}

#[tokio::test]
async fn a_request_outside_of_serve_counts_as_a_strangers() {
    use tower::ServiceExt;
    let service = Service::start(Setup { loopback: true, passwords: &[], ..Setup::default() }).await;
    let request = service.get("/api/v1/status").request.map(axum::body::Body::new);
    let response = router(service.state.clone()).oneshot(request).await.expect("infallible");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let status: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(status["access"]["open"], false);
}
