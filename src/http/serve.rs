//! Listeners, connections and their limits.
//!
//! In: bound sockets. Out: requests for a router, each with the [`Link`] it came over.
//! Never: a handshake or a request head that takes for ever, or more connections than a small board can carry.

use super::denied::Denied;
use super::tls::TlsCert;
use crate::signalling::ration::LogRation;
use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, error, warn};

/// The connection a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The other end.
    pub address: SocketAddr,
    /// Whether it is encrypted.
    pub tls: bool,
}

impl Link {
    /// The link of a request. One that did not come through [`serve`] counts as a stranger's.
    pub fn of(extensions: &Extensions) -> Self {
        let stranger = Self { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), tls: false };
        extensions.get().copied().unwrap_or(stranger)
    }
}

impl<S: Sync> FromRequestParts<S> for Link {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        Ok(Self::of(&parts.extensions))
    }
}

/// Serves `router` on all `listeners`, with TLS if there is a certificate, until `shutdown` is ready. Running requests
/// then have two seconds; WebSockets end with the hub.
pub async fn serve(
    listeners: Vec<TcpListener>,
    tls: Option<TlsCert>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(());
    let house = Arc::new(House {
        router,
        tls: tls.map(|tls| tls.acceptor()),
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        handshakes: Semaphore::new(MAX_HANDSHAKES),
        log: LogRation::new(),
        stopped,
    });
    let mut doors: JoinSet<()> = listeners.into_iter().map(|listener| house.clone().open(listener)).collect();
    shutdown.await;
    drop(stop);
    while doors.join_next().await.is_some() {}
}

/// What all connections share.
struct House {
    router: Router,
    tls: Option<TlsAcceptor>,
    connections: Arc<Semaphore>,
    handshakes: Semaphore,
    log: LogRation,
    stopped: watch::Receiver<()>,
}

impl House {
    /// One listener, until the end.
    async fn open(self: Arc<Self>, listener: TcpListener) {
        let mut stopped = self.stopped.clone();
        let mut guests = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = stopped.changed() => break,
                Some(left) = guests.join_next() => {
                    if let Err(panic) = left {
                        error!(%panic, "a connection's task failed");
                    }
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly too many open files; that passes when others close.
                    self.note(None, "accept", &error.to_string());
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = self.connections.clone().try_acquire_owned() else {
                self.note(Some(address), "connect", "too many connections (256)");
                continue;
            };
            guests.spawn(self.clone().receive(stream, address, permit));
        }
        drop(listener);
        if timeout(FAREWELL, async { while guests.join_next().await.is_some() {} }).await.is_err() {
            guests.shutdown().await;
        }
    }

    async fn receive(self: Arc<Self>, stream: TcpStream, address: SocketAddr, _permit: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "TCP_NODELAY was refused");
        }
        let Some(tls) = &self.tls else {
            return self.converse(stream, Link { address, tls: false }).await;
        };
        let Ok(pending) = self.handshakes.try_acquire() else {
            return self.note(Some(address), "handshake", "too many pending handshakes (64)");
        };
        let shaken = timeout(HANDSHAKE, shake(tls, stream)).await;
        drop(pending);
        match shaken {
            Ok(Ok(stream)) => self.converse(stream, Link { address, tls: true }).await,
            // Every visit of a browser that does not trust the certificate yet begins and ends like this.
            Ok(Err(error)) if is_clients_choice(&error) => {
                debug!(%address, %error, "the client broke the handshake off")
            }
            Ok(Err(error)) => self.note(Some(address), "handshake", &error.to_string()),
            Err(_) => self.note(Some(address), "handshake", "not done within 10 s"),
        }
    }

    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, link: Link) {
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(link);
            let answer = self.router.clone().oneshot(request);
            async { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let mut stopped = self.stopped.clone();
        let result = tokio::select! {
            result = connection.as_mut() => result,
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            debug!(address = %link.address, %error, "connection ended early");
        }
    }

    fn note(&self, address: Option<SocketAddr>, act: &str, reason: &str) {
        if let Some(left_out) = self.log.pass() {
            warn!(address = address.map(tracing::field::display), act, reason, left_out, "connection refused");
        }
    }
}

/// Whether the client went away by itself, or said why it does not go on: mostly that it knows no such authority.
fn is_clients_choice(error: &io::Error) -> bool {
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<tokio_rustls::rustls::Error>());
    matches!(said, Some(tokio_rustls::rustls::Error::AlertReceived(_)))
        || matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        )
}

async fn shake(tls: &TlsAcceptor, mut stream: TcpStream) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    let mut first = [0];
    // Every HTTP method begins with a letter, a TLS handshake with 0x16.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        // Closing with unread bytes would reset the connection and lose the answer.
        let read = stream.read(&mut [0; 4096]).await?;
        debug!(read, "plain HTTP on the TLS port");
        stream.write_all(PLAIN.as_bytes()).await?;
        stream.shutdown().await?;
        return Err(io::Error::other("plain HTTP on the TLS port"));
    }
    tls.accept(stream).await
}

const MAX_CONNECTIONS: usize = 256;
const MAX_HANDSHAKES: usize = 64;
const MAX_HEADERS: usize = 64;
/// Bytes of a request's head.
const MAX_HEAD: usize = 32 * 1024;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a request's head, and so also between two requests of one connection.
const HEAD: Duration = Duration::from_secs(10);
const FAREWELL: Duration = Duration::from_secs(2);
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 56\r\nConnection: close\r\n\r\n\
    This port speaks TLS: put https:// (or wss://) in front.";
