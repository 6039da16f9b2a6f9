//! One HTTP request, by TLS where the address asks for it.
//!
//! In: a request, authorities. Out: status, header fields and body of the answer. Never: a certificate unverified; an answer
//! larger than [`MOST`]; a step without a limit in time; a connection kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Position, Url};

/// Sends requests. Cheap to clone.
#[derive(Clone)]
pub struct Http(Option<Arc<ClientConfig>>);

/// Why no server can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file of the configuration has none.
    #[error("publish-ca = {}: must be a file with certificates in PEM{}", path.display(), detail.as_deref().map(|why| format!(", but {why}")).unwrap_or_default())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: Option<String>,
    },
    /// The system has none.
    #[error(
        "this system has no certificate authorities by which the server of publish-url could be trusted: install ca-certificates, or name one in publish-ca"
    )]
    System,
    /// TLS cannot be used.
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why there is no answer; the end of a sentence about the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is there.
    #[error("it cannot be reached: {0}")]
    Unreachable(std::io::Error),
    /// The certificate is not to be trusted, or there is no TLS.
    #[error("no TLS with it that can be trusted: {0}")]
    Tls(std::io::Error),
    /// The address has no name that a certificate can have.
    #[error("its name is none that a certificate can have")]
    Name,
    /// A redirect from the machine itself to elsewhere.
    #[error("it leads to https://, which publish-url must be itself then")]
    NoTls,
    /// It takes too long.
    #[error("it does not answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// The connection broke.
    #[error("it does not speak HTTP to the end: {0}")]
    Broken(#[from] hyper::Error),
    /// The body is not to be had.
    #[error("its answer breaks off, or is longer than {} KiB", MOST / 1024)]
    Body,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Bytes,
}

impl Http {
    /// For addresses on the machine itself.
    pub fn plain() -> Self {
        Self(None)
    }

    /// Trusts the authorities in the file, or without one those of the system.
    ///
    /// # Errors
    /// There are none.
    pub fn new(ca: Option<&Path>) -> Result<Self, RootsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Some(Arc::new(config))))
    }

    /// Sends a request and waits for all of the answer. `body` goes as SDP.
    ///
    /// # Errors
    /// There is no answer, or not all of it.
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        fields: &[(HeaderName, HeaderValue)],
        body: Option<String>,
    ) -> Result<Reply, Error> {
        // An IPv6 address without its brackets.
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let mut request = Request::new(body.clone().unwrap_or_default());
        *request.method_mut() = method;
        *request.uri_mut() = url[Position::BeforePath..Position::AfterQuery].parse().map_err(|_| Error::Name)?;
        let headers = request.headers_mut();
        let value = &url[Position::BeforeHost..Position::AfterPort];
        headers.insert(HOST, HeaderValue::from_str(value).map_err(|_| Error::Name)?);
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
        }
        for (name, value) in fields {
            headers.insert(name, value.clone());
        }
        let tcp = connect(&host, port).await?;
        if url.scheme() == "http" {
            return exchange(tcp, request).await;
        }
        // Never without: a redirect may lead from plain to TLS.
        let config = self.0.clone().ok_or(Error::NoTls)?;
        let name = ServerName::try_from(host).map_err(|_| Error::Name)?;
        let tls = within(CONNECT, TlsConnector::from(config).connect(name, tcp)).await?.map_err(Error::Tls)?;
        exchange(tls, request).await
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

async fn exchange<S>(stream: S, request: Request<String>) -> Result<Reply, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST);
    let (mut sender, connection) = within(CONNECT, builder.handshake(TokioIo::new(stream))).await??;
    let connection = tokio::spawn(connection);
    let reply = within(ANSWER, async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = to_bytes(Body::new(body), MOST).await.map_err(|_| Error::Body)?;
        Ok(Reply { status: head.status, headers: head.headers, body })
    })
    .await;
    connection.abort();
    reply?
}

