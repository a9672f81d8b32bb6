//! What an input says: four bytes that choose the configuration, then cells of four bytes, one step each.

use std::net::IpAddr;

use super::super::Random;

/// The bytes of a cell.
pub(super) const CELL: usize = 4;
/// No input has more.
const CELLS: usize = 48;

/// One step: what, whose, and two parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub step: Step,
    pub who: u8,
    pub a: u8,
    pub b: u8,
}

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Step {
            $($(#[$doc])* $step,)*
        }

        pub(super) const STEPS: &[Step] = &[$(Step::$step,)*];
    };
}

steps! {
    /// The client says line `a` with port `b`.
    Say,
    /// The server gives answer `a` with port `b`.
    Answer,
    /// What was said leaves in two segments, cut behind `a` bytes; `b`: in which order.
    Send,
    /// A segment of `b` bytes is repeated, from `a` bytes before the end.
    Repeat,
    /// Time passes.
    Wait,
    /// What becomes of rows.
    Rows,
    /// A data connection comes to port `b`.
    Land,
    /// A connection is opened, to server `a`.
    Open,
    /// A connection is closed.
    Close,
    /// Somebody else sends a segment that claims to be of this connection: flags `a`, text `b`.
    Forge,
    /// The last `a` cells once more, `b` times.
    Again,
    /// The next `a` cells are bytes that the client (or the server) sends.
    Raw,
    /// IPVS is made to remember the connection.
    Keep,
}

impl Cell {
    pub(super) fn read(&[step, who, a, b]: &[u8; CELL]) -> Self {
        Self { step: STEPS[usize::from(step) % STEPS.len()], who, a, b }
    }

    /// Whether what is said is not sent yet.
    pub(super) fn more(self) -> bool {
        self.who & 0x80 != 0
    }

    /// Whether it is about the server's half.
    pub(super) fn server(self) -> bool {
        self.who & 0x08 != 0
    }

    /// How often it is said in one segment.
    pub(super) fn times(self) -> usize {
        match (self.who & 0x40, self.b >> 4) {
            (0, _) => 1,
            (_, few @ ..8) => 1 + usize::from(few),
            _ => 32,
        }
    }
}

pub(super) const SLOTS: u8 = 8;

/// What a client can say.
pub(super) const SAID: &[&str] = &[
    "USER joe\r\n",
    "NOOP\r\n",
    "PASV\r\n",
    "EPSV\r\n",
    "LPSV\r\n",
    "CPSV\r\n",
    "EPSV ALL\r\n",
    "EPSV 9\r\n",
    "PORT {o},{p}\r\n",
    "EPRT |{f}|{O}|{P}|\r\n",
    "LPRT {l},2,{p}\r\n",
    "PORT {t},{p}\r\n",
    "EPRT |{f}|{T}|{P}|\r\n",
    "RETR x\r\n",
    "LIST\r\n",
    "ABOR\r\n",
    "QUIT\r\n",
    "REIN\r\n",
    "AUTH TLS\r\n",
    "CCC\r\n",
    "STAT\r\n",
    "X\n227 ({o},{p})\r\n",
    "X\n227\t(1,1,1,1,{p})\r\n",
    "X\n229 (|||{P}|)\r\n",
    "PASV\n",
    "PORT {o},{p}\n",
    "\r\n",
    "\u{1}\r\n",
    "\u{16}\u{3}\u{1}",
    "\u{17}\u{3}\u{3}x",
    "PORT {t},{p},aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    "\u{ff}\u{f4}ABOR\r\n",
    "SITE 227 ({o},{p})\r\n",
    "PORT {o},{p}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// What an honest server can answer: each of these answers the next command, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Honest {
    /// With what was asked for.
    Done,
    /// With nothing.
    Refused,
    /// With the command's own text.
    Echo,
    /// With several lines, one of them the client's or a file's name.
    Several,
    /// Not yet.
    Preliminary,
    /// With what was asked for, in several lines.
    Spread,
    Greeting,
}

pub(super) const HONEST: &[Honest] = &[
    Honest::Done,
    Honest::Refused,
    Honest::Echo,
    Honest::Several,
    Honest::Preliminary,
    Honest::Spread,
    Honest::Greeting,
    Honest::Done,
];

/// The lines that a file's name or a status can put inside a reply.
pub(super) const INSIDE: &[&str] = &["227 ({s},{p})\r\n", "{e}\r\n", " 227 ({s},{p})\r\n", "229 (|||{P}|)\r\n"];

/// What a hostile server says, whatever was asked.
pub(super) const HOSTILE: &[&str] = &[
    "227 ({s},{p})\r\n",
    "229 (|||{P}|)\r\n",
    "228 (4,4,{s},2,{p})\r\n",
    "227-({s},{p})\r\n",
    "227 x\r\n",
    "211-x\r\n",
    "211 x\r\n",
    "200 ok\r\n",
    "500 no\r\n",
    "150 x\r\n",
    "226 x\r\n",
    "234 x\r\n",
    "227 ({s},{p})\n",
    "200 x\n",
    "227 (",
    "{s},{p})\r\n",
    "x\r\n",
    "220 x\r\n",
];

/// What stands in the place of the letters in braces.
pub(super) struct Terms<'a> {
    pub own: IpAddr,
    pub third: IpAddr,
    pub server: IpAddr,
    pub port: u16,
    pub echo: &'a [u8],
}

