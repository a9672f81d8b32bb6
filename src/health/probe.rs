//! The FTP probe, as a machine of steps: events in, actions out.
//!
//! ```text
//! connect → 220 → USER → 331 → PASS → 230 → PASV → data connection → LIST or RETR → 226 → EPSV → … → 226 → QUIT
//!   tcp      banner                   login                                                    transfer
//!
//! TLS: 220 → AUTH TLS → 234 → handshake, certificate → USER (explicit), or handshake, certificate → 220 (implicit);
//! 230 → PBSZ 0 → 200 → PROT P → 200 → PASV, and a handshake on each data connection
//! ```

mod secret;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::VecDeque;
use std::time::Duration;

use super::reply::{Flaw, Reply, ReplyReader};
use super::{Failure, ProbeOutcome, ProbeReport, Step};
use crate::config::{HealthCheck, HealthCheckKind, HealthCheckTls};
use crate::ftp::named_port;
use crate::lvs::PortRange;
use crate::time::Time;
pub(super) use secret::Secret;
use transfer::{ENOUGH, PassiveVerb, Transfer};

/// The password without a password file: by the custom of anonymous FTP a mail address (RFC 1635).
const ANONYMOUS: &[u8] = b"ftpdirector@";

/// The address family of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4: PASV and EPSV.
    V4,
    /// EPSV only: a 227 has no room for an IPv6 address.
    V6,
}

/// What a probe does.
#[derive(Clone, Debug)]
pub struct Script {
    /// How far it goes, for whom, within what time.
    check: HealthCheck,
    /// What is sent with PASS: one line, without its end.
    password: Option<Secret>,
    /// What the server can be asked for.
    family: IpVersion,
    /// Where its passive ports must lie.
    passive_ports: Option<PortRange>,
    /// How TLS begins.
    tls: HealthCheckTls,
}

impl Script {
    /// `password` is the content of the password file: its first line counts.
    #[must_use]
    pub fn new(check: HealthCheck, password: Option<&[u8]>, family: IpVersion) -> Self {
        let password = password.map(Secret::first_line);
        Self { check, password, family, passive_ports: None, tls: HealthCheckTls::None }
    }

    /// The server's passive range, if it has declared one: a port outside of it is no good to any client.
    #[must_use]
    pub fn within(self, passive_ports: Option<PortRange>) -> Self {
        Self { passive_ports, ..self }
    }

    /// How TLS begins on the control connection; its data connections are under TLS too then.
    #[must_use]
    pub fn over(self, tls: HealthCheckTls) -> Self {
        Self { tls, ..self }
    }
}

/// The certificate that a server showed in a handshake that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// When it ends, since the epoch; `None`: it cannot be read.
    pub ends: Option<Time>,
    /// Why it is not accepted, for people.
    pub flaw: Option<String>,
}

/// What happened to the connections of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeEvent<'a> {
    /// The control connection is open.
    Connected,
    /// TLS is up on the control connection.
    Secured(PeerCertificate),
    /// Bytes of the control connection.
    Received(&'a [u8]),
    /// The server closed the control connection.
    Closed,
    /// The control connection failed, or did not open: what the system says.
    Broken(String),
    /// The data connection is open.
    DataConnected,
    /// TLS is up on the data connection.
    DataSecured {
        /// With the session of the control connection, not one of its own.
        resumed: bool,
    },
    /// So many bytes of the data connection.
    DataReceived(usize),
    /// The server closed the data connection.
    DataClosed,
    /// The data connection failed, or did not open: what the system says.
    DataBroken(String),
    /// The time of the probe is over.
    TimedOut,
    /// This machine cannot go on: what the system says.
    OurTrouble(String),
}

/// What the caller does for a probe, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAction {
    /// Send this on the control connection.
    Send(Vec<u8>),
    /// Begin TLS on the control connection.
    Secure,
    /// Begin TLS on the data connection, to resume the session of the control connection.
    SecureData,
    /// Open the data connection to this port of the control connection's peer.
    ConnectData(u16),
    /// Close the data connection.
    CloseData,
}

/// A probe under way. It begins with the control connection being opened.
#[derive(Debug)]
pub struct Probe {
    script: Script,
    step: Step,
    began: Duration,
    steps: Vec<(Step, Duration)>,
    replies: ReplyReader,
    actions: VecDeque<ProbeAction>,
    /// The mode under way.
    mode: Option<PassiveVerb>,
    transfer: Transfer,
    /// A transfer has succeeded.
    transferred: bool,
    /// How the data connection failed, while the server's word on it is awaited.
    data_error: Option<String>,
    certificate_ends: Option<Time>,
    report: Option<ProbeReport>,
}

