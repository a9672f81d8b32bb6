use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::ftp::{Bounce, Policy, Replies, Verb};
use crate::lvs::{ForwardingMethod, PortRange};
use crate::state::Marks;
use crate::state::sets::Name;
use crate::steer::{RowChange, range};
use crate::wire;

mod calm;
mod claims;
mod history;
mod hostile;
mod in_parts;
mod late;
mod patience;
mod public;
mod results;
mod shares;
mod silent;
mod takeover;
mod trace;
mod unasked;

const MARKS: Marks = Marks { base: 0x0f70_0000 };
const VIP: &str = "192.0.2.10";
const CLIENT: &str = "203.0.113.5:40000";

/// Three servers; `shared`: one passive range for all.
fn director(forwarding: ForwardingMethod, shared: bool) -> Director {
    let nat = forwarding == ForwardingMethod::Nat;
    let placement = |index: u16| {
        let first = if shared { 40000 } else { 31000 + 1000 * index };
        let range = PortRange::new(first, first + 99).expect("a range");
        let placement = Placement {
            index,
            cluster: 0,
            vip: VIP.parse().expect("the VIP"),
            server: usize::from(index),
            address: server(index).ip(),
            forwarding,
            own_range: (!shared).then_some(range),
            active_port: None,
            active_ports: None,
            own_active_port: false,
            client_prefix: 32,
            passive_ports: range,
            public_ports: None,
        };
        let policy = Policy {
            replies: if nat { Replies::Seen } else { Replies::Unseen },
            advertise: nat.then(|| VIP.parse().expect("the VIP")),
            bounce: Bounce::Reject,
            line_limit: 4096,
            implicit_tls: false,
            names: false,
            public_ports: false,
        };
        (placement, Policies { implicit: Policy { implicit_tls: true, ..policy.clone() }, explicit: policy })
    };
    Director::new(Setup {
        marks: MARKS,
        clusters: vec![ClusterSetup {
            name: "downloads".into(),
            servers: vec!["rs0".into(), "rs1".into(), "rs2".into()],
            pinhole_timeout: Duration::from_secs(10),
        }],
        placements: (0..3).map(placement).collect(),
        limits: SessionLimits { sessions: 100, client_sessions: 1000, memory: 64 << 20 },
        services: vec![],
        idle: Duration::from_secs(900),
    })
}

fn server(index: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 11 + u8::try_from(index).expect("small")], 21))
}

fn client() -> SocketAddr {
    CLIENT.parse().expect("the client")
}

/// An IPv4 TCP segment with a right checksum.
fn tcp(from: SocketAddr, to: SocketAddr, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    acknowledging(0, from, to, seq, flags, payload)
}

fn acknowledging(ack: u32, from: SocketAddr, to: SocketAddr, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else { panic!("IPv4 only") };
    let length = u16::try_from(40 + payload.len()).expect("small");
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet.extend(ack.to_be_bytes());
    packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(payload);
    let parsed = wire::Packet::parse(&packet).expect("a packet");
    parsed.complete(&mut packet);
    packet
}

/// A control connection with the two ends' next sequence numbers.
struct Wire {
    client: SocketAddr,
    index: u16,
    forwarding: ForwardingMethod,
    sent: u32,
    answered: u32,
    id: u64,
    /// The mark that the last packet left with which did not wait.
    mark: Option<u32>,
}

/// The decision without what it says of the replies that follow: `calm.rs` tests that.
fn without_calm(decision: Decision) -> Decision {
    match decision {
        Decision::Accept { mark: Some(mark), edited } => {
            let mark = mark & !Marks::CALM;
            let opens = MARKS.control_index(crate::lvs::FirewallMark(mark)).is_some();
            Decision::Accept { mark: Some(if opens { mark } else { 0 }), edited }
        }
        other => other,
    }
}

impl Wire {
    fn new(client: SocketAddr, index: u16, forwarding: ForwardingMethod) -> Self {
        Self { client, index, forwarding, sent: 1000, answered: 5000, id: u64::from(client.port()) * 1000, mark: None }
    }

    fn far_end(&self) -> SocketAddr {
        match self.forwarding {
            ForwardingMethod::Nat => server(self.index),
            _ => SocketAddr::new(VIP.parse().expect("the VIP"), 21),
        }
    }

    /// The client says `line`; the decision, the packet's bytes afterwards and what else should happen.
    fn says(&mut self, director: &mut Director, now: Time, line: &str) -> (Decision, Vec<u8>, Vec<Action>) {
        let (from, to) = (self.client, self.far_end());
        let mut bytes = acknowledging(self.answered, from, to, self.sent, 0x18, line.as_bytes());
        self.sent += u32::try_from(line.len()).expect("short");
        self.offer(director, now, Hook::Postrouting, &mut bytes)
    }