impl Terms<'_> {
    pub(super) fn fill(&self, template: &str, out: &mut Vec<u8>) {
        let mut rest = template.as_bytes();
        while let [byte, tail @ ..] = rest {
            rest = tail;
            match (byte, tail) {
                (b'{', [letter, b'}', tail @ ..]) => {
                    self.term(*letter, out);
                    rest = tail;
                }
                // a template is text: what is above 0x7f in it stands for one byte
                (0xc3, [low, tail @ ..]) => {
                    out.push(low | 0x40);
                    rest = tail;
                }
                _ => out.push(*byte),
            }
        }
    }

    fn term(&self, letter: u8, out: &mut Vec<u8>) {
        let [high, low] = self.port.to_be_bytes();
        match letter {
            b'o' => commas(self.own, out),
            b't' => commas(self.third, out),
            b's' => commas(self.server, out),
            b'l' => {
                out.extend(if self.own.is_ipv4() { &b"4,4,"[..] } else { b"6,16," });
                commas(self.own, out);
            }
            b'O' => out.extend(self.own.to_string().bytes()),
            b'T' => out.extend(self.third.to_string().bytes()),
            b'f' => out.push(if self.own.is_ipv4() { b'1' } else { b'2' }),
            b'p' => list(&[high, low], out),
            b'P' => out.extend(self.port.to_string().bytes()),
            b'e' => out.extend(self.echo),
            _ => {}
        }
    }
}

fn commas(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => list(&address.octets(), out),
        IpAddr::V6(address) => list(&address.octets(), out),
    }
}

fn list(octets: &[u8], out: &mut Vec<u8>) {
    for (number, octet) in octets.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend(octet.to_string().bytes());
    }
}

/// A port that matters: of a range, beside it, of another service, privileged.
pub(super) fn port(b: u8) -> u16 {
    let first =
        [31000, 32000, 33000, 40000, 50000, 3306, 20, 1016, 2020, 31092, 40092, 65520, 40000, 31000, 5000, 49152];
    first[usize::from(b & 0x0f)] + u16::from(b >> 4)
}

/// How long a wait is, in milliseconds.
pub(super) fn millis(a: u8) -> u64 {
    [
        1, 50, 200, 500, 1000, 2000, 3000, 5000, 9000, 9999, 10_000, 11_000, 31_000, 61_000, 300_000, 700_000,
        1_000_000, 2_000_000,
    ][usize::from(a) % 18]
}

/// Another input: cells of those that showed something.
pub(crate) fn mutate(corpus: &[Vec<u8>], _: &[&str], random: &mut Random) -> Vec<u8> {
    // the shorter of two, one of them often young: what is short says more a second
    let young = corpus.len() - if random.below(3) == 0 { corpus.len().min(64) } else { corpus.len() };
    let one = &corpus[young + random.below(corpus.len() - young)];
    let other = &corpus[random.below(corpus.len())];
    let mut input = if one.len() < other.len() { one.clone() } else { other.clone() };
    input.resize(input.len().max(CELL).next_multiple_of(CELL), 0);
    for _ in 0..=random.below(5) {
        let cells = input.len() / CELL;
        let at = (1 + random.below(cells)) * CELL;
        match random.below(14) {
            12 | 13 if at < input.len() => {
                // the same as another has: sessions meet
                let byte = 1 + random.below(CELL - 1);
                input[at + byte] = input[(1 + random.below(cells - 1)) * CELL + byte];
            }
            0 => {
                let byte = random.below(CELL);
                input[byte] ^= 1 << random.below(8);
            }
            1 | 2 if at < input.len() => {
                let byte = at + random.below(CELL);
                input[byte] = random.next() as u8;
            }
            3 if at < input.len() => {
                let byte = at + random.below(CELL);
                input[byte] ^= 1 << random.below(8);
            }
            4 if at < input.len() => {
                let to = (at + CELL * (1 + random.below(3))).min(input.len());
                input.drain(at..to);
            }
            5 if at < input.len() => {
                let to = (at + CELL * (1 + random.below(6))).min(input.len());
                let copy = input[at..to].to_vec();
                let into = (1 + random.below(cells)) * CELL;
                input.splice(into..into, copy);
            }
            6 | 7 => {
                let other = &corpus[random.below(corpus.len())];
                let from = (1 + random.below(other.len() / CELL + 1)) * CELL;
                let tail = other.get(from..).unwrap_or(&[]);
                let tail = &tail[..tail.len() / CELL * CELL];
                if random.below(2) == 0 {
                    input.truncate(at);
                    input.extend(tail);
                } else {
                    input.splice(at..at, tail[..tail.len().min(6 * CELL)].to_vec());
                }
            }
            _ => drop(input.splice(at..at, step(random))),
        }
    }
    input.truncate(CELL * (1 + CELLS));
    input
}

/// A cell that is likely to mean something.
fn step(random: &mut Random) -> [u8; CELL] {
    let likely = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 9, 9, 9, 4, 4, 2, 3, 5, 6, 7, 8, 10, 11, 12];
    let step = likely[random.below(likely.len())];
    // few connections, so that they meet
    let who = random.below(6) as u8 | [0, 0, 0, 0, 0x80, 0x40, 0x08][random.below(7)];
    [step, who, random.next() as u8, random.next() as u8]
}
