//! What the two ends of a control connection have really said: read at its source, without a network between.
//!
//! Where a line can be taken in more than one way this takes it generously: the oracle must not complain of what is right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::ground::LINE;

/// A command as the server reads it.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub text: Range<usize>,
    pub kind: Kind,
}

/// What a command is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// PASV and its like: the reply has this code.
    Passive(u16),
    Auth,
    Other,
}

/// The client's half.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub sent: Vec<u8>,
    pub commands: Vec<Command>,
    /// What PORT, EPRT and LPRT named.
    pub named: Vec<SocketAddr>,
    /// Whether it ever asked for a port.
    pub asked: bool,
    /// Whether it ever began a transfer.
    pub transferred: bool,
    /// Whether it ever said something that is no plain command: TLS, garbage, a line without an end.
    pub odd: bool,
    /// Whether it ever ended a line in a way that ends none for its server.
    pub bare: bool,
    /// Whether nobody who reads along can know which reply answers what: it said ABOR, which has one reply or two, or some
    /// of it may have gone unread.
    pub uncounted: bool,
    line: usize,
    command: usize,
}

impl Client {
    /// It says more; `bare`: its server takes LF alone for the end of a line.
    pub(super) fn say(&mut self, bytes: &[u8], bare: bool) {
        for &byte in bytes {
            self.odd |= byte != b'\t' && byte != b'\r' && byte != b'\n' && (byte.is_ascii_control() || byte >= 0x80);
            let ended = byte == b'\n' && (bare || self.sent.last() == Some(&b'\r'));
            self.sent.push(byte);
            self.odd |= self.sent.len() - self.line > LINE;
            if byte == b'\n' {
                self.read_line();
                // where a server takes both, who reads along counts as if it took one
                self.bare |= !ended || self.sent.iter().rev().nth(1) != Some(&b'\r');
            }
            if ended {
                self.read_command();
            }
        }
    }

    /// Whether who reads along may take a reply for the answer to another of its questions.
    pub(super) fn is_uncounted(&self) -> bool {
        self.asked && (self.odd || self.bare || self.uncounted)
    }

    /// A line that anyone might take for one.
    fn read_line(&mut self) {
        let line = std::mem::replace(&mut self.line, self.sent.len())..self.sent.len();
        let line = self.sent[line].to_vec();
        // what is no command may have an answer or none
        let word = line.split(|byte| !byte.is_ascii_graphic()).next().unwrap_or(&[]);
        self.uncounted |= !matches!(word.len(), 0 | 3 | 4) || !word.iter().all(u8::is_ascii_alphabetic);
        self.ask(&line);
    }

    /// What a line can ask for.
    pub(super) fn ask(&mut self, line: &[u8]) {
        let (verb, argument) = words(line);
        match &verb {
            b"PORT" => self.named.extend(port(&numbers(argument))),
            b"EPRT" => self.named.extend(extended(argument)),
            b"LPRT" => self.named.extend(long(&numbers(argument))),
            b"PASV" | b"P@SW" | b"EPSV" | b"LPSV" | b"CPSV" => self.asked = true,
            b"ABOR" => self.uncounted = true,
            b"RETR" | b"STOR" | b"STOU" | b"APPE" | b"LIST" | b"NLST" | b"MLSD" => self.transferred = true,
            _ => {}
        }
    }

    fn read_command(&mut self) {
        let text = std::mem::replace(&mut self.command, self.sent.len())..self.sent.len();
        let line = &self.sent[text.clone()];
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let (verb, argument) = words(line);
        let kind = match &verb {
            b"EPSV" if argument.trim_ascii().eq_ignore_ascii_case(b"ALL") => Kind::Other,
            b"EPSV" => Kind::Passive(229),
            b"LPSV" => Kind::Passive(228),
            b"PASV" | b"P@SW" | b"CPSV" => Kind::Passive(227),
            b"AUTH" => Kind::Auth,
            _ => Kind::Other,
        };
        self.commands.push(Command { text, kind });
    }
}

