//! The web side as a whole, over real TCP and TLS on port 0, with the real hub, the real credentials and an own CA.
//!
//! Only the desk is a stand-in: it has the real talk lock, but no media.

mod assets;
mod listeners;
mod openapi;
mod origin;
mod panel;
mod passwords;
mod recordings;
mod sign_in;
mod signalling;
mod trust;

use super::auth::Auth;
use super::*;
use crate::api::{Access, Event, Quality, QualityState, Recording, RecordingEntry, Role, Status, TalkState};
use crate::config::{self, Flags};
use crate::desk::DeskClosed;
use crate::media::{Refusal, all_kept, kept};
use crate::recording::shelf::Shelf;
use crate::session::TalkLock;
use crate::signalling::Notice;
use crate::signalling::policy::Limits;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, StatusCode, header};
use duplex_pki::{Ca, Name, Store};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const OWNER: &str = "correct horse battery";
pub const TALKER: &str = "a talker's password";
pub const VIEWER: &str = "a viewer's password";

/// How a service is set up.
pub struct Setup {
    pub tls: bool,
    /// Listens on loopback only as far as the configuration is concerned: the condition of the open mode.
    pub loopback: bool,
    pub passwords: &'static [(Role, &'static str)],
    pub web_app: Option<PathBuf>,
    pub own_ca: bool,
    pub limits: Limits,
}

impl Default for Setup {
    /// As delivered to a network: TLS and an owner.
    fn default() -> Self {
        Self {
            tls: true,
            loopback: false,
            passwords: &[(Role::Owner, OWNER)],
            web_app: None,
            own_ca: true,
            limits: Limits::default(),
        }
    }
}

pub const ALL_ROLES: &[(Role, &str)] = &[(Role::Owner, OWNER), (Role::Talker, TALKER), (Role::Viewer, VIEWER)];

/// A running service. Dropping it stops the listeners with the test's runtime.
pub struct Service {
    pub address: SocketAddr,
    pub tls: Option<TlsCert>,
    pub ca: Ca,
    pub auth: Arc<Auth>,
    pub hub: Hub,
    pub notices: mpsc::UnboundedReceiver<Notice>,
    pub state: AppState,
    pub media: FakeMedia,
    pub dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Service {
    pub async fn start(setup: Setup) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let state_dir = dir.path().join("state");
        let env = |name: &str| (name == "STATE_DIRECTORY").then(|| state_dir.display().to_string());
        let mut config = config::load(&Flags::default(), env).expect("the defaults are fine");
        config.web_app = setup.web_app;
        if !setup.loopback {
            config.listen = vec!["0.0.0.0:8443".parse().expect("an address")];
        }
        let auth = Arc::new(Auth::open(&state_dir).expect("a fresh folder"));
        for (role, password) in setup.passwords {
            auth.set_password(*role, password).expect("a good password");
        }
        let store = Store::open(dir.path().join("pki")).expect("a fresh folder");
        let names: Vec<Name> =
            ["localhost", "door.local", "127.0.0.1"].map(|name| name.parse().expect("a name")).into();
        let ensured = store.ensure_server(&names, SystemTime::now()).expect("a certificate");
        let tls = setup.tls.then(|| TlsCert::new(ensured.identity).expect("a usable certificate"));
        let (hub, notices) = Hub::spawn(setup.limits);
        let trust = if setup.own_ca { Trust::own(ensured.ca.clone()) } else { Trust::foreign() };
        let allowed = AllowedHosts::new(names);
        let panel = Panel { tls: tls.clone(), ..Panel::bare(Metrics::new("1.2.3")) };
        let media = FakeMedia::new(dir.path());
        let state = AppState::new(
            Arc::new(config),
            auth.clone(),
            hub.clone(),
            FakeDesk::default(),
            media.clone(),
            allowed,
            trust,
        )
        .with_panel(panel);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            stopped.await.unwrap_or_default();
        };
        let task = tokio::spawn(serve(vec![listener], tls.clone(), router(state.clone()), shutdown));
        Self { address, tls, ca: ensured.ca, auth, hub, notices, state, media, dir, stop: Some(stop), task }
    }

    /// Stops the listeners; fails if that takes long.
    pub async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).expect("it still serves");
        }
        timeout(PATIENCE, &mut self.task).await.expect("stops in time").expect("no panic");
    }

    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.host())
    }

    pub async fn connect(&self) -> Box<dyn Stream> {
        let tcp = TcpStream::connect(self.address).await.expect("it listens");
        if self.tls.is_some() { Box::new(tls(tcp, &self.ca).await.expect("a handshake")) } else { Box::new(tcp) }
    }

    /// A request as a program makes it.
    pub fn request(&self, method: Method, path: &str) -> Ask {
        let builder = HttpRequest::builder().method(method).uri(path).header(header::HOST, self.host());
        Ask { request: builder.body(Full::default()).expect("a request") }
    }

    pub fn get(&self, path: &str) -> Ask {
        self.request(Method::GET, path)
    }

    /// A request as the page makes it.
    pub fn post(&self, path: &str, body: Value) -> Ask {
        let mut ask = self.request(Method::POST, path).header("content-type", "application/json");
        ask = ask.header("origin", &self.origin());
        *ask.request.body_mut() = Full::from(body.to_string());
        ask
    }

    /// Signs in and gives the cookie as a browser sends it back.
    pub async fn sign_in(&self, password: &str) -> String {
        let reply = self.post("/api/v1/sign-in", serde_json::json!({"password": password})).send(self).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.cookie()
    }

    pub async fn notice(&mut self) -> Notice {
        timeout(PATIENCE, self.notices.recv()).await.expect("a notice in time").expect("the hub lives")
    }
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A handshake of a client that trusts this CA and nobody else.
pub async fn tls(tcp: TcpStream, ca: &Ca) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").expect("a name"), tcp).await
}