    /// The server answers `line` (NAT: it passes the director).
    fn hears(&mut self, director: &mut Director, now: Time, line: &str) -> (Decision, Vec<u8>, Vec<Action>) {
        let (from, to) = (self.far_end(), self.client);
        let mut bytes = acknowledging(self.sent, from, to, self.answered, 0x18, line.as_bytes());
        self.answered += u32::try_from(line.len()).expect("short");
        self.offer(director, now, Hook::Forward, &mut bytes)
    }

    fn offer(
        &mut self,
        director: &mut Director,
        now: Time,
        hook: Hook,
        bytes: &mut [u8],
    ) -> (Decision, Vec<u8>, Vec<Action>) {
        let mut actions = Vec::new();
        self.id += 1;
        let mark = if hook == Hook::Postrouting { MARKS.control(self.index).0 } else { 0 };
        let decision =
            director.packet(now, ControlPacket { id: self.id, hook, mark, bytes, truncated: false }, &mut actions);
        if let Decision::Accept { mark, .. } = decision {
            self.mark = mark;
        }
        (without_calm(decision), bytes.to_vec(), actions)
    }
}

fn puts(actions: &[Action]) -> Vec<&crate::steer::Row> {
    let changes = actions.iter().flat_map(|action| match action {
        Action::Rows { changes, .. } => changes.as_slice(),
        _ => &[],
    });
    changes
        .filter_map(|change| match change {
            RowChange::Put(row, _) | RowChange::Refresh(row, _) => Some(row),
            RowChange::Delete(..) => None,
        })
        .collect()
}

fn ticket(actions: &[Action]) -> u64 {
    let mut tickets = actions.iter().rev().filter_map(|action| match action {
        Action::Rows { ticket, .. } => *ticket,
        _ => None,
    });
    tickets.next().expect("a ticket")
}

/// Packets of many lines are read to their end.
fn read_on(director: &mut Director, now: Time, actions: &mut Vec<Action>) {
    while let Some(turn) = director.held.next_turn() {
        director.resume(now.max(turn), actions);
    }
}

fn payload(bytes: &[u8]) -> String {
    let parsed = wire::Packet::parse(bytes).expect("a packet");
    String::from_utf8_lossy(parsed.payload(bytes)).into_owned()
}

fn outcomes(director: &Director, mode: Mode, outcome: Outcome) -> u64 {
    director.snapshot().clusters["downloads"].expectations.get(&(mode, outcome)).copied().unwrap_or_default()
}

const PASSES_UNMARKED: Decision = Decision::Accept { mark: Some(0), edited: false };
const OPENS_PINHOLE: Decision = Decision::Accept { mark: None, edited: false };

#[test]
fn only_pasv_and_epsv_open_the_pinhole() {
    for verb in ["PASV", "EPSV"] {
        let mut director = director(ForwardingMethod::Dr, false);
        let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
        assert_eq!(wire.says(&mut director, Time::ZERO, "USER joe\r\n").0, PASSES_UNMARKED);
        assert_eq!(wire.says(&mut director, Time::ZERO, &format!("{verb}\r\n")).0, OPENS_PINHOLE);
        assert_eq!(wire.says(&mut director, Time::ZERO, "NOOP\r\n").0, PASSES_UNMARKED);
    }
}

#[test]
fn data_from_the_clients_network_meets_its_expectation() {
    for (prefix, source, used) in
        [(24, "203.0.113.77:50000", 1), (24, "203.0.114.5:50000", 0), (32, "203.0.113.77:50000", 0)]
    {
        let mut director = director(ForwardingMethod::Dr, false);
        director.setup.placements.iter_mut().for_each(|(placement, _)| placement.client_prefix = prefix);
        let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
        let _ = wire.says(&mut director, Time::ZERO, "EPSV\r\n");
        let (source, vip) =
            (source.parse().expect("an address"), SocketAddr::new(VIP.parse().expect("the VIP"), 32001));
        director.landed(Time::ZERO, MARKS.data(1).0, &tcp(source, vip, 1, 0x02, &[]));
        assert_eq!(outcomes(&director, Mode::Passive, Outcome::Used), used, "{source} in /{prefix}");
    }
}

#[test]
fn under_tls_the_pinhole_is_the_networks() {
    let mut director = director(ForwardingMethod::Dr, false);
    director.setup.placements.iter_mut().for_each(|(placement, _)| placement.client_prefix = 24);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "AUTH TLS\r\n");
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, "\u{16}\u{3}\u{1}\u{0}\u{5}hello");
    let pinhole = puts(&actions).into_iter().find(|row| row.set.name == Name::Open).expect("a pinhole");
    assert_eq!(pinhole.key[0].to_string(), "203.0.113.0");
}

