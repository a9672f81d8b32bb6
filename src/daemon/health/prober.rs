//! Gives a [`Probe`] its connections and its clock.

use std::io;
use std::net::SocketAddr;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::links::Links;
use super::tls::Tls;
use super::trust::{SystemAuthorities, read};
use crate::config::{HealthCheck, HealthCheckKind, HealthCheckTls};
use crate::health::{IpVersion, Probe, ProbeEvent, ProbeOutcome, ProbeReport, Script, Step};
use crate::lvs::{PortRange, is_ipv6};

/// The longest password file that is read, in bytes.
const PASSWORD_FILE: u64 = 64 * 1024;

/// A server that is probed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// Its own address and control port.
    pub address: SocketAddr,
    /// How far a probe goes, and how long it may take.
    pub check: HealthCheck,
    /// How TLS begins: what `check.tls` says, or the port does.
    pub tls: HealthCheckTls,
    /// The passive range that it has declared.
    pub passive_ports: Option<PortRange>,
}

impl Probed {
    /// Probes the server once. Takes as long as `check.timeout` says at most, and what reading the files of the check takes.
    ///
    /// The second value says which file of the check cannot be read, and why. Nothing is known of what it is needed for then.
    /// A server that does not even greet is down all the same.
    pub async fn probe(&self, system: &SystemAuthorities) -> (ProbeReport, Option<String>) {
        let (password, tls) = (self.password().await, self.connector(&self.check, system).await);
        let (step, error) = match (password, tls) {
            (Ok(password), Ok(tls)) => {
                let script = self.script(&self.check, password.as_deref());
                return (self.talk(script, tls).await, None);
            }
            (Err(error), _) => (Step::Password, error),
            (_, Err(error)) => (Step::Certificate, error),
        };
        let greeting =
            HealthCheck { kind: HealthCheckKind::Banner, verify: false, ca_file: None, ..self.check.clone() };
        let report = match self.connector(&greeting, system).await {
            Ok(tls) => self.talk(self.script(&greeting, None), tls).await,
            Err(error) => return (ProbeReport::unsure(Step::Tls, error), None),
        };
        if report.outcome != ProbeOutcome::Good {
            return (report, Some(error));
        }
        let unsure = ProbeReport::unsure(step, error.clone());
        (ProbeReport { certificate_ends: report.certificate_ends, ..unsure }, Some(error))
    }

    /// Whether the check sees a certificate at all.
    pub fn sees_certificate(&self) -> bool {
        self.tls != HealthCheckTls::None && self.check.kind != HealthCheckKind::Tcp
    }

    fn script(&self, check: &HealthCheck, password: Option<&[u8]>) -> Script {
        let family = if is_ipv6(self.address.ip()) { IpVersion::V6 } else { IpVersion::V4 };
        Script::new(check.clone(), password, family).within(self.passive_ports).over(self.tls)
    }

    async fn connector(&self, check: &HealthCheck, system: &SystemAuthorities) -> Result<Option<Tls>, String> {
        if !self.sees_certificate() {
            return Ok(None);
        }
        Tls::new(self.address.ip(), check, system).await.map(Some)
    }

    async fn talk(&self, script: Script, tls: Option<Tls>) -> ProbeReport {
        let began = Instant::now();
        let end = began + self.check.timeout;
        let mut probe = Probe::new(script);
        let mut links = Links::open(self.address, tls);
        let (mut control, mut data) = ([0; 4096], [0; 16384]);
        loop {
            while let Some(action) = probe.action() {
                // What takes longer is noticed below.
                let _ = timeout_at(end, links.carry_out(action)).await;
            }
            if let Some(report) = probe.report() {
                return report.clone();
            }
            let event = tokio::select! {
                happened = links.control.next(&mut control) => links.control_event(happened, &control),
                happened = links.data.next(&mut data) => links.data_event(happened),
                () = sleep_until(end) => ProbeEvent::TimedOut,
            };
            probe.handle(event, began.elapsed());
        }
    }

    /// Reads the password file, each time: a new password needs no reload.
    async fn password(&self) -> Result<Option<Vec<u8>>, String> {
        let logs_in = matches!(self.check.kind, HealthCheckKind::Login | HealthCheckKind::Transfer);
        let Some(path) = self.check.password_file.clone().filter(|_| logs_in) else { return Ok(None) };
        let shown = path.display().to_string();
        let read = spawn_blocking(move || read(&path, PASSWORD_FILE)).await.map_err(io::Error::other);
        read.and_then(|read| read).map(Some).map_err(|error| format!("password_file {shown}: {error}"))
    }
}
