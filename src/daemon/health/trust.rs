//! Which certificates the health checks accept.
//!
//! Asked is whether the certificate is valid now and whom it is from, not which name stands in it: servers are addresses in the
//! file, and their clients come by the name of the VIP.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor as signed_by_authority;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::health::{Certificate, PeerCertificate, date};
use crate::time::Time;

/// The longest file that is read, in bytes; Debian's list of all authorities has a fifth of it.
const FILE: u64 = 1 << 20;

/// How long the system's authorities are kept: reading them takes milliseconds.
const KEPT: Duration = Duration::from_secs(3600);

/// Which certificates are accepted.
#[derive(Clone)]
pub enum Trust {
    /// `verify: false`.
    Any,
    /// `verify: true`.
    Known(Arc<Known>),
}

/// The certificates of a file, or of the system.
pub struct Known {
    authorities: RootCertStore,
    /// The same, to know a server by its own certificate, which need not be an authority's.
    themselves: Vec<CertificateDer<'static>>,
    /// What messages call them.
    name: String,
}

impl Trust {
    /// What a server's certificates are worth at this moment, its own first.
    pub fn examine(&self, chain: &[CertificateDer<'_>], provider: &CryptoProvider) -> PeerCertificate {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let own = chain.first().and_then(|first| Certificate::read(first));
        let flaw = match self {
            Self::Any => None,
            Self::Known(known) => own
                .and_then(|own| own.flaw(Time::ZERO + now))
                .or_else(|| known.refuses(chain, own, UnixTime::since_unix_epoch(now), provider)),
        };
        PeerCertificate { ends: own.map(Certificate::ends), flaw }
    }
}

impl Known {
    /// The certificates of a PEM file.
    ///
    /// # Errors
    /// When it cannot be read, or holds none.
    pub async fn of_file(path: &Path) -> Result<Self, String> {
        let path = path.to_owned();
        spawn_blocking(move || Self::read(&path)).await.map_err(|error| error.to_string())?
    }

    fn read(path: &Path) -> Result<Self, String> {
        let name = format!("ca_file {}", path.display());
        let content = read(path, FILE + 1).map_err(|error| format!("{name}: {error}"))?;
        if u64::try_from(content.len()).is_ok_and(|length| length > FILE) {
            return Err(format!("{name}: longer than {FILE} bytes"));
        }
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
        Self::new(certificates.map_err(|error| format!("{name}: {error}"))?, name)
    }

    fn of_system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        Self::new(found.certs, "the system's authorities".into())
            .map_err(|error| format!("{error}{why}: install ca-certificates, or name a ca_file"))
    }

    fn new(certificates: Vec<CertificateDer<'static>>, name: String) -> Result<Self, String> {
        let mut authorities = RootCertStore::empty();
        authorities.add_parsable_certificates(certificates.iter().cloned());
        if authorities.is_empty() {
            return Err(format!("{name}: no certificate that can be used"));
        }
        Ok(Self { authorities, themselves: certificates, name })
    }

    /// Why nobody that is known vouches for a server's certificate, whose own time is good.
    fn refuses(
        &self,
        chain: &[CertificateDer<'_>],
        own: Option<Certificate>,
        now: UnixTime,
        provider: &CryptoProvider,
    ) -> Option<String> {
        let Some((first, others)) = chain.split_first() else { return Some("the server shows no certificate".into()) };
        if own.is_some() && self.themselves.contains(first) {
            return None;
        }
        let algorithms = provider.signature_verification_algorithms.all;
        let error = ParsedCertificate::try_from(first)
            .and_then(|parsed| signed_by_authority(&parsed, &self.authorities, others, now, algorithms))
            .err()?;
        Some(match error {
            _ if own.is_some_and(Certificate::is_self_issued) => {
                format!("certificate is self-signed, and not in {}", self.name)
            }
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                format!("certificate is of no authority in {}; or the server does not send those between", self.name)
            }
            Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
                let day = date(Duration::from_secs(not_after.as_secs()));
                format!("certificate of an authority between expired on {day}")
            }
            error => rejected(&error),
        })
    }
}

/// A certificate that cannot be judged, or should not be used.
pub fn rejected(error: &Error) -> String {
    format!("certificate is not accepted: {error}")
}

/// The system's authorities, read when they are needed and again after a while.
#[derive(Clone, Default)]
pub struct SystemAuthorities(Arc<Mutex<Option<Kept>>>);

struct Kept {
    since: Instant,
    known: Arc<Known>,
}

impl SystemAuthorities {
    /// The authorities.
    ///
    /// # Errors
    /// When there are none.
    pub async fn known(&self) -> Result<Arc<Known>, String> {
        let mut kept = self.0.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.since.elapsed() < KEPT) {
            return Ok(Arc::clone(&kept.known));
        }
        let known = Arc::new(spawn_blocking(Known::of_system).await.map_err(|error| error.to_string())??);
        *kept = Some(Kept { since: Instant::now(), known: Arc::clone(&known) });
        Ok(known)
    }
}

/// The beginning of a file, at most `longest` bytes.
pub fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(longest).read_to_end(&mut content)?;
    Ok(content)
}
