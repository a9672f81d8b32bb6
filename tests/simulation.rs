//! Many control connections at once over a network that loses, doubles and delays, with time.
//!
//! Every connection must come to its end, both sides must get every byte as the inspector decided it, and nothing may
//! be left behind. A failing seed is in the message; `SEED=… cargo test --test simulation` repeats it.

#![allow(clippy::expect_used, reason = "a test's helpers")]

#[path = "transcript/mod.rs"]
mod transcript;

use std::collections::BinaryHeap;

use ftpdirector::facade::ftp::{Direction, Event, Flags};
use transcript::{Run, Setting};

/// What the client says, what the server answers, and what the client must read.
const DIALOGUE: &[(&str, &str, &str)] = &[
    ("USER a", "331 x", "331 x"),
    ("PASS b", "230-hello\r\n you\r\n230 in", "230-hello\r\n you\r\n230 in"),
    ("PASV", "227 Entering Passive Mode (10,0,0,11,121,26).", "227 Entering Passive Mode(192,0,2,10,121,26)."),
    ("RETR x", "150 x\r\n226 x", "150 x\r\n226 x"),
    ("EPSV", "229 Entering Extended Passive Mode (|||31004|)", "229 Entering Extended Passive Mode (|||31004|)"),
    ("LIST", "150 x\r\n226 x", "150 x\r\n226 x"),
    ("PORT 198,51,100,7,200,10", "200 x", "200 x"),
    ("STOR y", "150 x\r\n226 x", "150 x\r\n226 x"),
    ("QUIT", "221 x", "221 x"),
];

/// Connections of one simulation.
const CONNECTIONS: usize = 50;

/// Round-trip and retransmission times, in milliseconds.
const DELAY: u64 = 20;
const RETRANSMIT: u64 = 250;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }
}

/// One side of one connection: what it has to send and what it got.
#[derive(Default)]
struct End {
    sent: Vec<u8>,
    acknowledged: usize,
    got: Vec<u8>,
    /// Pieces that came too early.
    early: Vec<(usize, Vec<u8>)>,
}

struct Connection {
    run: Run,
    start: [u32; 2],
    /// By direction: 0 is what the client sends.
    ends: [End; 2],
    step: usize,
}

/// `Reverse` by hand: (time, tie, connection, direction).
type Due = (std::cmp::Reverse<u64>, u64, usize, usize);

struct Network {
    random: Random,
    connections: Vec<Connection>,
    due: BinaryHeap<Due>,
    tie: u64,
}

impl Network {
    fn new(seed: u64, connections: usize) -> Self {
        let connections = (0..connections).map(|_| {
            let run = Run::new(Setting::default());
            let start = [run.next(Direction::ToServer), run.next(Direction::ToClient)];
            Connection { run, start, ends: Default::default(), step: 0 }
        });
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self { random, connections: connections.collect(), due: BinaryHeap::new(), tie: 0 }
    }

    fn at(&mut self, time: u64, which: usize, side: usize) {
        self.tie += 1;
        self.due.push((std::cmp::Reverse(time), self.tie, which, side));
    }

    /// The next command, when the last was answered.
    fn talk(&mut self, now: u64, which: usize) {
        let connection = &mut self.connections[which];
        let asked: usize = DIALOGUE[..connection.step].iter().map(|(command, ..)| command.len() + 2).sum();
        let told: usize = DIALOGUE[..connection.step].iter().map(|(.., told)| told.len() + 2).sum();
        let [client, server] = &mut connection.ends;
        if server.got.len() == told && client.got.len() == asked && connection.step < DIALOGUE.len() {
            client.sent.extend(format!("{}\r\n", DIALOGUE[connection.step].0).bytes());
            connection.step += 1;
            self.at(now, which, 0);
        }
        let connection = &mut self.connections[which];
        let heard = connection.ends[0].got.len();
        let due: usize = DIALOGUE[..connection.step].iter().map(|(command, ..)| command.len() + 2).sum();
        let answered: usize = DIALOGUE[..connection.step].iter().map(|(_, reply, _)| reply.len() + 2).sum();
        if heard == due && connection.ends[1].sent.len() < answered {
            let reply = DIALOGUE[connection.step - 1].1;
            connection.ends[1].sent.extend(format!("{reply}\r\n").bytes());
            self.at(now, which, 1);
        }
    }

