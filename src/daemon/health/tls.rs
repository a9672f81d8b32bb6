//! TLS on the connections of a probe.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, InvalidMessage, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::trust::{Known, SystemAuthorities, Trust, rejected};
use crate::config::HealthCheck;
use crate::health::PeerCertificate;

/// The sessions that one probe keeps; servers give two or so with each handshake.
const SESSIONS: usize = 16;

/// What the connections of one probe have in common: data connections resume the session of the control connection, and no
/// probe that of another, because a server shows its certificate in a full handshake only.
pub struct Tls {
    connector: TlsConnector,
    provider: Arc<CryptoProvider>,
    name: ServerName<'static>,
    trust: Trust,
}

impl Tls {
    /// For a probe of the server at `host`.
    ///
    /// # Errors
    /// When the certificates that are trusted cannot be read.
    pub async fn new(host: IpAddr, check: &HealthCheck, system: &SystemAuthorities) -> Result<Self, String> {
        let trust = match (check.verify, &check.ca_file) {
            (false, _) => Trust::Any,
            (true, Some(file)) => Trust::Known(Arc::new(Known::of_file(file).await?)),
            (true, None) => Trust::Known(system.known().await?),
        };
        Self::with(host, trust).map_err(|error| error.to_string())
    }

    fn with(host: IpAddr, trust: Trust) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Afterwards { provider: Arc::clone(&provider), any: matches!(trust, Trust::Any) };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        // An address: no name is sent along (RFC 6066 §3).
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), provider, name: ServerName::from(host), trust })
    }

    /// Begins TLS as the client.
    pub fn begin(&self, stream: TcpStream) -> tokio_rustls::Connect<TcpStream> {
        self.connector.connect(self.name.clone(), stream)
    }

    /// What the server's certificate is worth.
    pub fn examine(&self, stream: &TlsStream<TcpStream>) -> PeerCertificate {
        self.trust.examine(stream.get_ref().1.peer_certificates().unwrap_or_default(), &self.provider)
    }
}

/// Whether the session is one that another connection began.
pub fn is_resumed(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// Why a handshake failed, if that is the certificate's fault.
pub fn certificate_flaw(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    matches!(error, Error::InvalidCertificate(_)).then(|| rejected(error))
}

/// What went wrong in a handshake, for people.
pub fn handshake_error(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => "the server does not speak TLS".into(),
        _ => error.to_string(),
    }
}

/// Lets the handshake come to its end: then the certificate is looked at ([`Tls::examine`]), before anything is sent. So a
/// refused one still tells its end, and the step that fails has a name. That the server has the certificate's key is verified here.
#[derive(Debug)]
struct Afterwards {
    provider: Arc<CryptoProvider>,
    /// Any certificate: also those whose key nobody should use any more.
    any: bool,
}

impl Afterwards {
    /// Whether the server has the certificate's key, by `verify`, unless any certificate will do.
    fn signed(
        &self,
        verify: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.any {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify(&self.provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Afterwards {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(|known| verify_tls12_signature(message, certificate, signature, known))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(|known| verify_tls13_signature(message, certificate, signature, known))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