pub struct Ask {
    request: HttpRequest<Full<Bytes>>,
}

impl Ask {
    /// Sets a header; an empty value takes it away.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if value.is_empty() {
            self.request.headers_mut().remove(name);
        } else {
            self.request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header"));
        }
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Full::new(body.into());
        self
    }

    /// Sends it over a connection of its own and waits for the head of the answer.
    pub async fn open(self, service: &Service) -> axum::http::Response<Incoming> {
        let stream = TokioIo::new(service.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("HTTP/1.1");
        tokio::spawn(connection.with_upgrades());
        timeout(PATIENCE, sender.send_request(self.request)).await.expect("an answer in time").expect("an answer")
    }

    pub async fn send(self, service: &Service) -> Reply {
        let (parts, body) = self.open(service).await.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.expect("a body in time").expect("a body").to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The value of a header, empty if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// `NAME=VALUE` of the cookie it sets.
    pub fn cookie(&self) -> String {
        self.get("set-cookie").split(';').next().expect("a cookie").to_owned()
    }

    /// Asserts a refusal: its status, its name, and that it has a sentence.
    #[track_caller]
    pub fn denied(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status.as_u16(), self.json()["error"]["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text()
        );
        let message = self.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.ends_with('.') && message.contains(' '), "no sentence: {message:?}");
    }
}

/// The real talk lock without media behind it.
#[derive(Default, Clone)]
pub struct FakeDesk {
    inner: Arc<Mutex<FakeInner>>,
}

struct FakeInner {
    lock: TalkLock,
    subscribers: Vec<(String, mpsc::Sender<Event>)>,
}

impl Default for FakeInner {
    fn default() -> Self {
        Self { lock: TalkLock::new(None, Duration::from_secs(60)), subscribers: Vec::new() }
    }
}

impl FakeDesk {
    fn turn(&self, peer: &str, change: impl FnOnce(&mut TalkLock)) -> TalkState {
        let mut inner = self.inner.lock().expect("no panic");
        let inner = &mut *inner;
        change(&mut inner.lock);
        for (subscriber, events) in &inner.subscribers {
            // A page that has gone is no matter here.
            events.try_send(Event::Talk { talk: inner.lock.state_of(subscriber) }).ok();
        }
        inner.lock.state_of(peer)
    }
}

impl TalkDesk for FakeDesk {
    fn ask<'a>(&'a self, peer: &'a str, take: bool) -> BoxFuture<'a, Result<TalkState, DeskClosed>> {
        Box::pin(async move { Ok(self.turn(peer, |lock| drop(lock.ask(peer, take, Instant::now())))) })
    }

    fn release<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<TalkState, DeskClosed>> {
        Box::pin(async move { Ok(self.turn(peer, |lock| drop(lock.release(peer, Instant::now())))) })
    }

    fn choose_quality<'a>(&'a self, peer: &'a str, quality: Quality) -> BoxFuture<'a, Result<(), DeskClosed>> {
        Box::pin(async move {
            let state = QualityState { choice: quality, rung: 2, rungs: 3 };
            for (subscriber, events) in &self.inner.lock().expect("no panic").subscribers {
                if subscriber == peer {
                    // A page that has gone is no matter here.
                    events.try_send(Event::Quality { state }).ok();
                }
            }
            Ok(())
        })
    }

    fn status(&self, access: Access) -> Status {
        let stun =
            crate::api::IceServer { urls: vec!["stun:stun.door.local".into()], username: None, credential: None };
        Status {
            version: "1.2.3".into(),
            name: "Door".into(),
            access,
            device_id: Some("device".into()),
            ice_servers: vec![stun],
            video: true,
            audio: true,
            audio_muted: false,
            inbound_video: true,
            talk_sound: crate::api::TalkSound::Played,
        }
    }

