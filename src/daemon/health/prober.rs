//! Gives a [`Probe`] its connections and its clock.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::config::{HealthCheck, HealthCheckKind};
use crate::health::{IpVersion, Probe, ProbeAction, ProbeEvent, ProbeOutcome, ProbeReport, Script, Step};
use crate::lvs::{PortRange, is_ipv6};

/// The longest password file that is read, in bytes.
const PASSWORD_FILE: u64 = 64 * 1024;

/// Probes the server at `address`, its own, once; `range` is the one that it has declared. Takes as long as `check.timeout`
/// says at most.
pub async fn probe(address: SocketAddr, check: &HealthCheck, range: Option<PortRange>) -> ProbeReport {
    let timeout = check.timeout;
    match password(check).await {
        Ok(password) => talk(address, script(address, check, password.as_deref()).within(range), timeout).await,
        Err(error) => {
            // Nothing is known of its logins then. A server that does not even greet is down all the same.
            let greeting = HealthCheck { kind: HealthCheckKind::Banner, ..check.clone() };
            let report = talk(address, script(address, &greeting, None), timeout).await;
            if report.outcome == ProbeOutcome::Good { ProbeReport::unsure(Step::Password, error) } else { report }
        }
    }
}

fn script(address: SocketAddr, check: &HealthCheck, password: Option<&[u8]>) -> Script {
    let family = if is_ipv6(address.ip()) { IpVersion::V6 } else { IpVersion::V4 };
    Script::new(check.clone(), password, family)
}

async fn talk(address: SocketAddr, script: Script, timeout: Duration) -> ProbeReport {
    let began = Instant::now();
    let mut probe = Probe::new(script);
    let mut links = Links { host: address.ip(), control: Peer::opening(address), data: Peer::None };
    let (mut control, mut data) = ([0; 4096], [0; 16384]);
    loop {
        while let Some(action) = probe.action() {
            links.carry_out(action).await;
        }
        if let Some(report) = probe.report() {
            return report.clone();
        }
        let event = tokio::select! {
            happened = links.control.next(&mut control) => control_event(happened, &control),
            happened = links.data.next(&mut data) => data_event(happened),
            () = sleep_until(began + timeout) => ProbeEvent::TimedOut,
        };
        probe.handle(event, began.elapsed());
    }
}

/// Reads the password file, each time: a new password needs no reload.
async fn password(check: &HealthCheck) -> Result<Option<Vec<u8>>, String> {
    let logs_in = matches!(check.kind, HealthCheckKind::Login | HealthCheckKind::Transfer);
    let Some(path) = check.password_file.clone().filter(|_| logs_in) else { return Ok(None) };
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || read(&path)).await.map_err(io::Error::other);
    read.and_then(|read| read).map(Some).map_err(|error| format!("password_file {shown}: {error}"))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, PASSWORD_FILE), &mut content)?;
    Ok(content)
}

/// The probe's two connections.
struct Links {
    host: IpAddr,
    control: Peer,
    data: Peer,
}

impl Links {
    async fn carry_out(&mut self, action: ProbeAction) {
        match action {
            ProbeAction::Send(line) => {
                if let Peer::Open(stream) = &mut self.control {
                    // A short line always has room. Where it cannot be written, reading says why, or what the server
                    // said before it closed.
                    let _ = stream.write_all(&line).await;
                }
            }
            ProbeAction::ConnectData(port) => self.data = Peer::opening(SocketAddr::new(self.host, port)),
            ProbeAction::CloseData => self.data = Peer::None,
        }
    }
}

/// The control or the data connection of a probe.
enum Peer {
    None,
    Opening(std::pin::Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    Open(TcpStream),
}

/// What happened on a connection.
enum Happened {
    Opened,
    Read(usize),
    Closed,
    Failed(io::Error),
}

impl Peer {
    fn opening(to: SocketAddr) -> Self {
        Self::Opening(Box::pin(TcpStream::connect(to)))
    }

    /// May be dropped and called again: nothing is lost.
    async fn next(&mut self, buffer: &mut [u8]) -> Happened {
        let happened = match self {
            Self::None => pending().await,
            Self::Opening(connect) => match connect.await {
                Ok(stream) => {
                    *self = Self::Open(stream);
                    return Happened::Opened;
                }
                Err(error) => Happened::Failed(error),
            },
            Self::Open(stream) => match stream.read(buffer).await {
                Ok(0) => Happened::Closed,
                Ok(length) => return Happened::Read(length),
                Err(error) => Happened::Failed(error),
            },
        };
        *self = Self::None;
        happened
    }
}

fn control_event(happened: Happened, buffer: &[u8]) -> ProbeEvent<'_> {
    match happened {
        Happened::Opened => ProbeEvent::Connected,
        Happened::Read(length) => ProbeEvent::Received(buffer.get(..length).unwrap_or_default()),
        Happened::Closed => ProbeEvent::Closed,
        Happened::Failed(error) if is_ours(&error) => ProbeEvent::OurTrouble(error.to_string()),
        Happened::Failed(error) => ProbeEvent::Broken(error.to_string()),
    }
}

fn data_event<'a>(happened: Happened) -> ProbeEvent<'a> {
    match happened {
        Happened::Opened => ProbeEvent::DataConnected,
        Happened::Read(length) => ProbeEvent::DataReceived(length),
        Happened::Closed => ProbeEvent::DataClosed,
        Happened::Failed(error) if is_ours(&error) => ProbeEvent::OurTrouble(error.to_string()),
        Happened::Failed(error) => ProbeEvent::DataBroken(error.to_string()),
    }
}

/// Whether an error says something of this machine and nothing of the server.
fn is_ours(error: &io::Error) -> bool {
    // EPERM: a rule of our own output chain.
    const OURS: [i32; 7] =
        [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT, libc::EPERM];
    error.raw_os_error().is_some_and(|number| OURS.contains(&number))
}
