//! Small FTP servers on loopback that speak TLS.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, version};

use super::certificates::Shown;

/// How a server behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// As it should, in TLS 1.3 and 1.2.
    Fine,
    /// As it should, in TLS 1.2 alone.
    Older,
    /// Gives nobody a session to resume.
    Forgetful,
    /// Knows no AUTH.
    Clear,
    /// Names a passive port where nobody listens.
    Closed,
    /// Takes nobody's password, and repeats it.
    RefusesLogin,
    /// Begins TLS and says nothing more.
    Silent,
    /// Says something else than TLS where TLS should be, without end.
    Babbles,
    /// Begins a message of 16 MiB in the handshake, and goes on with it.
    Swells,
}

/// What a server saw.
#[derive(Default)]
pub struct Seen {
    pub control: Vec<HandshakeKind>,
    pub data: Vec<HandshakeKind>,
    pub passwords: Vec<String>,
}

/// A server on an address of its own.
pub struct SecureServer {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl SecureServer {
    /// As vsftpd with `require_ssl_reuse=YES`: a data connection must resume the session.
    pub fn start(address: &str, implicit: bool, shown: &Shown, habit: Habit) -> Self {
        let listener = TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, seen) = (config(shown, habit), Arc::<Mutex<Seen>>::default());
        let all = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, seen) = (Arc::clone(&tls), Arc::clone(&all));
                // A client that goes away is none of the test's business.
                thread::spawn(move || drop(serve(stream, &Server { implicit, habit, tls, seen })));
            }
        });
        Self { address, seen }
    }

    /// What the server saw so far.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }
}

fn config(shown: &Shown, habit: Habit) -> Arc<ServerConfig> {
    const OLDER: &[&SupportedProtocolVersion] = &[&version::TLS12];
    let versions = if habit == Habit::Older { OLDER } else { rustls::ALL_VERSIONS };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(shown.chain.clone(), shown.key.clone_key())
        .unwrap();
    if habit == Habit::Forgetful {
        (config.session_storage, config.send_tls13_tickets) = (Arc::new(NoServerSessionStorage {}), 0);
    }
    Arc::new(config)
}

struct Server {
    implicit: bool,
    habit: Habit,
    tls: Arc<ServerConfig>,
    seen: Arc<Mutex<Seen>>,
}

/// A connection, clear or not.
trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

impl Server {
    /// The handshake, to its end.
    fn secure(&self, mut stream: TcpStream) -> std::io::Result<(Box<dyn Wire>, HandshakeKind)> {
        let mut tls = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        let kind = tls.handshake_kind().unwrap();
        Ok((Box::new(StreamOwned::new(tls, stream)), kind))
    }

    fn secure_control(&self, stream: &TcpStream) -> std::io::Result<Box<dyn Wire>> {
        match self.habit {
            Habit::Silent => drop(std::io::copy(&mut stream.try_clone()?, &mut std::io::sink())),
            Habit::Babbles => {
                stream.try_clone()?.read_exact(&mut [0])?;
                loop {
                    stream.try_clone()?.write_all(b"220 this is no TLS, and it goes on and on\r\n")?;
                }
            }
            Habit::Swells => {
                // A record of 16 KiB whose first four bytes announce a ServerHello of 2^24 - 1.
                let (record, message) = ([22, 3, 3, 0x40, 0], [2, 0xff, 0xff, 0xff]);
                stream.try_clone()?.write_all(&[&record[..], &message, &[0; 0x4000 - 4]].concat())?;
                loop {
                    stream.try_clone()?.write_all(&[&record[..], &[0; 0x4000]].concat())?;
                }
            }
            _ => {}
        }
        let (control, kind) = self.secure(stream.try_clone()?)?;
        self.seen.lock().unwrap().control.push(kind);
        Ok(control)
    }
}

fn serve(stream: TcpStream, server: &Server) -> std::io::Result<()> {
    let local = stream.local_addr()?.ip();
    let mut control: Box<dyn Wire> =
        if server.implicit { server.secure_control(&stream)? } else { Box::new(stream.try_clone()?) };
    let (mut listener, mut private) = (None, false);
    say(&mut control, "220 ready")?;
    loop {
        let line = line(&mut control)?;
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match verb {
            "AUTH" if server.habit == Habit::Clear => say(&mut control, "502 AUTH?")?,
            "AUTH" => {
                say(&mut control, "234 Go on")?;
                control = server.secure_control(&stream)?;
            }
            "PBSZ" => say(&mut control, "200 PBSZ=0")?,
            "PROT" => {
                private = argument == "P";
                say(&mut control, "200 Private")?;
            }
            "USER" => say(&mut control, "331 Password?")?,
            "PASS" => {
                server.seen.lock().unwrap().passwords.push(argument.to_owned());
                match server.habit {
                    Habit::RefusesLogin => say(&mut control, &format!("530 No access with {argument}"))?,
                    _ => say(&mut control, "230 Welcome")?,
                }
            }
            "PASV" | "EPSV" => {
                let (open, reply) = passive(local, verb)?;
                listener = Some(open).filter(|_| server.habit != Habit::Closed);
                say(&mut control, &reply)?;
            }
            "LIST" => {
                let reply = transfer(server, &mut control, &listener.take().unwrap(), private)?;
                say(&mut control, reply)?;
            }
            _ => return say(&mut control, "221 Bye"),
        }
    }
}

fn passive(local: IpAddr, verb: &str) -> std::io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind((local, 0))?;
    let port = listener.local_addr()?.port();
    let reply = match verb {
        "PASV" => format!("227 Entering Passive Mode (127,0,0,1,{},{}).", port >> 8, port & 0xff),
        _ => format!("229 Entering Extended Passive Mode (|||{port}|)"),
    };
    Ok((listener, reply))
}

fn transfer(
    server: &Server,
    control: &mut Box<dyn Wire>,
    listener: &TcpListener,
    private: bool,
) -> std::io::Result<&'static str> {
    let (data, _) = listener.accept()?;
    say(control, "150 Here it comes")?;
    if !private {
        return Ok("521 Data connections are private here");
    }
    let Ok((mut data, kind)) = server.secure(data) else { return Ok("426 No TLS") };
    server.seen.lock().unwrap().data.push(kind);
    if kind != HandshakeKind::Resumed {
        return Ok("522 SSL connection failed; session reuse required");
    }
    // Ends without close_notify, as some do.
    data.write_all(b"-rw-r--r-- 1 0 0 4 server.txt\r\n")?;
    data.flush()?;
    Ok("226 Done")
}

fn line(from: &mut Box<dyn Wire>) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read_exact(&mut byte).is_ok() && byte != *b"\n" {
        line.push(byte[0]);
    }
    if byte != *b"\n" {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn say(to: &mut Box<dyn Wire>, words: &str) -> std::io::Result<()> {
    to.write_all(format!("{words}\r\n").as_bytes())?;
    to.flush()
}
