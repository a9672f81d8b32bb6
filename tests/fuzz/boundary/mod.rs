//! The whole core between hostile clients, hostile servers and somebody who forges segments of others.
//!
//! A model keeps the kernel's rows, as the director's actions and verdicts make them, and what the ends of each connection
//! have really said. After each step every row must have been asked for by its own client and answered by its own server,
//! lead to a port that was declared, and leave alone what others need: `oracle.rs`.

mod cells;
mod ends;
mod ground;
mod kernel;
mod memory;
mod notes;
mod oracle;
mod seeds;
mod talk;
mod wire;
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use ftpdirector::facade::state::sets::Value;
use ftpdirector::facade::time::Time;

pub(super) use cells::mutate;
use cells::{CELL, Cell, HONEST, HOSTILE, Honest, INSIDE, SAID, SLOTS, Step, Terms, millis, port};
use ends::Kind;
use ground::{Ground, IDLE, LIVELY, MARKS, address};
use oracle::{Complaint, complain};
pub(super) use seeds::seeds;
use talk::{Side, Talk};
use wire::{ACK, FIN, RST, SYN, Segment};
use world::{Cause, World};

/// Connections of one execution, one after the other in as many slots.
const TALKS: usize = 24;
/// The client of each slot, and the server that it is sent to at first.
const PLACES: [([u8; 4], usize); SLOTS as usize] = {
    let (one, near, far) = ([203, 0, 113, 5], [203, 0, 113, 77], [198, 51, 100, 9]);
    [(one, 0), (one, 1), (one, 0), (near, 0), (near, 1), (far, 2), (one, 2), (near, 1)]
};
/// What is said on a connection that somebody pretends to begin.
const CLAIMED: [&[u8]; 6] = [b"NOOP\r\n", b"QUIT\r\n", b"ABOR\r\n", b"USER a\r\n", b"NOOP\r\nREIN\r\n", b"STAT\r\n"];
/// Outside every window: more than twice the 2¹⁸ bytes that a control connection can have in flight.
const ELSEWHERE: u32 = 1 << 19;

pub(super) fn run(input: &[u8]) -> Vec<u64> {
    let Some((first, rest)) = input.split_first_chunk::<CELL>() else { return vec![] };
    let (cells, _) = rest.as_chunks::<CELL>();
    let ground = Ground::read(*first);
    let world = play(ground.clone(), cells, Forgeries::Sent);
    // Where there are more sessions than places, who sends first has one; nor are there more places for packets that wait for
    // a kernel that does not answer.
    // And a connection that begins unseen on a pair of ports that was claimed is one of the claims to the director.
    let comparable = !world.ground.crowded && !world.kept_alive && !world.claimed_again && !world.squeezed;
    if world.forged > 0 && world.now < Time::ZERO + LIVELY && comparable {
        let without = play(ground, cells, Forgeries::Left);
        if without.sum != world.sum {
            complain(Complaint::Window, || "what came of the others' packets depends on what was forged".to_owned());
        }
    }
    world.end()
}

fn play(ground: Ground, cells: &[[u8; CELL]], forgeries: Forgeries) -> World {
    let mut play = Play { world: World::new(ground), slots: [None; SLOTS as usize], forgeries };
    let mut at = 0;
    while at < cells.len() {
        at = play.step(cells, at, 0);
    }
    play.world
}

/// Whether what somebody forges is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgeries {
    Sent,
    /// Left out, to see that nothing else comes of the rest.
    Left,
}

struct Play {
    world: World,
    /// The connection that each slot has now.
    slots: [Option<usize>; SLOTS as usize],
    forgeries: Forgeries,
}

impl Play {
    /// Takes the step at `at`; says where the next is.
    fn step(&mut self, cells: &[[u8; CELL]], at: usize, depth: u8) -> usize {
        if self.world.spent() {
            return cells.len();
        }
        let cell = Cell::read(&cells[at]);
        let slot = usize::from(cell.who % SLOTS);
        oracle::explain(|| format!("-- {cell:?}"));
        match cell.step {
            Step::Again if depth == 0 => self.again(cells, at, cell),
            Step::Again => {}
            Step::Wait => self.world.pass(Duration::from_millis(millis(cell.a))),
            Step::Rows => self.rows(cell.a),
            Step::Open => {
                self.open(slot, usize::from(cell.a % 3), cell.b);
            }
            Step::Raw => return self.raw(cells, at, cell),
            Step::Say => self.say(slot, cell),
            Step::Answer => self.answer(slot, cell),
            Step::Send => self.send(slot, cell),
            Step::Repeat => self.repeat(slot, cell),
            Step::Land => self.land(slot, cell),
            Step::Close => self.close(slot, cell.a),
            Step::Forge => self.forge(slot, cell),
            Step::Keep => self.keep(slot),
        }
        self.world.note_rows();
        at + 1
    }

