//! Transcripts: a dialogue, and what a session makes of it.
//!
//! ```text
//! # comment
//! @ forwarding nat          nat (default), dr or tun
//! @ advertise 192.0.2.10    the address for 227s; `none` leaves the server's
//! @ public                  a reply that cannot say what `tell` tells, or tells 9, becomes a refusal
//! @ bounce allow            default: reject
//! @ line 64                 longest command
//! @ tls                     implicit TLS
//! @ client [2001:db8::7]:40000
//! @ tell 31002 31500        a port that the client is told instead of the server's
//! C> EPSV                   a line of the client, with CR LF
//! S| 229 (|||31\x30         bytes of the server, as they are: \r \n \\ and \xNN
//! C! fin                    a segment without payload: fin, rst, rst ack, syn
//! .. 200                    milliseconds pass
//! => command EPSV           what the session tells
//! => S| 227 (192,…          what it makes of the bytes, if something else
//! => held                   the segment is not released yet; `=> S| …` when it is
//! => dropped                TCP has to send it again, which it does behind every further segment
//! ```

#![allow(clippy::expect_used, dead_code, reason = "a helper of several tests, none of which uses all of it")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use ftpdirector::facade::ftp::{
    Bounce, Context, Direction, Event, Flags, Policy, Replies, Segment, Session, Syn, Told, Verdict,
};
use ftpdirector::facade::time::Time;

/// A step of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Bytes(Direction, Vec<u8>),
    Flag(Direction, Flags),
    Pass(u64),
}

/// A parsed transcript.
#[derive(Clone, Debug)]
pub struct Transcript {
    pub setting: Setting,
    pub steps: Vec<Step>,
    /// The lines of the file, with the steps' indexes: what `=>` lines are put behind.
    lines: Vec<(String, Option<usize>)>,
    expected: Vec<Vec<String>>,
}

/// What surrounds a session.
#[derive(Clone, Debug)]
pub struct Setting {
    pub policy: Policy,
    pub client: SocketAddr,
    pub tell: BTreeMap<u16, u16>,
}

impl Default for Setting {
    fn default() -> Self {
        let policy = Policy {
            replies: Replies::Seen,
            advertise: Some(Ipv4Addr::new(192, 0, 2, 10)),
            bounce: Bounce::Reject,
            line_limit: 4096,
            implicit_tls: false,
            names: false,
            public_ports: false,
        };
        Self { policy, client: SocketAddr::from(([198, 51, 100, 7], 40_000)), tell: BTreeMap::new() }
    }
}

impl Setting {
    fn read(&mut self, words: &[&str]) {
        match words {
            ["forwarding", "nat"] => self.policy.replies = Replies::Seen,
            ["forwarding", "dr" | "tun"] => (self.policy.replies, self.policy.advertise) = (Replies::Unseen, None),
            ["advertise", address] => self.policy.advertise = address.parse().ok(),
            ["bounce", "allow"] => self.policy.bounce = Bounce::Allow,
            ["line", limit] => self.policy.line_limit = limit.parse().expect("a number"),
            ["tls"] => self.policy.implicit_tls = true,
            ["public"] => self.policy.public_ports = true,
            ["client", address] => self.client = address.parse().expect("an address and port"),
            ["tell", from, to] => {
                self.tell.insert(from.parse().expect("a port"), to.parse().expect("a port"));
            }
            other => panic!("unknown setting: {other:?}"),
        }
    }
}

impl Transcript {
    pub fn parse(text: &str) -> Self {
        let mut out = Self { setting: Setting::default(), steps: vec![], lines: vec![], expected: vec![] };
        for line in text.lines() {
            let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            let step = match mark {
                "=>" => {
                    out.expected.last_mut().expect("a step before what is expected").push(rest.to_owned());
                    continue;
                }
                "@ " => {
                    out.setting.read(&rest.split_whitespace().collect::<Vec<_>>());
                    None
                }
                "C>" | "S>" => Some(Step::Bytes(side(mark), [unescape(rest), b"\r\n".to_vec()].concat())),
                "C|" | "S|" => Some(Step::Bytes(side(mark), unescape(rest))),
                "C!" | "S!" => Some(Step::Flag(side(mark), flag(rest))),
                ".." => Some(Step::Pass(rest.trim().parse().expect("milliseconds"))),
                _ => {
                    assert!(line.is_empty() || line.starts_with('#'), "what is this? {line:?}");
                    None
                }
            };
            out.lines.push((line.to_owned(), step.as_ref().map(|_| out.steps.len())));
            if let Some(step) = step {
                out.steps.push(step);
                out.expected.push(vec![]);
            }
        }
        out
    }

    /// What happens, step by step.
    pub fn told(&self) -> Vec<Vec<String>> {
        let mut run = Run::new(self.setting.clone());
        self.steps.iter().map(|step| run.step(step)).collect()
    }

