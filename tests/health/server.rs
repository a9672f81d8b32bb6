//! Small FTP servers on loopback that behave, or do not.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should, in one line each.
    Fine,
    /// As it should, with banners of many lines in odd pieces.
    Wordy,
    /// As it should, a while after each command.
    Slow,
    /// Takes nobody's password, and repeats it.
    RefusesLogin,
    /// 421 at once, and closes.
    Full,
    /// Accepts and says nothing.
    Hangs,
    /// Says nothing but a byte now and then.
    Dribbles,
    /// Names a passive port where nobody listens.
    NoPassive,
    /// Accepts the data connection and never sends or ends.
    StuckData,
    /// Is another kind of server.
    Garbage,
    /// Closes without a word.
    Mute,
}

/// A server on an address of its own.
pub struct Server {
    pub address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    passwords: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(address: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(Mutex::new(manner));
        let passwords = Arc::default();
        let (now, seen) = (Arc::clone(&manner), Arc::clone(&passwords));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let manner = *now.lock().unwrap();
                let seen = Arc::clone(&seen);
                // A client that goes away is none of the test's business.
                thread::spawn(move || drop(Session { stream, manner, seen }.serve()));
            }
        });
        Self { address, manner, passwords }
    }

    pub fn now(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// What came with PASS.
    pub fn passwords(&self) -> Vec<String> {
        self.passwords.lock().unwrap().clone()
    }
}

struct Session {
    stream: TcpStream,
    manner: Manner,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Session {
    fn serve(mut self) -> std::io::Result<()> {
        match self.manner {
            Manner::Full => return self.say("421 Too many users, try later\r\n"),
            Manner::Garbage => return self.say("SSH-2.0-OpenSSH_9.2p1\r\n"),
            Manner::Mute => return self.stream.shutdown(Shutdown::Both),
            Manner::Hangs => return self.wait_for_end(),
            Manner::Dribbles => loop {
                self.say("2")?;
                thread::sleep(Duration::from_millis(100));
            },
            Manner::Wordy => {
                for piece in ["220-Wel", "come\r\n220 ", "ready\r", "\n"] {
                    self.say(piece)?;
                    thread::sleep(Duration::from_millis(5));
                }
            }
            _ => self.say("220 ready\r\n")?,
        }
        let mut lines = BufReader::new(self.stream.try_clone()?).lines();
        let mut listener = None;
        while let Some(line) = lines.next().transpose()? {
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            if self.manner == Manner::Slow {
                thread::sleep(Duration::from_millis(60));
            }
            match verb {
                "USER" => self.say("331 Password?\r\n")?,
                "PASS" => {
                    self.seen.lock().unwrap().push(argument.to_owned());
                    match self.manner {
                        Manner::RefusesLogin => self.say(&format!("530 No access with {argument}\r\n"))?,
                        Manner::Wordy => self.say("230-Rules:\r\n  1. none\r\n230 Welcome\r\n")?,
                        _ => self.say("230 Welcome\r\n")?,
                    }
                }
                "PASV" | "EPSV" => listener = self.passive(verb)?,
                "LIST" | "RETR" => self.transfer(listener.take().unwrap())?,
                _ => {
                    return self.say("221 Bye\r\n");
                }
            }
        }
        Ok(())
    }

    fn passive(&mut self, verb: &str) -> std::io::Result<Option<TcpListener>> {
        let listener = TcpListener::bind((self.stream.local_addr()?.ip(), 0))?;
        let port = listener.local_addr()?.port();
        let open = self.manner != Manner::NoPassive;
        // Closed before the client can know of it.
        let listener = open.then_some(listener);
        if verb == "PASV" {
            // An address that leads nowhere: it must not be believed.
            self.say(&format!("227 Entering Passive Mode (192,0,2,1,{},{}).\r\n", port >> 8, port & 0xff))?;
        } else {
            self.say(&format!("229 Entering Extended Passive Mode (|||{port}|)\r\n"))?;
        }
        Ok(listener)
    }

    fn transfer(&mut self, listener: TcpListener) -> std::io::Result<()> {
        let (mut data, _) = listener.accept()?;
        self.say("150 Here it comes\r\n")?;
        if self.manner == Manner::StuckData {
            return self.wait_for_end();
        }
        data.write_all(b"-rw-r--r-- 1 0 0 4 server.txt\r\n")?;
        drop(data);
        self.say("226 Done\r\n")
    }

    fn say(&mut self, words: &str) -> std::io::Result<()> {
        self.stream.write_all(words.as_bytes())
    }

    fn wait_for_end(&mut self) -> std::io::Result<()> {
        std::io::copy(&mut self.stream, &mut std::io::sink()).map(drop)
    }
}