/// To the first of its addresses that takes the connection; one that swallows it keeps the others from nothing.
async fn connect(host: &str, port: u16) -> Result<TcpStream, Error> {
    let addresses = within(CONNECT, tokio::net::lookup_host((host, port))).await?.map_err(Error::Unreachable)?;
    let mut last = Error::Name;
    for address in addresses.take(ADDRESSES) {
        match within(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Error::Unreachable(error),
            Err(slow) => last = slow,
        }
    }
    Err(last)
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.map_err(|_| Error::Slow(limit))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, RootsError> {
    let Some(path) = ca else {
        let mut store = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        // Some of a system's are of kinds that TLS has given up; those are left out.
        let (taken, _) = store.add_parsable_certificates(found.certs);
        return if taken > 0 { Ok(store) } else { Err(RootsError::System) };
    };
    let wrong = |detail| RootsError::File { path: path.to_owned(), detail };
    let pem = std::fs::read(path).map_err(|error| wrong(Some(error.to_string())))?;
    authorities(&pem).map_err(wrong)
}

/// The authorities of a file in PEM.
///
/// # Errors
/// It has none, or what is wrong with one.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, Option<String>> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| Some(error.to_string()))?;
        store.add(certificate).map_err(|error| Some(error.to_string()))?;
    }
    if store.is_empty() { Err(None) } else { Ok(store) }
}

/// The type of a session description.
pub const SDP: &str = "application/sdp";
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;
/// Longest wait for a connection to one address, and again for its TLS.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(8);
/// Bytes of an answer's head, and of its body: an answer has some 4 KiB, with many candidates 10.
const MOST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one request with these bytes; the request as it came.
    async fn serve(answer: Vec<u8>) -> (Url, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/whip?key=1", listener.local_addr().unwrap())).unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; 4096];
            let count = stream.read(&mut seen).await.unwrap();
            // Whoever finds the answer too long may have left.
            stream.write_all(&answer).await.ok();
            String::from_utf8_lossy(&seen[..count]).into_owned()
        });
        (url, task)
    }

    #[tokio::test]
    async fn a_request_has_what_whip_wants_and_the_answer_comes_back() {
        let (url, task) = serve(b"HTTP/1.1 201 Created\r\nLocation: /a\r\nContent-Length: 3\r\n\r\nv=0".to_vec()).await;
        let reply = Http::plain().send(Method::POST, &url, &[], Some("v=1".to_owned())).await.unwrap();
        assert_eq!((reply.status, reply.body.as_ref()), (StatusCode::CREATED, &b"v=0"[..]));
        let seen = task.await.unwrap().to_ascii_lowercase();
        assert!(seen.starts_with("post /whip?key=1 http/1.1\r\n"), "{seen}");
        assert!(seen.contains("content-type: application/sdp\r\n"), "{seen}");
        assert!(seen.contains(&format!("host: 127.0.0.1:{}\r\n", url.port().unwrap())), "{seen}");
        assert!(seen.contains("content-length: 3\r\n") && seen.ends_with("v=1"), "{seen}");
    }

    #[tokio::test]
    async fn answers_without_end_and_other_nonsense_are_refused() {
        let long = format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n{}", MOST + 1, "a".repeat(MOST + 1));
        let head = format!("HTTP/1.1 201 Created\r\nA: {}\r\n\r\n", "a".repeat(2 * MOST));
        for (answer, said) in [
            (long, "longer than 64 KiB"),
            (head, "HTTP"),
            ("SSH-2.0-x\r\n\r\n".to_owned(), "HTTP"),
            (String::new(), "HTTP"),
        ] {
            let (url, _task) = serve(answer.into_bytes()).await;
            let error = Http::plain().send(Method::POST, &url, &[], None).await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        // A plain one never speaks TLS to anybody.
        let url = Url::parse("https://127.0.0.1:1/").unwrap();
        assert!(Http::plain().send(Method::POST, &url, &[], None).await.is_err());
    }

    #[test]
    fn an_own_authority_must_be_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, "nothing").unwrap();
        let said = Http::new(Some(&file)).unwrap_err().to_string();
        assert!(said.starts_with("publish-ca = ") && said.contains("certificates in PEM"), "{said}");
        let mut store = duplex_pki::Store::open(dir.path().join("pki")).unwrap();
        let names = ["localhost".parse().unwrap()];
        store.ensure_server(&names, std::time::SystemTime::now()).unwrap();
        store = duplex_pki::Store::open(dir.path().join("pki")).unwrap();
        assert!(Http::new(Some(&store.ca_path())).is_ok());
    }
}