    pub fn expected(&self) -> &[Vec<String>] {
        &self.expected
    }

    /// The file with `told` for its `=>` lines.
    pub fn blessed(&self, told: &[Vec<String>]) -> String {
        let mut out = String::new();
        for (line, step) in &self.lines {
            out.push_str(line);
            out.push('\n');
            for told in step.map(|step| &told[step]).into_iter().flatten() {
                out.push_str(&format!("=> {told}\n"));
            }
        }
        out
    }
}

fn side(mark: &str) -> Direction {
    if mark.starts_with('C') { Direction::ToServer } else { Direction::ToClient }
}

fn flag(name: &str) -> Flags {
    match name {
        "fin" => Flags::FIN.with(Flags::ACK),
        "rst" => Flags::RST,
        "rst ack" => Flags::RST.with(Flags::ACK),
        "syn" => Flags::SYN,
        other => panic!("unknown flag {other:?}"),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = vec![];
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'\\', [b'r', tail @ ..]) => (b'\r', tail),
            (b'\\', [b'n', tail @ ..]) => (b'\n', tail),
            (b'\\', [b'\\', tail @ ..]) => (b'\\', tail),
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digit = |c: &u8| char::from(*c).to_digit(16).expect("a hexadecimal digit") as u8;
                (digit(high) << 4 | digit(low), tail)
            }
            (byte, tail) => (*byte, tail),
        };
        out.push(byte);
        rest = tail;
    }
    out
}

fn escape(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'\r' => "\\r".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x20..=0x7e => char::from(*byte).to_string(),
        other => format!("\\x{other:02x}"),
    };
    bytes.iter().map(one).collect()
}

/// A session in use: keeps what is held and offers it again as the director does.
pub struct Run {
    pub session: Session,
    pub setting: Setting,
    pub now: u64,
    pub events: Vec<Event>,
    /// How often a port was asked for.
    pub asked: usize,
    /// What was released: direction, sequence number, bytes, and whether they were edited.
    pub released: Vec<(Direction, u32, Vec<u8>, bool)>,
    /// In the order of their sequence numbers.
    held: Vec<(u32, Flags, Vec<u8>)>,
    next: [u32; 2],
    /// What each side has acknowledged of the other's bytes: by direction of the acknowledgement.
    pub acked: [u32; 2],
    /// Up to where each direction's bytes have reached the other side, and what has beyond that.
    received: [u32; 2],
    beyond: Vec<(Direction, u32, u32)>,
    /// What TCP has to send again.
    pub dropped: Vec<(Direction, u32, Flags, Vec<u8>)>,
    pub syn: Syn,
}

impl Run {
    /// A connection that has just been opened.
    pub fn new(setting: Setting) -> Self {
        let mut run = Self {
            session: Session::new(),
            setting,
            now: 0,
            events: vec![],
            asked: 0,
            released: vec![],
            held: vec![],
            next: [u32::MAX - 20, 0x8000_0000],
            acked: [0x8000_0000, u32::MAX - 20],
            received: [u32::MAX - 20, 0x8000_0000],
            beyond: vec![],
            dropped: vec![],
            syn: Syn::Unseen,
        };
        for direction in [Direction::ToServer, Direction::ToClient] {
            let syn = run.next[direction as usize].wrapping_sub(1);
            run.offer(direction, syn, Flags::SYN, vec![]);
        }
        run.released.clear();
        run
    }

    pub const fn next(&self, direction: Direction) -> u32 {
        self.next[direction as usize]
    }

    /// Another connection's numbers.
    pub fn jump(&mut self, direction: Direction, by: u32) {
        let next = &mut self.next[direction as usize];
        *next = next.wrapping_add(by);
    }

    pub const fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// The next bytes of a direction.
    pub fn send(&mut self, direction: Direction, bytes: &[u8]) {
        let seq = self.next(direction);
        self.next[direction as usize] = seq.wrapping_add(u32::try_from(bytes.len()).expect("a segment"));
        self.acked[direction as usize] = self.received[1 - direction as usize];
        self.segment(direction, seq, Flags::ACK, bytes.to_vec());
    }

    /// Any segment, and what is held once more.
    pub fn segment(&mut self, direction: Direction, seq: u32, flags: Flags, bytes: Vec<u8>) {
        let told = self.events.len();
        self.offer(direction, seq, flags, bytes);
        if self.events[told..].contains(&Event::End) {
            let held = std::mem::take(&mut self.held).into_iter();
            self.released.extend(held.map(|(seq, _, bytes)| (Direction::ToClient, seq, bytes, false)));
        }
        self.offer_held();
        self.repeat_dropped();
    }