#[test]
fn the_row_comes_before_the_verdict() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let (decision, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
    assert_eq!(decision, Decision::Held);
    let held = wire.id;
    assert_eq!(puts(&actions)[0].set.name, Name::Active);
    // A retransmission must not overtake the row.
    wire.sent -= 25;
    assert_eq!(wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n").0, Decision::Held);
    let mut released = Vec::new();
    director.rows_done(ticket(&actions), false, &mut released);
    let ids: Vec<_> = released
        .iter()
        .map(|action| matches!(action, Action::Release { id, .. } if *id == held || *id == wire.id))
        .collect();
    assert_eq!(ids, [true, true]);
    assert_eq!(wire.says(&mut director, Time::ZERO, "NOOP\r\n").0, PASSES_UNMARKED);
}

#[test]
fn what_is_still_expected_is_written_again_when_someone_flushes_it() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut calls = Wire::new(client(), 1, ForwardingMethod::Dr);
    let mut waits = Wire::new(SocketAddr::new(client().ip(), 40001), 2, ForwardingMethod::Dr);
    let (_, _, actions) = calls.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
    let row = puts(&actions)[0].clone();
    waits.says(&mut director, Time::ZERO, "EPSV\r\n");
    let mut again = Vec::new();
    director.rows_lost(Time::from_millis(4000), &mut again);
    let [Action::Rows { ticket: None, changes }] = &again[..] else { panic!("{again:?}") };
    let pinhole = range::pinhole(MARKS, &director.setup.placements[2].0, client().ip());
    let left = Duration::from_secs(6);
    assert_eq!(changes, &[RowChange::Put(row, left), RowChange::Put(pinhole, left)]);
    again.clear();
    director.rows_lost(Time::from_millis(10_000), &mut again);
    assert_eq!(again, []);
}

#[test]
fn a_row_that_never_comes_lets_tcp_try_again() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
    let due = director.due().expect("something is due");
    let mut actions = Vec::new();
    director.tick(due, &mut actions);
    assert!(actions.contains(&Action::Drop { id: wire.id }), "{actions:?}");
    assert_eq!(director.snapshot().held, 0);
}

#[test]
fn nat_gives_active_connections_the_vip() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 2, ForwardingMethod::Nat);
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, "EPRT |1|203.0.113.5|51210|\r\n");
    let row = puts(&actions)[0];
    assert_eq!(row.set.name, Name::ActiveNat);
    let key: Vec<_> = row.key.iter().chain(&row.value).map(ToString::to_string).collect();
    assert_eq!(key, ["10.0.0.13", "203.0.113.5", "51210", VIP]);
}

#[test]
fn a_227_names_the_vip_in_as_many_bytes() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let _ = wire.says(&mut director, Time::ZERO, "PASV\r\n");
    let line = "227 Entering Passive Mode (10,0,0,11,121,26).\r\n";
    let (decision, bytes, actions) = wire.hears(&mut director, Time::ZERO, line);
    // The mark opens the pinhole on its way.
    assert_eq!(decision, Decision::Accept { mark: Some(MARKS.control(0).0), edited: true });
    assert_eq!(payload(&bytes).len(), line.len());
    assert!(payload(&bytes).contains("(192,0,2,10,121,26)"), "{}", payload(&bytes));
    assert!(puts(&actions).is_empty());
    let mut again = bytes.clone();
    wire::Packet::parse(&bytes).expect("a packet").complete(&mut again);
    assert_eq!(again, bytes, "the checksum is right");
}

#[test]
fn a_shared_range_takes_a_row_for_each_port() {
    let mut director = director(ForwardingMethod::Nat, true);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    assert_eq!(wire.says(&mut director, Time::ZERO, "EPSV\r\n").0, PASSES_UNMARKED);
    let (decision, _, actions) =
        wire.hears(&mut director, Time::ZERO, "229 Entering Extended Passive Mode (|||40007|)\r\n");
    assert_eq!(decision, Decision::Held);
    let row = puts(&actions)[0];
    let key: Vec<_> = row.key.iter().chain(&row.value).map(ToString::to_string).collect();
    assert_eq!(
        (row.set.name, key),
        (Name::Exact, vec!["203.0.113.5".into(), VIP.into(), "40007".into(), "0x0f700000".into()])
    );
}

