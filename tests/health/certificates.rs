//! Authorities and certificates made for a test, and the files that they stand in.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The end of a good certificate, seconds since the epoch: 2150-06-01.
pub const ENDS: f64 = 5_693_328_000.0;

/// What a server shows, and has the key for.
pub struct Shown {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub pem: String,
}

/// An authority of the test's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = named(name, 2150);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A server's certificate, good until the first of June of that year.
    pub fn certificate(&self, year: i32) -> Shown {
        let key = KeyPair::generate().unwrap();
        let certificate = named("ftp.example.net", year).signed_by(&key, &self.0).unwrap();
        Shown { pem: certificate.pem(), chain: vec![certificate.der().clone()], key: key.into() }
    }
}

/// As `openssl req -x509` makes it: self-signed, and an authority.
pub fn self_signed(year: i32) -> Shown {
    let mut params = named("ftp.example.net", year);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Shown { pem: certificate.pem(), chain: vec![certificate.der().clone()], key: key.into() }
}

fn named(name: &str, year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["ftp.example.net".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 6, 1));
    params
}

/// A file that is gone when the test is over.
pub struct File(pub PathBuf);

impl File {
    pub fn new(content: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ftpdirector-health-{}-{number}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    pub fn path(&self) -> std::path::Display<'_> {
        self.0.display()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
