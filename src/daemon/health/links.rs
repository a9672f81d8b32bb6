//! The two connections of a probe, clear or under TLS.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::tls::{Tls, certificate_flaw, handshake_error, is_resumed};
use crate::health::{PeerCertificate, ProbeAction, ProbeEvent};

/// The probe's two connections.
pub struct Links {
    pub control: Peer,
    pub data: Peer,
    host: IpAddr,
    tls: Option<Tls>,
}

impl Links {
    /// The control connection is being opened.
    pub fn open(address: SocketAddr, tls: Option<Tls>) -> Self {
        Self { control: Peer::opening(address), data: Peer::None, host: address.ip(), tls }
    }

    pub async fn carry_out(&mut self, action: ProbeAction) {
        match action {
            // A short line always has room. Where it cannot be written, reading says why, or what the server said before
            // it closed.
            ProbeAction::Send(line) => drop(self.control.send(&line).await),
            ProbeAction::Secure => self.control.secure(self.tls.as_ref()),
            ProbeAction::SecureData => self.data.secure(self.tls.as_ref()),
            ProbeAction::ConnectData(port) => self.data = Peer::opening(SocketAddr::new(self.host, port)),
            ProbeAction::CloseData => self.data = Peer::None,
        }
    }

    /// What happened on the control connection, with what was read.
    pub fn control_event<'b>(&self, happened: Happened, buffer: &'b [u8]) -> ProbeEvent<'b> {
        match happened {
            Happened::Opened => ProbeEvent::Connected,
            Happened::Secured => ProbeEvent::Secured(self.examine(&self.control)),
            Happened::Read(length) => ProbeEvent::Received(buffer.get(..length).unwrap_or_default()),
            Happened::Closed => ProbeEvent::Closed,
            Happened::Failed(error) if is_ours(&error) => ProbeEvent::OurTrouble(error.to_string()),
            Happened::Failed(error) => ProbeEvent::Broken(error.to_string()),
            Happened::NotSecured(error) => match certificate_flaw(&error) {
                Some(flaw) => ProbeEvent::Secured(PeerCertificate { ends: None, flaw: Some(flaw) }),
                None => ProbeEvent::Broken(handshake_error(&error)),
            },
        }
    }

    /// What happened on the data connection.
    pub fn data_event<'b>(&self, happened: Happened) -> ProbeEvent<'b> {
        match happened {
            Happened::Opened => ProbeEvent::DataConnected,
            // A session that is resumed is that of the control connection, whose certificate was good.
            Happened::Secured => match (&self.data, self.examine(&self.data).flaw) {
                (Peer::Secure(stream), _) if is_resumed(stream) => ProbeEvent::DataSecured { resumed: true },
                (_, Some(flaw)) => ProbeEvent::DataBroken(flaw),
                (_, None) => ProbeEvent::DataSecured { resumed: false },
            },
            Happened::Read(length) => ProbeEvent::DataReceived(length),
            Happened::Closed => ProbeEvent::DataClosed,
            Happened::Failed(error) if is_ours(&error) => ProbeEvent::OurTrouble(error.to_string()),
            Happened::Failed(error) => ProbeEvent::DataBroken(error.to_string()),
            Happened::NotSecured(error) => {
                let why = certificate_flaw(&error).unwrap_or_else(|| handshake_error(&error));
                ProbeEvent::DataBroken(format!("TLS handshake: {why}"))
            }
        }
    }

    fn examine(&self, peer: &Peer) -> PeerCertificate {
        match (peer, &self.tls) {
            (Peer::Secure(stream), Some(tls)) => tls.examine(stream),
            _ => PeerCertificate::default(),
        }
    }
}

/// The control or the data connection of a probe.
pub enum Peer {
    None,
    Opening(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    Open(TcpStream),
    Securing(Pin<Box<tokio_rustls::Connect<TcpStream>>>),
    Secure(Box<TlsStream<TcpStream>>),
}

/// What happened on a connection.
pub enum Happened {
    Opened,
    Secured,
    Read(usize),
    Closed,
    Failed(io::Error),
    NotSecured(io::Error),
}

impl Peer {
    fn opening(to: SocketAddr) -> Self {
        Self::Opening(Box::pin(TcpStream::connect(to)))
    }

    fn secure(&mut self, tls: Option<&Tls>) {
        *self = match (std::mem::replace(self, Self::None), tls) {
            (Self::Open(stream), Some(tls)) => Self::Securing(Box::pin(tls.begin(stream))),
            (other, _) => other,
        };
    }

    async fn send(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(stream) => stream.write_all(line).await,
            Self::Secure(stream) => {
                stream.write_all(line).await?;
                stream.flush().await
            }
            Self::None | Self::Opening(_) | Self::Securing(_) => Ok(()),
        }
    }

    /// May be dropped and called again: nothing is lost.
    pub async fn next(&mut self, buffer: &mut [u8]) -> Happened {
        let happened = match self {
            Self::None => pending().await,
            Self::Opening(connect) => match connect.await {
                Ok(stream) => {
                    *self = Self::Open(stream);
                    return Happened::Opened;
                }
                Err(error) => Happened::Failed(error),
            },
            Self::Securing(handshake) => match handshake.await {
                Ok(stream) => {
                    *self = Self::Secure(Box::new(stream));
                    return Happened::Secured;
                }
                Err(error) => Happened::NotSecured(error),
            },
            Self::Open(stream) => read(stream.read(buffer).await),
            Self::Secure(stream) => read(stream.read(buffer).await),
        };
        if !matches!(happened, Happened::Read(_)) {
            self.close().await;
        }
        happened
    }

    /// Ends the connection; TLS with a word (close_notify), which some servers wait for.
    async fn close(&mut self) {
        if let Self::Secure(stream) = self {
            // A few bytes always have room.
            let _ = stream.shutdown().await;
        }
        *self = Self::None;
    }
}

fn read(result: io::Result<usize>) -> Happened {
    match result {
        Ok(0) => Happened::Closed,
        Ok(length) => Happened::Read(length),
        // Under TLS: the connection ended without the word that it does (close_notify). Whether all is there the final
        // reply says.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Happened::Closed,
        Err(error) => Happened::Failed(error),
    }
}

/// Whether an error says something of this machine and nothing of the server.
fn is_ours(error: &io::Error) -> bool {
    // EPERM: a rule of our own output chain.
    const OURS: [i32; 7] =
        [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT, libc::EPERM];
    error.raw_os_error().is_some_and(|number| OURS.contains(&number))
}
