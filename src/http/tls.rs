//! The server's side of TLS.
//!
//! In: identities from the PKI, one at start and others when they are renewed. Out: handshakes with the newest one.
//! Never: plain text where TLS was asked for; a certificate that does not belong to its key.

use duplex_pki::Identity;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;

/// The certificate the listeners show; can be exchanged while they serve.
#[derive(Clone, Debug)]
pub struct TlsCert {
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    shown: Arc<RwLock<Shown>>,
}

/// What the certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Names and addresses it is for.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// SHA-256 of it, `AA:BB:...`.
    pub fingerprint: String,
}

impl Shown {
    fn of(identity: &Identity) -> Self {
        Self {
            names: identity.names.iter().map(ToString::to_string).collect(),
            not_before: identity.not_before,
            not_after: identity.not_after,
            fingerprint: identity.fingerprint_sha256(),
        }
    }
}

/// Why an identity cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("the certificate cannot be used for TLS: {0}")]
pub struct TlsError(#[from] rustls::Error);

impl TlsCert {
    /// Prepares TLS 1.2 and 1.3 with this identity.
    pub fn new(identity: Identity) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let shown = Arc::new(RwLock::new(Shown::of(&identity)));
        let key = certified(identity, &provider)?;
        let current = Arc::new(Current { key: RwLock::new(Arc::new(key)), provider: provider.clone() });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        // Over HTTP/2 a WebSocket needs extended CONNECT, which stock clients do not speak and browsers use only if
        // offered; with one page and one device a single version is worth more than multiplexing.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { current, config: Arc::new(config), shown })
    }

    /// Shows this identity from the next handshake on; on an error the old one stays.
    pub fn swap(&self, identity: Identity) -> Result<(), TlsError> {
        let shown = Shown::of(&identity);
        let key = certified(identity, &self.current.provider)?;
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
        *self.current.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        Ok(())
    }

    /// What the certificate in use says of itself.
    pub fn shown(&self) -> Shown {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For the listeners.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }
}

#[derive(Debug)]
struct Current {
    key: RwLock<Arc<CertifiedKey>>,
    provider: Arc<CryptoProvider>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(identity: Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    Ok(CertifiedKey::from_der(identity.chain, identity.key, provider)?)
}