    fn again(&mut self, cells: &[[u8; CELL]], at: usize, cell: Cell) {
        let from = at.saturating_sub(1 + usize::from(cell.a % 6));
        // often a few times, now and then many
        let times = if cell.b < 0xc0 { 1 + cell.b % 4 } else { 16 + cell.b % 48 };
        for _ in 0..times {
            let mut next = from;
            while next < at {
                next = self.step(&cells[..at], next, 1);
            }
            if self.world.spent() {
                return;
            }
        }
    }

    fn rows(&mut self, a: u8) {
        match a % 5 {
            0 => self.world.late = true,
            1 => self.world.settle(),
            2 => self.world.answer(false),
            3 => self.world.answer(true),
            _ => self.world.flush(),
        }
    }

    /// The connection of a slot; opened if it never was.
    fn talk(&mut self, slot: usize) -> usize {
        self.slots[slot].unwrap_or_else(|| self.open(slot, PLACES[slot].1, 0))
    }

    /// A new connection, from the port of the old one or another.
    fn open(&mut self, slot: usize, server: usize, b: u8) -> usize {
        let world = &mut self.world;
        let old = self.slots[slot];
        if let Some(old) = old
            && world.talks.len() >= TALKS
        {
            return old;
        }
        let life = u16::try_from(world.talks.len()).expect("few connections");
        let number = u16::try_from(slot).expect("few slots");
        let another = old.is_some() && b & 1 != 0;
        let v6 = world.ground.vip.is_ipv6();
        let client =
            SocketAddr::new(address(v6, PLACES[slot].0), 40000 + number + if another { 100 + life } else { 0 });
        // what IPVS still has goes where it went before
        let stays = old.filter(|old| world.talks[*old].open() && world.talks[*old].client_end == client);
        let server = stays.map_or(server, |old| world.talks[old].server);
        for old in world.talks.iter_mut().filter(|talk| talk.client_end == client) {
            (old.finished, old.needs) = ([true; 2], vec![]);
        }
        world.claimed_again |= world.claimed.contains(&client);
        let first = if life == 0 { u32::MAX - 40 } else { u32::from(life) << 24 };
        let far_end = world.ground.far_end(server);
        world.talks.push(Talk::new(world.now, client, server, far_end, first));
        oracle::explain(|| format!("connection {life}: {client} with server {server}"));
        self.slots[slot] = Some(usize::from(life));
        usize::from(life)
    }