/// How a reply named a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// It answered a command that asked for one.
    Answer,
    /// It answered another command, or none.
    Elsewhere,
    /// Inside a reply of several lines.
    Inside,
    /// Behind an LF that ends no line.
    BareLf,
}

/// The server's half.
#[derive(Debug, Default)]
pub(super) struct Replies {
    pub sent: Vec<u8>,
    /// Final replies, without the greeting: as many commands are answered.
    pub finals: usize,
    /// Those among them that came before any command that they could answer: who reads along may count them or not.
    pub surplus: usize,
    /// Greetings that also answer what the client said before them: REIN and HOST have a 220 (RFC 959 §5.4, RFC 7151 §3.1).
    ambiguous: usize,
    /// The ports that it named.
    pub named: Vec<(u16, How)>,
    /// Whether it ever said something that an honest server does not say.
    pub hostile: bool,
    /// Whether others may read its lines otherwise: it plays with their ends itself, or some went unseen.
    pub crafty: bool,
    /// Whether it agreed to TLS or the like (RFC 4217 §4, RFC 2228 §3).
    pub agreed: bool,
    /// Whether what comes now is no greeting: one has come, or anything but "120, wait" (RFC 959 §5.4).
    greeted: bool,
    open: Option<u16>,
    line: usize,
    /// Where the line begins that anyone might take for one.
    piece: usize,
}

impl Replies {
    /// It says more; `bare`: it ends lines with LF alone; `left`: how much of its client has left.
    pub(super) fn say(&mut self, bytes: &[u8], bare: bool, client: &Client, left: usize) {
        for &byte in bytes {
            let ended = byte == b'\n' && (bare || self.sent.last() == Some(&b'\r'));
            self.sent.push(byte);
            if byte == b'\n' {
                let piece = std::mem::replace(&mut self.piece, self.sent.len())..self.sent.len();
                if !ended || piece.start > self.line {
                    let piece = self.sent[piece].to_vec();
                    self.tell(&piece);
                }
            }
            if ended {
                self.read_line(client, left);
            }
        }
    }

    fn read_line(&mut self, client: &Client, left: usize) {
        let range = std::mem::replace(&mut self.line, self.sent.len())..self.sent.len();
        let line = self.sent[range].to_vec();
        let (code, mark) = code_of(&line);
        let ends = |open| code == open && mark.is_ascii_whitespace();
        match self.open {
            Some(open) if !ends(open) => {
                self.name(&line, if passive(open) { (open, self.place(client)) } else { (code, How::Inside) });
            }
            _ if code == 0 => {}
            _ => {
                self.name(&line, (code, self.place(client)));
                self.open = (mark == b'-').then_some(code);
                self.agreed |= matches!(code, 234 | 235);
                if code >= 200 && mark != b'-' {
                    let greeting = code == 220 && !self.greeted && self.finals == 0;
                    let next = client.commands.get(self.finals - self.surplus);
                    // nor does a 200 too many, or a 227, stand in the place of a 229
                    let early = |command: &Command| command.text.end > left;
                    let other =
                        |command: &Command| matches!(command.kind, Kind::Passive(asked) if code < 300 && code != asked);
                    let surplus = next.is_none_or(|command| early(command) || other(command));
                    self.surplus += usize::from(!greeting && surplus);
                    let text = client.commands.first().map_or(&[][..], |command| &client.sent[command.text.clone()]);
                    self.ambiguous += usize::from(greeting && matches!(&words(text).0, b"REIN" | b"HOST"));
                    self.finals += usize::from(!greeting);
                }
                self.greeted |= mark != b'-' && code != 120;
            }
        }
    }

    /// A line that nobody but a careless reader takes for one.
    pub(super) fn tell(&mut self, line: &[u8]) {
        let (code, _) = code_of(line);
        self.agreed |= matches!(code, 234 | 235);
        self.name(line, (code, How::BareLf));
    }

    /// What a reply that comes now answers.
    fn place(&self, client: &Client) -> How {
        let may_answer = client.commands.iter().skip(self.finals - self.surplus);
        let mut answered = may_answer.take(1 + self.surplus + self.ambiguous);
        let asked = answered.any(|command| matches!(command.kind, Kind::Passive(_)));
        // who counts commands otherwise may count replies otherwise
        if asked { How::Answer } else { How::Elsewhere }
    }