    /// What is in order is acknowledged.
    fn receive(&mut self, direction: Direction, seq: u32, length: usize) {
        let end = seq.wrapping_add(u32::try_from(length).expect("a segment"));
        self.beyond.push((direction, seq, end));
        let mut before = usize::MAX;
        while self.beyond.len() < before {
            before = self.beyond.len();
            let received = &mut self.received;
            self.beyond.retain(|(direction, seq, end)| {
                let next = &mut received[*direction as usize];
                let (behind, ahead) = (seq.wrapping_sub(*next).cast_signed(), end.wrapping_sub(*next).cast_signed());
                if behind <= 0 && ahead > 0 {
                    *next = *end;
                }
                behind > 0 && behind < 1 << 18
            });
        }
    }

    /// There is no memory left.
    pub fn give_up_memory(&mut self) {
        self.session.give_up_memory(&mut self.events);
        self.offer_held();
    }

    /// TCP sends again what was dropped.
    fn repeat_dropped(&mut self) {
        let mut before = usize::MAX;
        while self.dropped.len() < before {
            before = self.dropped.len();
            for (direction, seq, flags, bytes) in std::mem::take(&mut self.dropped) {
                self.offer(direction, seq, flags, bytes);
            }
        }
        self.dropped.truncate(16);
    }

    /// Time passes; deadlines are met on the way.
    pub fn pass(&mut self, millis: u64) {
        let until = self.now + millis;
        while let Some(at) = self.session.deadline().filter(|at| at.as_millis() <= until) {
            self.now = self.now.max(at.as_millis());
            let context = Context {
                now: Time::from_millis(self.now),
                policy: &self.setting.policy,
                client: self.setting.client,
                syn: self.syn,
            };
            self.session.timeout(&context, &mut self.events);
            self.offer_held();
        }
        self.now = until;
    }

    fn offer_held(&mut self) {
        let mut came_out = true;
        while came_out {
            came_out = false;
            for (seq, flags, bytes) in std::mem::take(&mut self.held) {
                came_out |= self.offer(Direction::ToClient, seq, flags, bytes);
            }
        }
    }

    fn offer(&mut self, direction: Direction, seq: u32, flags: Flags, mut bytes: Vec<u8>) -> bool {
        let length = bytes.len();
        let verdict = loop {
            match self.verdict(direction, seq, flags, &mut bytes) {
                Verdict::More => {}
                verdict => break verdict,
            }
        };
        assert_eq!(bytes.len(), length);
        match verdict {
            Verdict::Hold => {
                assert_eq!(direction, Direction::ToClient, "commands are never held");
                let at = self.held.partition_point(|(held, ..)| held.wrapping_sub(seq).cast_signed() <= 0);
                self.held.insert(at, (seq, flags, bytes));
                false
            }
            Verdict::More => unreachable!("it was offered until it was read"),
            Verdict::Drop => {
                self.dropped.push((direction, seq, flags, bytes));
                false
            }
            Verdict::Pass | Verdict::Edited => {
                self.receive(direction, seq, bytes.len());
                self.released.push((direction, seq, bytes, verdict == Verdict::Edited));
                true
            }
        }
    }

    /// What the session says to one segment.
    pub fn verdict(&mut self, direction: Direction, seq: u32, flags: Flags, bytes: &mut [u8]) -> Verdict {
        let context = Context {
            now: Time::from_millis(self.now),
            policy: &self.setting.policy,
            client: self.setting.client,
            syn: self.syn,
        };
        let ack = self.acked[direction as usize];
        let mut segment = Segment { direction, seq, ack, flags, payload: bytes };
        let (tell, asked) = (&self.setting.tell, &mut self.asked);
        let mut ports = |port| {
            *asked += 1;
            Told::Port(tell.get(&port).copied().unwrap_or(port))
        };
        let before = self.events.len();
        let verdict = self.session.segment(&context, &mut segment, &mut ports, &mut self.events);
        let told = self.events.len() - before;
        assert!(told <= 300, "{told} events in one go");
        verdict
    }

    fn step(&mut self, step: &Step) -> Vec<String> {
        let (holding, dropped) = (self.held.len(), self.dropped.len());
        let plain = match step {
            Step::Bytes(direction, bytes) => {
                self.send(*direction, bytes);
                Some(bytes)
            }
            Step::Flag(direction, flags) => {
                let seq = self.next(*direction);
                self.segment(*direction, seq, *flags, vec![]);
                None
            }
            Step::Pass(millis) => {
                self.pass(*millis);
                None
            }
        };
        let mut told: Vec<String> = self.events.drain(..).map(|event| event.to_string()).collect();
        if self.held.len() > holding {
            told.push("held".to_owned());
        }
        if self.dropped.len() > dropped {
            told.push("dropped".to_owned());
        }
        for (direction, _, bytes, edited) in self.released.drain(..) {
            if !bytes.is_empty() && (edited || plain != Some(&bytes)) {
                let side = if direction == Direction::ToServer { 'C' } else { 'S' };
                told.push(format!("{side}| {}", escape(&bytes)));
            }
        }
        told
    }
}