    fn terms(&self, id: usize, b: u8) -> Terms<'_> {
        let world = &self.world;
        let talk = &world.talks[id];
        let others = world.talks.iter().map(|talk| talk.client_end.ip());
        let own = talk.client_end.ip();
        let third = others.into_iter().find(|other| *other != own);
        let echo = talk.unanswered().map_or(&b""[..], |(text, _)| text.trim_ascii_end());
        let server = world.ground.servers[talk.server].address;
        Terms { own, third: third.unwrap_or(server), server, port: port(b), echo }
    }

    fn say(&mut self, slot: usize, cell: Cell) {
        let id = self.talk(slot);
        let mut text = vec![];
        for _ in 0..cell.times() {
            self.terms(id, cell.b).fill(SAID[usize::from(cell.a) % SAID.len()], &mut text);
        }
        self.world.notes.happen((30, usize::from(cell.a) % SAID.len()));
        self.leave(id, Side::Client, &text, cell.more());
    }

    /// An end says something, and sends it unless there is more to come.
    fn leave(&mut self, id: usize, side: Side, text: &[u8], more: bool) {
        let bare = self.world.ground.bare;
        let talk = &mut self.world.talks[id];
        if talk.finished[side as usize] || text.is_empty() {
            return;
        }
        match side {
            Side::Client => talk.client.say(text, bare),
            Side::Server => talk.replies.say(text, bare, &talk.client, talk.flows[0].left),
        }
        // what is said now and sent later answers what is asked by then
        talk.client.uncounted |= side == Side::Server && more;
        let waiting = talk.waiting(side);
        if !more {
            self.world.send(id, side, waiting, 0);
        }
    }

    fn answer(&mut self, slot: usize, cell: Cell) {
        let id = self.talk(slot);
        let mut text = vec![];
        let choice = usize::from(cell.a) % (HONEST.len() + HOSTILE.len());
        self.world.notes.happen((31, choice));
        let terms = self.terms(id, cell.b);
        match HONEST.get(choice) {
            Some(honest) => reply(*honest, &terms, self.world.talks[id].unanswered(), cell.b, &mut text),
            None => terms.fill(HOSTILE[choice - HONEST.len()], &mut text),
        }
        let crafty = text.windows(2).any(|two| two[0] != b'\r' && two[1] == b'\n');
        let bare = self.world.ground.bare;
        let talk = &mut self.world.talks[id];
        // before the client has spoken nobody reads what its server says
        talk.replies.hostile |= choice >= HONEST.len();
        talk.replies.crafty |= talk.replies.hostile && (crafty || bare || talk.flows[0].left == 0);
        if bare {
            text.retain(|byte| *byte != b'\r');
        }
        self.leave(id, Side::Server, &text, cell.more());
    }

    fn side(cell: Cell) -> Side {
        if cell.server() { Side::Server } else { Side::Client }
    }

    fn send(&mut self, slot: usize, cell: Cell) {
        let (id, side) = (self.talk(slot), Self::side(cell));
        let waiting = self.world.talks[id].waiting(side);
        if waiting.is_empty() || self.world.talks[id].finished[side as usize] || self.is_replaced(id) {
            return;
        }
        let cut = waiting.start + usize::from(cell.a) % waiting.len();
        let (first, second) = (waiting.start..cut, cut..waiting.end);
        let order = match cell.b % 4 {
            0 => [Some(first), Some(second)],
            1 => [Some(second), Some(first)],
            2 => [Some(first), None],
            _ => [Some(second), None],
        };
        if cell.b % 4 == 3 && side == Side::Client {
            // what is missing may be given up
            self.world.talks[id].client.odd = true;
        }
        for range in order.into_iter().flatten().filter(|range| !range.is_empty()) {
            self.world.send(id, side, range, 0);
        }
    }

    /// Whether its client has another connection from the same port by now, and knows this one no longer.
    fn is_replaced(&self, id: usize) -> bool {
        let talks = &self.world.talks;
        talks[id + 1..].iter().any(|later| later.client_end == talks[id].client_end)
    }

    fn repeat(&mut self, slot: usize, cell: Cell) {
        let (id, side) = (self.talk(slot), Self::side(cell));
        if self.is_replaced(id) {
            return;
        }
        // behind its end it is a connection that was never seen to begin
        let ended = !self.world.talks[id].open();
        self.world.talks[id].client.odd |= ended;
        self.world.claimed_again |= ended && self.world.claimed.contains(&self.world.talks[id].client_end);
        let left = self.world.talks[id].flows[side as usize].left;
        let from = left.saturating_sub(1 + usize::from(cell.a));
        let to = (from + 1 + usize::from(cell.b)).min(left);
        if from < to {
            self.world.send(id, side, from..to, 0);
        }
    }

    fn raw(&mut self, cells: &[[u8; CELL]], at: usize, cell: Cell) -> usize {
        let id = self.talk(usize::from(cell.who % SLOTS));
        let end = (at + 1 + usize::from(cell.a % 8)).min(cells.len());
        let bytes = cells[at + 1..end].as_flattened().to_vec();
        let side = Self::side(cell);
        // who says anything at all counts lines as he likes
        let talk = &mut self.world.talks[id];
        (talk.client.odd, talk.client.bare) = (talk.client.odd || side == Side::Client, true);
        (talk.replies.hostile, talk.replies.crafty) = (true, talk.replies.crafty || side == Side::Server);
        self.leave(id, side, &bytes, cell.more());
        end
    }

    fn close(&mut self, slot: usize, a: u8) {
        let Some(id) = self.slots[slot] else { return };
        let talk = &mut self.world.talks[id];
        let side = if a & 1 == 0 { Side::Client } else { Side::Server };
        if talk.finished[side as usize] {
            return;
        }
        let flags = if a & 2 == 0 { FIN } else { RST };
        talk.finished[side as usize] = true;
        if flags == RST {
            talk.finished = [true; 2];
        }
        let waiting = talk.waiting(side);
        self.world.send(id, side, waiting, flags);
    }

    /// A segment with any numbers but the right ones.
    fn forge(&mut self, slot: usize, cell: Cell) {
        let Some(id) = self.slots[slot] else { return };
        let side = Self::side(cell);
        let talk = &self.world.talks[id];
        let known = oracle::is_known(Complaint::Window) || self.forgeries == Forgeries::Left;
        if !talk.open() || !talk.followed(side, self.world.now) || known {
            // the director cannot know better; and what comes of a forgery is no other finding
            return;
        }
        let flags = [ACK, ACK, FIN | ACK, RST, RST | ACK, FIN, 0, FIN | SYN | ACK][usize::from(cell.a % 8)];
        let distance = ELSEWHERE + (u32::from(cell.a >> 3) << 27) % (u32::MAX - 2 * ELSEWHERE);
        // where there was another, nobody's SYN has been seen, and the one that is there may be a claim itself
        let alone = self.world.talks.iter().filter(|other| other.client_end == talk.client_end).count() == 1;
        let begun = cell.who & 0x20 != 0 && side == Side::Client && !self.world.ground.crowded && alone;
        // what is forged without a SYN continues no claim, nor a claim the connection that is there
        let apart = if begun { 1 << 26 } else { 0 };
        let seq = talk.seq(side, talk.text(side).len()).wrapping_add(distance).wrapping_add(apart);
        let mut payload = vec![];
        if cell.who & 0x40 == 0 {
            let templates = if side == Side::Client { SAID } else { HOSTILE };
            self.terms(id, cell.b).fill(templates[usize::from(cell.b) % templates.len()], &mut payload);
        }
        if begun {
            // behind a SYN that was forged too; it may ask for what is its own address's, but that is no finding
            payload = CLAIMED[usize::from(cell.b) % CLAIMED.len()].into();
            self.world.claimed.push(self.world.talks[id].client_end);
        }
        self.world.begun = begun;
        self.world.segment(Cause::Forged(id, side), seq, seq ^ 0x5555_5555, flags, &payload, cell.who & 0x80 != 0);
        self.world.begun = false;
    }

    fn keep(&mut self, slot: usize) {
        let Some(id) = self.slots[slot] else { return };
        let talk = &mut self.world.talks[id];
        if talk.open() && self.world.now.since(talk.last) < IDLE {
            talk.last = self.world.now;
            let (client, far_end) = (talk.client_end, talk.far_end);
            self.world.director.refreshed(self.world.now, client, far_end);
            // where there was another, the director may still take it for that one, and its rows with it
            if self.world.talks.iter().filter(|other| other.client_end == client).count() == 1 {
                self.world.confirm(client, far_end);
            }
        }
    }

    /// The director is told that a data connection came.
    fn land(&mut self, slot: usize, cell: Cell) {
        let id = self.talk(slot);
        let (ground, talk) = (&self.world.ground, &self.world.talks[id]);
        let vip = |port| SocketAddr::new(ground.vip, port);
        let named = talk.client.named.last().map_or(port(cell.b), SocketAddr::port);
        let calls = SocketAddr::new(talk.client_end.ip(), named);
        let (from, to, flags) = match (cell.a & 1, ground.nat()) {
            (0, _) => {
                let told =
                    talk.replies.named.last().filter(|_| cell.a & 2 != 0).map_or(port(cell.b), |(port, _)| *port);
                (SocketAddr::new(talk.client_end.ip(), 50000), vip(told), SYN)
            }
            (_, true) => (vip(ground.calls_from(talk.server)), calls, SYN),
            (_, false) => (calls, vip(ground.calls_from(talk.server)), SYN | ACK),
        };
        let index = u16::try_from(talk.server).expect("few servers");
        let mark = MARKS.data(index).0;
        let mut bytes = vec![];
        let segment = Segment { from, to, seq: 1, ack: 0, flags, payload: &[], tunnel: None, damaged: false };
        segment.write(&mut bytes);
        self.world.director.landed(self.world.now, mark, &bytes);
        if flags & ACK != 0 {
            // IPVS has the connection: its entry wins over every row, and the client may name the port for another.
            self.world.met(&Value::Port(named), &Value::Mark(MARKS.data(index)));
        }
    }
}