    /// Every port that a line of a reply can be taken to name.
    fn name(&mut self, line: &[u8], (code, how): (u16, How)) {
        if !passive(code) && !self.crafty {
            return;
        }
        let how = if self.crafty { How::Answer } else { how };
        let numbers = numbers(line);
        if code == 229 || self.crafty {
            self.named.extend(numbers.iter().filter_map(|number| Some((u16::try_from(*number).ok()?, how))));
        }
        if code != 229 || self.crafty {
            self.named.extend(numbers.windows(2).filter_map(|pair| Some((of_bytes(pair[0], pair[1])?, how))));
        }
    }
}

const fn passive(code: u16) -> bool {
    matches!(code, 227..=229)
}

/// The code of a line, 0 if it has none, and what follows it.
fn code_of(line: &[u8]) -> (u16, u8) {
    match line {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
            let mark = rest.first().copied().unwrap_or(b' ');
            let digit = |byte: u8| u16::from(byte - b'0');
            let code = digit(*a) * 100 + digit(*b) * 10 + digit(*c);
            (
                if mark.is_ascii_whitespace() || matches!(mark, b'-' | b'(' | b'a'..=b'z' | b'A'..=b'Z') {
                    code
                } else {
                    0
                },
                mark,
            )
        }
        _ => (0, 0),
    }
}

/// The first four letters in capitals, and what follows the first word.
fn words(line: &[u8]) -> ([u8; 4], &[u8]) {
    let start = line.iter().position(u8::is_ascii_graphic).unwrap_or(line.len());
    let line = &line[start..];
    let end = line.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(line.len());
    let (word, argument) = line.split_at(end);
    let mut verb = [b' '; 4];
    if word.len() <= 4 {
        verb[..word.len()].copy_from_slice(word);
        verb.make_ascii_uppercase();
    }
    (verb, argument)
}

/// Every number of a text.
fn numbers(text: &[u8]) -> Vec<u32> {
    let runs = text.split(|byte| !byte.is_ascii_digit()).filter(|run| !run.is_empty());
    let value =
        |run: &[u8]| run.iter().fold(0_u32, |value, b| value.saturating_mul(10).saturating_add(u32::from(b - b'0')));
    runs.map(value).collect()
}

fn of_bytes(high: u32, low: u32) -> Option<u16> {
    Some(u16::from_be_bytes([u8::try_from(high).ok()?, u8::try_from(low).ok()?]))
}

fn port(numbers: &[u32]) -> Option<SocketAddr> {
    let [a, b, c, d, high, low] = *numbers.first_chunk()?;
    let octets = [a, b, c, d].map(|octet| u8::try_from(octet).ok());
    let [Some(a), Some(b), Some(c), Some(d)] = octets else { return None };
    Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), of_bytes(high, low)?))
}

fn extended(argument: &[u8]) -> Option<SocketAddr> {
    let argument = argument.trim_ascii();
    let mut fields = argument.get(1..)?.split(|byte| byte == &argument[0]);
    let (_, host, port) = (fields.next()?, fields.next()?, fields.next()?);
    let host: IpAddr = std::str::from_utf8(host.trim_ascii()).ok()?.parse().ok()?;
    Some(SocketAddr::new(host.to_canonical(), u16::try_from(*numbers(port).first()?).ok()?))
}

fn long(numbers: &[u32]) -> Option<SocketAddr> {
    match numbers {
        [4, 4, a, b, c, d, 2, high, low, ..] => port(&[*a, *b, *c, *d, *high, *low]),
        [6, 16, rest @ ..] => {
            let (host, rest) = rest.split_first_chunk::<16>()?;
            let octets: Vec<u8> = host.iter().filter_map(|octet| u8::try_from(*octet).ok()).collect();
            let host = Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?);
            let [2, high, low, ..] = rest else { return None };
            Some(SocketAddr::new(IpAddr::from(host).to_canonical(), of_bytes(*high, *low)?))
        }
        _ => None,
    }
}