    /// Sends what is not acknowledged, in pieces, some of which are lost before the director.
    fn transmit(&mut self, now: u64, which: usize, side: usize) {
        let connection = &mut self.connections[which];
        let (from, to) = (connection.ends[side].acknowledged, connection.ends[side].sent.len());
        if from == to {
            return;
        }
        let mut pieces = vec![];
        let mut at = from;
        while at < to {
            let length = 1 + usize::try_from(self.random.below(40)).expect("a length");
            pieces.push((at, (at + length).min(to)));
            at = (at + length).min(to);
        }
        if self.random.below(4) == 0 {
            pieces.reverse();
        }
        for (from, to) in pieces {
            if self.random.below(100) < 15 {
                continue;
            }
            let connection = &mut self.connections[which];
            let bytes = connection.ends[side].sent[from..to].to_vec();
            let seq = connection.start[side].wrapping_add(u32::try_from(from).expect("a short stream"));
            let direction = [Direction::ToServer, Direction::ToClient][side];
            connection.run.pass(now.saturating_sub(connection.run.now));
            connection.run.segment(direction, seq, Flags::ACK, bytes);
        }
        self.deliver(which);
        self.at(now + RETRANSMIT, which, side);
        self.talk(now + DELAY, which);
    }

    /// What the director released arrives, or is lost behind it.
    fn deliver(&mut self, which: usize) {
        let connection = &mut self.connections[which];
        for (direction, seq, bytes, _) in std::mem::take(&mut connection.run.released) {
            if self.random.below(100) < 10 {
                continue;
            }
            let side = direction as usize;
            let at = seq.wrapping_sub(connection.start[side]) as usize;
            let end = &mut connection.ends[side];
            end.early.push((at, bytes));
            while let Some(next) = end.early.iter().position(|(at, _)| *at <= end.got.len()) {
                let (at, bytes) = end.early.swap_remove(next);
                let known = end.got.len() - at;
                let again = known.min(bytes.len());
                assert_eq!(end.got[at..at + again], bytes[..again], "a retransmission differs");
                end.got.extend(&bytes[again..]);
            }
            end.acknowledged = end.got.len();
            let acknowledged = u32::try_from(end.got.len()).expect("a short stream");
            connection.run.acked[1 - side] = connection.start[side].wrapping_add(acknowledged);
        }
    }

    fn run(&mut self) -> u64 {
        for which in 0..self.connections.len() {
            let start = self.random.below(1000);
            self.talk(start, which);
        }
        let mut last = 0;
        while let Some((std::cmp::Reverse(now), _, which, side)) = self.due.pop() {
            last = now;
            assert!(now < 600_000, "a connection never ends");
            let connection = &mut self.connections[which];
            connection.run.pass(now.saturating_sub(connection.run.now));
            self.deliver(which);
            self.talk(now, which);
            self.transmit(now, which, side);
        }
        last
    }
}

/// The numbers of a 227, or any other line as it is: a 227 that had to leave in parts is worded differently.
fn meaning(line: &str) -> &str {
    match (line.starts_with("227 "), line.find('(')) {
        (true, Some(at)) => line[at..].trim_end_matches([' ', '.']),
        _ => line,
    }
}

/// Returns how many connections got their 227 unchanged, because the network kept its parts apart for too long.
fn simulate(seed: u64) -> usize {
    let mut network = Network::new(seed, CONNECTIONS);
    network.run();
    let mut unchanged = 0;
    for connection in &mut network.connections {
        let asked: String = DIALOGUE.iter().map(|(command, ..)| format!("{command}\r\n")).collect();
        assert_eq!(String::from_utf8_lossy(&connection.ends[0].got), asked, "seed {seed}");
        let told = String::from_utf8_lossy(&connection.ends[1].got).into_owned();
        let spoken: Vec<_> = told.lines().map(meaning).collect();
        let wanted = |late: bool| -> Vec<_> {
            DIALOGUE.iter().flat_map(|(_, said, told)| if late { said } else { told }.lines()).map(meaning).collect()
        };
        let late = spoken == wanted(true);
        let gave_up = |event: &Event| matches!(event, Event::NoRoom { .. } | Event::UnparsedReply { .. });
        let events = &connection.run.events;
        assert!(late || spoken == wanted(false), "seed {seed}: {spoken:#?}");
        assert!(!late || events.iter().any(gave_up), "seed {seed}: unchanged, but not counted: {events:?}");
        assert!(!events.iter().any(|event| matches!(event, Event::Blind { .. })), "seed {seed}: {events:?}");
        let expects = |event: &&Event| matches!(event, Event::ExpectPassive { .. } | Event::ExpectActive { .. });
        assert!(late || events.iter().filter(expects).count() == 3, "seed {seed}: {events:?}");
        connection.run.pass(60_000);
        assert!(!connection.run.is_holding() && connection.run.session.deadline().is_none(), "seed {seed}");
        unchanged += usize::from(late);
    }
    unchanged
}

#[test]
fn connections_over_a_bad_network_come_to_their_end() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (1..=40).collect::<Vec<u64>>(),
    };
    let all = seeds.len() * CONNECTIONS;
    let unchanged: usize = seeds.into_iter().map(simulate).sum();
    assert!(unchanged * 100 <= all, "{unchanged} of {all} connections got their 227 unchanged");
}