/// What an honest server answers to its next command.
fn reply(honest: Honest, terms: &Terms<'_>, next: Option<(&[u8], Kind)>, b: u8, out: &mut Vec<u8>) {
    let Some((_, kind)) = next else {
        if honest == Honest::Greeting {
            out.extend(b"220 ready\r\n");
        }
        return;
    };
    let passive = |code| match code {
        228 => "(4,4,{s},2,{p})",
        229 => "(|||{P}|)",
        _ => "({s},{p})",
    };
    match (honest, kind) {
        (Honest::Done, Kind::Passive(code)) => {
            out.extend(format!("{code} Entering Passive Mode ").bytes());
            terms.fill(passive(code), out);
            out.extend(b".\r\n");
        }
        (Honest::Spread, Kind::Passive(code)) => {
            out.extend(format!("{code}-Entering Passive Mode ").bytes());
            terms.fill(passive(code), out);
            out.extend(format!("\r\n{code} End\r\n").bytes());
        }
        (Honest::Done, Kind::Auth) => out.extend(b"234 go\r\n"),
        (Honest::Done | Honest::Spread, _) => out.extend(b"200 ok\r\n"),
        (Honest::Refused, _) => out.extend(b"500 no\r\n"),
        (Honest::Echo, _) => terms.fill("500 Command \"{e}\" not understood.\r\n", out),
        (Honest::Several, _) => {
            out.extend(b"211-Status\r\n");
            terms.fill(INSIDE[usize::from(b >> 2) % INSIDE.len()], out);
            out.extend(b"211 End\r\n");
        }
        (Honest::Preliminary, _) => out.extend(b"150 go\r\n"),
        (Honest::Greeting, _) => out.extend(b"220 ready\r\n"),
    }
}