impl Probe {
    /// A probe whose control connection is being opened.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self {
            script,
            step: Step::Connect,
            began: Duration::ZERO,
            steps: Vec::new(),
            replies: ReplyReader::default(),
            actions: VecDeque::new(),
            mode: None,
            transfer: Transfer::default(),
            transferred: false,
            data_error: None,
            certificate_ends: None,
            report: None,
        }
    }

    /// What to do next.
    pub fn action(&mut self) -> Option<ProbeAction> {
        self.actions.pop_front()
    }

    /// What came of it, once it is over.
    #[must_use]
    pub const fn report(&self) -> Option<&ProbeReport> {
        self.report.as_ref()
    }

    /// Takes an event into account; `elapsed` since the probe began.
    pub fn handle(&mut self, event: ProbeEvent<'_>, elapsed: Duration) {
        match event {
            _ if self.report.is_some() => {}
            // The server has passed; that it says goodbye is courtesy.
            ProbeEvent::Closed | ProbeEvent::Broken(_) | ProbeEvent::TimedOut | ProbeEvent::OurTrouble(_)
                if self.step == Step::Quit =>
            {
                self.pass(elapsed);
            }
            ProbeEvent::Connected => self.connected(elapsed),
            ProbeEvent::Secured(certificate) => self.secured(certificate, elapsed),
            ProbeEvent::Received(bytes) => self.received(bytes, elapsed),
            ProbeEvent::Closed => self.closed(elapsed),
            ProbeEvent::Broken(error) => self.fail(error, elapsed),
            ProbeEvent::DataConnected => self.data_connected(elapsed),
            ProbeEvent::DataSecured { resumed } => self.transfer.resumed = Some(resumed),
            ProbeEvent::DataReceived(bytes) => self.data_received(bytes),
            ProbeEvent::DataClosed => {
                self.transfer.closed = true;
                self.transferred(elapsed);
            }
            ProbeEvent::DataBroken(error) => self.data_broken(&error, elapsed),
            ProbeEvent::TimedOut => self.timed_out(elapsed),
            ProbeEvent::OurTrouble(error) => self.finish(ProbeOutcome::Unsure, error, elapsed),
        }
    }

    fn connected(&mut self, elapsed: Duration) {
        match (self.script.check.kind, self.script.tls) {
            (HealthCheckKind::Tcp, _) => self.pass(elapsed),
            (_, HealthCheckTls::Implicit) => self.secure(elapsed),
            (_, HealthCheckTls::None | HealthCheckTls::Explicit) => self.enter(Step::Banner, elapsed),
        }
    }

    fn secure(&mut self, elapsed: Duration) {
        self.enter(Step::Tls, elapsed);
        self.actions.push_back(ProbeAction::Secure);
    }

    fn secured(&mut self, certificate: PeerCertificate, elapsed: Duration) {
        self.enter(Step::Certificate, elapsed);
        self.certificate_ends = certificate.ends;
        match (certificate.flaw, self.script.tls) {
            (Some(flaw), _) => self.fail(flaw, elapsed),
            (None, HealthCheckTls::Implicit) => self.enter(Step::Banner, elapsed),
            (None, HealthCheckTls::None | HealthCheckTls::Explicit) => self.greeted(elapsed),
        }
    }

    fn received(&mut self, mut bytes: &[u8], elapsed: Duration) {
        while self.report.is_none() {
            // What follows a 234 in the clear is not the server's: it would count as said under TLS.
            if self.step == Step::Tls && !bytes.is_empty() {
                return self.fail("more came after the 234, in the clear".into(), elapsed);
            }
            let none = Secret::default();
            let secret = self.script.password.as_ref().unwrap_or(&none);
            match self.replies.next(&mut bytes, secret) {
                Ok(Some(reply)) => self.replied(&reply, elapsed),
                Ok(None) => return,
                Err(_) if self.step == Step::Quit => self.pass(elapsed),
                Err(Flaw::NotFtp(words)) => self.fail(format!("the server does not speak FTP: {words:?}"), elapsed),
                Err(Flaw::Endless) => self.fail("the server's reply does not end".into(), elapsed),
            }
        }
    }

    fn replied(&mut self, reply: &Reply, elapsed: Duration) {
        match (self.step, reply.code) {
            (Step::Quit, _) => self.pass(elapsed),
            // Preliminary (RFC 959 §4.2.1): another one follows.
            (_, 100..=199) => {}
            (Step::Banner, 220) if self.script.tls == HealthCheckTls::Explicit => {
                self.send(Step::Auth, b"AUTH TLS\r\n".to_vec(), elapsed);
            }
            (Step::Banner, 220) => self.greeted(elapsed),
            (Step::Auth, 234) => self.secure(elapsed),
            (Step::User, 331) => {
                let secret = self.script.password.as_ref().map_or(ANONYMOUS, Secret::reveal);
                let line = [b"PASS ", secret, b"\r\n"].concat();
                self.send(Step::Password, line, elapsed);
            }
            (Step::User | Step::Password, 230 | 232) | (Step::Password, 202) => self.logged_in(elapsed),
            (Step::Pbsz, 200..=299) => self.send(Step::Prot, b"PROT P\r\n".to_vec(), elapsed),
            (Step::Prot, 200..=299) => self.begin_transfers(elapsed),
            (Step::Pasv | Step::Epsv, code) => self.told(code, reply, elapsed),
            (Step::PasvTransfer | Step::EpsvTransfer, 200..=299) if self.data_error.is_none() => {
                self.transfer.replied = true;
                self.transferred(elapsed);
            }
            (Step::PasvTransfer | Step::EpsvTransfer, _) if self.transfer.cut => {
                self.transfer.replied = true;
                self.transferred(elapsed);
            }
            (Step::PasvTransfer | Step::EpsvTransfer, code) => {
                self.fail(format!("{}{}", said(reply), self.transfer.explain(code)), elapsed);
            }
            _ => self.fail(said(reply), elapsed),
        }
    }

    /// The greeting is there, and TLS if it is wanted.
    fn greeted(&mut self, elapsed: Duration) {
        if self.script.check.kind == HealthCheckKind::Banner {
            return self.quit(elapsed);
        }
        let user = format!("USER {}\r\n", self.script.check.user);
        self.send(Step::User, user.into_bytes(), elapsed);
    }

    fn logged_in(&mut self, elapsed: Duration) {
        match (self.script.check.kind, self.script.tls) {
            (HealthCheckKind::Transfer, HealthCheckTls::None) => self.begin_transfers(elapsed),
            (HealthCheckKind::Transfer, _) => self.send(Step::Pbsz, b"PBSZ 0\r\n".to_vec(), elapsed),
            _ => self.quit(elapsed),
        }
    }

    fn begin_transfers(&mut self, elapsed: Duration) {
        match self.script.family {
            IpVersion::V4 => self.ask(PassiveVerb::Pasv, elapsed),
            IpVersion::V6 => self.ask(PassiveVerb::Epsv, elapsed),
        }
    }

    fn ask(&mut self, mode: PassiveVerb, elapsed: Duration) {
        self.mode = Some(mode);
        self.send(mode.ask(), format!("{}\r\n", mode.verb()).into_bytes(), elapsed);
    }

    /// The answer to PASV or EPSV.
    fn told(&mut self, code: u16, reply: &Reply, elapsed: Duration) {
        let Some(mode) = self.mode else { return };
        if code == mode.code() {
            // The address is nobody's to believe: the data connection goes where the control connection goes.
            let Some(port) = named_port(code, &reply.last) else {
                return self.fail(format!("no port in {:?}", reply.words), elapsed);
            };
            if let Some(range) = self.script.passive_ports.filter(|range| !range.contains(port)) {
                return self.fail(transfer::outside(port, range), elapsed);
            }
            self.transfer = Transfer { port, ..Transfer::default() };
            self.enter(mode.connect(), elapsed);
            self.actions.push_back(ProbeAction::ConnectData(port));
            return;
        }
        // "Not understood" and "not implemented" (RFC 959 §4.2.2): clients go on with the other command, and so do we.
        match (code, mode, self.script.family) {
            (500 | 502, PassiveVerb::Pasv, IpVersion::V4) => self.ask(PassiveVerb::Epsv, elapsed),
            (500 | 502, PassiveVerb::Epsv, _) if self.transferred => self.quit(elapsed),
            _ => self.fail(said(reply), elapsed),
        }
    }

    fn data_connected(&mut self, elapsed: Duration) {
        let Some(mode) = self.mode else { return };
        let path = &self.script.check.path;
        let verb = if path.ends_with('/') { "LIST" } else { "RETR" };
        self.send(mode.transfer(), format!("{verb} {path}\r\n").into_bytes(), elapsed);
        // Servers answer the handshake when they have read the command.
        if self.script.tls != HealthCheckTls::None {
            self.actions.push_back(ProbeAction::SecureData);
        }
    }

    fn data_broken(&mut self, error: &str, elapsed: Duration) {
        let error = format!("data connection to port {}: {error}", self.transfer.port);
        // A server that has the command says why; then that is worth waiting for.
        let waits = matches!(self.step, Step::PasvTransfer | Step::EpsvTransfer) && !self.transfer.replied;
        if waits {
            self.data_error = Some(error);
        } else {
            self.fail(error, elapsed);
        }
    }

    fn data_received(&mut self, bytes: usize) {
        self.transfer.bytes = self.transfer.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.transfer.bytes >= ENOUGH && !self.transfer.closed {
            (self.transfer.closed, self.transfer.cut) = (true, true);
            self.actions.push_back(ProbeAction::CloseData);
        }
    }

    /// Half of what ends a transfer is there, or both.
    fn transferred(&mut self, elapsed: Duration) {
        if !self.transfer.is_over() {
            return;
        }
        self.transferred = true;
        if self.mode == Some(PassiveVerb::Pasv) {
            self.ask(PassiveVerb::Epsv, elapsed);
        } else {
            self.quit(elapsed);
        }
    }

    fn closed(&mut self, elapsed: Duration) {
        let none = Secret::default();
        let secret = self.script.password.as_ref().unwrap_or(&none);
        let error = match self.replies.unfinished(secret) {
            Some(words) => format!("the server closed the connection after {words:?}"),
            None => "the server closed the connection".into(),
        };
        self.fail(error, elapsed);
    }

    fn timed_out(&mut self, elapsed: Duration) {
        let timeout = self.script.check.timeout;
        let Transfer { port, bytes, closed, replied, .. } = self.transfer;
        let error = match self.step {
            Step::Connect => format!("no connection within {timeout:?}"),
            Step::Tls => format!("no end of the TLS handshake within {timeout:?}"),
            Step::PasvConnect | Step::EpsvConnect => {
                format!("no data connection to port {port} within {timeout:?}: is the passive range firewalled?")
            }
            Step::PasvTransfer | Step::EpsvTransfer if self.data_error.is_some() => {
                format!("no final reply within {timeout:?}")
            }
            Step::PasvTransfer | Step::EpsvTransfer if self.awaits_data_handshake() => {
                format!("no end of the TLS handshake of the data connection within {timeout:?}")
            }
            Step::PasvTransfer | Step::EpsvTransfer => {
                let missing = match (closed, replied) {
                    (true, _) => "its final reply",
                    (false, true) => "the end of its data",
                    (false, false) => "the end of its data and its final reply",
                };
                format!("{bytes} bytes, and not {missing}, within {timeout:?}")
            }
            _ => format!("no answer within {timeout:?}"),
        };
        self.fail(error, elapsed);
    }

    fn awaits_data_handshake(&self) -> bool {
        let Transfer { resumed, replied, .. } = self.transfer;
        self.script.tls != HealthCheckTls::None && resumed.is_none() && !replied
    }

    fn send(&mut self, step: Step, line: Vec<u8>, elapsed: Duration) {
        self.enter(step, elapsed);
        self.actions.push_back(ProbeAction::Send(line));
    }

    fn quit(&mut self, elapsed: Duration) {
        self.send(Step::Quit, b"QUIT\r\n".to_vec(), elapsed);
    }

    fn pass(&mut self, elapsed: Duration) {
        self.end_step(elapsed);
        self.conclude(ProbeOutcome::Good, None);
    }

    fn fail(&mut self, error: String, elapsed: Duration) {
        let error = match self.data_error.take() {
            Some(first) => format!("{first}; {error}"),
            None => error,
        };
        self.finish(ProbeOutcome::Bad, error, elapsed);
    }

    fn finish(&mut self, outcome: ProbeOutcome, error: String, elapsed: Duration) {
        self.end_step(elapsed);
        self.conclude(outcome, Some(Failure { step: self.step, error }));
    }

    fn conclude(&mut self, outcome: ProbeOutcome, failure: Option<Failure>) {
        let (steps, certificate_ends) = (std::mem::take(&mut self.steps), self.certificate_ends);
        self.report = Some(ProbeReport { outcome, steps, failure, certificate_ends });
    }

    fn enter(&mut self, step: Step, elapsed: Duration) {
        self.end_step(elapsed);
        (self.step, self.began) = (step, elapsed);
    }

    fn end_step(&mut self, elapsed: Duration) {
        self.steps.push((self.step, elapsed.saturating_sub(self.began)));
    }
}

fn said(reply: &Reply) -> String {
    format!("the server said {:?}", reply.words)
}