    fn subscribe<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<mpsc::Receiver<Event>, DeskClosed>> {
        Box::pin(async move {
            let (events, receiver) = mpsc::channel(16);
            let nobody = Access { role: None, open: false, needs_setup: false };
            let mut inner = self.inner.lock().expect("no panic");
            let talk = inner.lock.state_of(peer);
            for event in [Event::Status { status: self.status(nobody) }, Event::Talk { talk }] {
                events.try_send(event).expect("there is room");
            }
            inner.subscribers.push((peer.to_owned(), events));
            Ok(receiver)
        })
    }

    fn tell<'a>(&'a self, peer: &'a str, event: Event) -> BoxFuture<'a, Result<(), DeskClosed>> {
        Box::pin(async move {
            let inner = self.inner.lock().expect("no panic");
            for (_, events) in inner.subscribers.iter().filter(|(subscriber, _)| subscriber == peer) {
                events.try_send(event.clone()).ok();
            }
            Ok(())
        })
    }

    fn turns(&self) -> crate::session::Turns {
        self.inner.lock().expect("no panic").lock.turns()
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn recorded_since(&self) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1000))
    }
}

/// Recordings that are files of a folder, and a memory of what was asked for.
#[derive(Clone)]
pub struct FakeMedia {
    pub shelf: Shelf,
    pub asked: Arc<Mutex<Vec<String>>>,
    pub on: Arc<Mutex<bool>>,
    pub recorded_to: Arc<Mutex<Option<(String, SystemTime)>>>,
}

impl FakeMedia {
    fn new(folder: &std::path::Path) -> Self {
        let shelf = Shelf { folder: folder.join("recordings"), max_size: u64::MAX, max_age: None, min_free: 0 };
        shelf.prepare().expect("a fresh folder");
        Self { shelf, asked: Arc::default(), on: Arc::default(), recorded_to: Arc::default() }
    }

    fn note(&self, what: impl Into<String>) {
        self.asked.lock().expect("no panic").push(what.into());
    }
}

impl MediaDesk for FakeMedia {
    fn snapshot(&self, small: bool) -> BoxFuture<'_, Result<Arc<[u8]>, String>> {
        self.note(if small { "small snapshot" } else { "snapshot" });
        Box::pin(async { Ok(Arc::from(*b"\xFF\xD8\xFFjpeg")) })
    }

    fn say<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<(), Refusal>> {
        self.note(format!("say {text}"));
        Box::pin(async { Ok(()) })
    }

    fn clips(&self) -> Vec<String> {
        vec!["gong.wav".into()]
    }

    fn play<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Refusal>> {
        self.note(format!("play {name}"));
        Box::pin(async move { if name == "gong.wav" { Ok(()) } else { Err(Refusal::Unknown) } })
    }

    fn end_announcements(&self) -> BoxFuture<'_, ()> {
        self.note("end announcements");
        Box::pin(async {})
    }

    fn record(&self, on: bool) -> BoxFuture<'_, Result<(), String>> {
        self.note(format!("record {on}"));
        *self.on.lock().expect("no panic") = on;
        Box::pin(async { Ok(()) })
    }

    fn recording(&self) -> Recording {
        Recording { on: *self.on.lock().expect("no panic"), since: None, elapsed_ms: None }
    }

    fn recorded_to(&self) -> Option<(String, SystemTime)> {
        self.recorded_to.lock().expect("no panic").clone()
    }

    fn recordings(&self) -> Result<Vec<RecordingEntry>, Refusal> {
        let entry = |entry: crate::recording::shelf::Entry| RecordingEntry {
            recording: false,
            cut_off: false,
            began: None,
            seconds: None,
            bytes: entry.size,
            talkers: vec![entry.peer],
            name: entry.name,
        };
        Ok(all_kept(&self.shelf)?.into_iter().map(entry).collect())
    }

    fn locate(&self, name: &str) -> Result<PathBuf, Refusal> {
        kept(&self.shelf, name).map(|entry| entry.path)
    }

    fn open(&self, name: &str) -> Result<std::fs::File, Refusal> {
        let entry = kept(&self.shelf, name)?;
        std::fs::File::open(entry.path).map_err(|error| Refusal::Failed(error.to_string()))
    }

    fn remove(&self, name: &str) -> Result<(), Refusal> {
        let entry = kept(&self.shelf, name)?;
        if self.recorded_to().is_some_and(|(open, _)| open == name) {
            return Err(Refusal::Busy);
        }
        std::fs::remove_file(entry.path).map_err(|error| Refusal::Failed(error.to_string()))
    }
}

/// Polls until something holds; fails after [`PATIENCE`].
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