#[test]
fn a_taken_port_is_translated() {
    let mut director = director(ForwardingMethod::Nat, true);
    let line = "229 Entering Extended Passive Mode (|||40007|)\r\n";
    let mut first = Wire::new(client(), 0, ForwardingMethod::Nat);
    let _ = first.says(&mut director, Time::ZERO, "EPSV\r\n");
    let _ = first.hears(&mut director, Time::ZERO, line);
    let mut second = Wire::new(SocketAddr::new(client().ip(), 40001), 1, ForwardingMethod::Nat);
    let _ = second.says(&mut director, Time::ZERO, "EPSV\r\n");
    let (_, _, actions) = second.hears(&mut director, Time::ZERO, line);
    let names: Vec<_> = puts(&actions).iter().map(|row| row.set.name).collect();
    assert_eq!(names, [Name::Exact, Name::Translated]);
    let mut released = Vec::new();
    director.rows_done(ticket(&actions), false, &mut released);
    let Some(Action::Release { bytes: Some(bytes), .. }) = released.first() else { panic!("{released:?}") };
    assert!(payload(bytes).contains("(|||40008|)"), "{}", payload(bytes));
}

#[test]
fn what_came_is_used_and_what_did_not_expires() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "PASV\r\n");
    let vip = SocketAddr::new(VIP.parse().expect("the VIP"), 32010);
    let syn = tcp(SocketAddr::new(client().ip(), 50000), vip, 1, 0x02, b"");
    director.landed(Time::ZERO, MARKS.data(1).0, &syn);
    assert_eq!(outcomes(&director, Mode::Passive, Outcome::Used), 1);
    let mut actions = Vec::new();
    director.tick(Time::from_millis(10_000), &mut actions);
    assert_eq!(outcomes(&director, Mode::Passive, Outcome::Expired), 0);
    let _ = wire.says(&mut director, Time::from_millis(20_000), "PASV\r\n");
    director.tick(Time::from_millis(29_999), &mut actions);
    assert_eq!(outcomes(&director, Mode::Passive, Outcome::Expired), 0);
    director.tick(Time::from_millis(30_000), &mut actions);
    assert_eq!(outcomes(&director, Mode::Passive, Outcome::Expired), 1);
}

#[test]
fn a_change_of_mind_takes_the_row_away() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, "PORT 203,0,113,5,200,10\r\n");
    director.rows_done(ticket(&actions), false, &mut Vec::new());
    let (_, _, actions) = wire.says(&mut director, Time::ZERO, "PASV\r\n");
    assert!(
        actions.iter().any(|action| matches!(action, Action::Rows { ticket: None, changes } if matches!(changes[..], [RowChange::Delete(..)]))),
        "{actions:?}"
    );
    assert_eq!(outcomes(&director, Mode::Active, Outcome::Superseded), 1);
}

#[test]
fn replies_alone_make_no_session() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    assert_eq!(wire.hears(&mut director, Time::ZERO, "220 ready\r\n").0, OPENS_PINHOLE);
    assert_eq!(director.snapshot().sessions.values().sum::<u64>(), 0);
}

#[test]
fn the_same_ports_on_another_server_are_another_session() {
    let mut director = director(ForwardingMethod::Dr, false);
    for index in [1, 2] {
        let mut wire = Wire::new(client(), index, ForwardingMethod::Dr);
        let _ = wire.says(&mut director, Time::ZERO, "USER joe\r\n");
    }
    let snapshot = director.snapshot();
    let at = |server: &str| snapshot.sessions[&("downloads".to_owned(), server.to_owned())];
    assert_eq!((at("rs1"), at("rs2")), (0, 1));
    assert_eq!(snapshot.clusters["downloads"].control_connections.values().sum::<u64>(), 2);
}

#[test]
fn over_the_limit_sessions_pass_unread_and_are_still_steered_by_range() {
    let mut director = director(ForwardingMethod::Dr, false);
    for port in 0..101 {
        let mut wire = Wire::new(SocketAddr::new(client().ip(), 50000 + port), 1, ForwardingMethod::Dr);
        let decision = wire.says(&mut director, Time::ZERO, "NOOP\r\n").0;
        assert_eq!(decision, if port < 100 { PASSES_UNMARKED } else { OPENS_PINHOLE });
    }
    assert_eq!(director.snapshot().over_limit, 1);
}

#[test]
fn a_closed_session_is_forgotten() {
    let mut director = director(ForwardingMethod::Dr, false);
    let mut wire = Wire::new(client(), 1, ForwardingMethod::Dr);
    let _ = wire.says(&mut director, Time::ZERO, "QUIT\r\n");
    let mut rst = tcp(wire.client, wire.far_end(), wire.sent, 0x14, b"");
    let _ = wire.offer(&mut director, Time::ZERO, Hook::Postrouting, &mut rst);
    assert_eq!(director.table.len(), 0);
}
