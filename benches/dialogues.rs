//! What whole dialogues cost the core: log-ins, transfers, NOOPs, packet by packet as the packet thread has them, among a
//! thousand idle sessions of a configuration with four clusters. `cargo bench --bench dialogues`: nanoseconds, allocations and
//! bytes allocated of each.
//!
//! Instructions, which no other load of the machine changes: `valgrind --tool=callgrind BINARY "nat NOOP" 1000`, again with 2000,
//! and the difference.
#![expect(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ftpdirector::facade::director::{
    Action, ClusterSetup, ControlPacket, Decision, Director, Hook, Policies, SessionLimits, Setup,
};
use ftpdirector::facade::ftp::{Bounce, Policy, Replies};
use ftpdirector::facade::lvs::{ForwardingMethod, PortRange};
use ftpdirector::facade::state::Marks;
use ftpdirector::facade::steer::Placement;
use ftpdirector::facade::time::Time;
use ftpdirector::facade::wire;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only calls and sizes are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: as required of our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as required of our caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MARKS: Marks = Marks { base: 0x0f70_0000 };
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const CLUSTERS: u16 = 4;
const SERVERS: u16 = 4;
/// The server of all that is measured, and its cluster.
const INDEX: u16 = 6;
const FIN: u8 = 0x11;
const PSH: u8 = 0x18;

/// How servers are reached, and whether each has a passive range of its own.
#[derive(Clone, Copy)]
struct Road {
    name: &'static str,
    forwarding: ForwardingMethod,
    shared: bool,
}

const ROADS: [Road; 3] = [
    Road { name: "nat", forwarding: ForwardingMethod::Nat, shared: false },
    Road { name: "nat shared", forwarding: ForwardingMethod::Nat, shared: true },
    Road { name: "dr", forwarding: ForwardingMethod::Dr, shared: false },
];

fn address(index: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 11 + index as u8)
}

fn placement(road: Road, index: u16) -> (Placement, Policies) {
    let nat = road.forwarding == ForwardingMethod::Nat;
    let first = if road.shared { 40000 } else { 30000 + 100 * index };
    let range = PortRange::new(first, first + 99).unwrap_or(PortRange::UNPRIVILEGED);
    let placement = Placement {
        index,
        cluster: usize::from(index / SERVERS),
        vip: IpAddr::V4(VIP),
        server: usize::from(index % SERVERS),
        address: IpAddr::V4(address(index)),
        forwarding: road.forwarding,
        own_range: (!road.shared).then_some(range),
        active_port: None,
        active_ports: None,
        own_active_port: false,
        client_prefix: 32,
        passive_ports: range,
        public_ports: None,
    };
    let explicit = Policy {
        replies: if nat { Replies::Seen } else { Replies::Unseen },
        advertise: nat.then_some(VIP),
        bounce: Bounce::Reject,
        line_limit: 4096,
        implicit_tls: false,
        names: false,
        public_ports: false,
    };
    (placement, Policies { implicit: Policy { implicit_tls: true, ..explicit.clone() }, explicit })
}

fn director(road: Road) -> Director {
    let cluster = |n: u16| ClusterSetup {
        name: format!("cluster-number-{n}"),
        servers: (0..SERVERS).map(|server| format!("server-{server}")).collect(),
        pinhole_timeout: Duration::from_secs(30),
    };
    Director::new(Setup {
        marks: MARKS,
        clusters: (0..CLUSTERS).map(cluster).collect(),
        placements: (0..CLUSTERS * SERVERS).map(|index| placement(road, index)).collect(),
        limits: SessionLimits { sessions: 100_000, client_sessions: u32::MAX, memory: 64 << 20 },
        services: vec![],
        idle: Duration::from_secs(900),
    })
}

/// A control connection: what its two ends say next.
struct Connection {
    client: SocketAddr,
    server: SocketAddr,
    sent: u32,
    answered: u32,
    /// Whether the rules let replies pass that are only seen.
    calm: bool,
}

/// The director, and what the packet thread has around it.
struct World {
    road: Road,
    director: Director,
    actions: Vec<Action>,
    bytes: Vec<u8>,
    now: Time,
    id: u64,
    port: u16,
}

impl World {
    /// A thousand sessions that are idle, and eight that wait for a row.
    fn new(road: Road) -> Self {
        let (actions, bytes) = (Vec::new(), Vec::with_capacity(2048));
        let mut world = Self { road, director: director(road), actions, bytes, now: Time::ZERO, id: 0, port: 1024 };
        for n in 0..1000_u16 {
            let mut other = world.connection([198, 51, 100, (n % 250) as u8], 40_000 + n);
            world.say(&mut other, b"NOOP\r\n");
            world.answer(&mut other, b"200 Well.\r\n");
        }
        for n in 0..8 {
            let mut other = world.connection([198, 51, 101, n], 40_000);
            world.offer(&mut other, Hook::Postrouting, PSH, format!("PORT 198,51,101,{n},200,10\r\n").as_bytes());
            world.actions.clear();
        }
        world
    }

    fn connection(&self, client: [u8; 4], port: u16) -> Connection {
        let end = if self.road.forwarding == ForwardingMethod::Nat { address(INDEX) } else { VIP };
        let (client, server) = (SocketAddr::from((client, port)), SocketAddr::from((end, 21)));
        Connection { client, server, sent: 1000, answered: 5000, calm: false }
    }

    fn write(&mut self, from: SocketAddr, to: SocketAddr, (seq, ack): (u32, u32), flags: u8, payload: &[u8]) {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else { return };
        let packet = &mut self.bytes;
        packet.clear();
        packet.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet[2..4].copy_from_slice(&(40 + payload.len() as u16).to_be_bytes());
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(from.port().to_be_bytes());
        packet.extend(to.port().to_be_bytes());
        packet.extend(seq.to_be_bytes());
        packet.extend(ack.to_be_bytes());
        packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(payload);
        if let Ok(parsed) = wire::Packet::parse(packet) {
            parsed.complete(packet);
        }
    }

    /// One packet, as the packet thread handles it; what it asks for stays in `actions`.
    fn offer(&mut self, on: &mut Connection, hook: Hook, flags: u8, payload: &[u8]) {
        self.now = self.now + Duration::from_millis(1);
        let length = payload.len() as u32 + u32::from(flags == FIN);
        if hook == Hook::Postrouting {
            self.write(on.client, on.server, (on.sent, on.answered), flags, payload);
            on.sent = on.sent.wrapping_add(length);
        } else {
            self.write(on.server, on.client, (on.answered, on.sent), flags, payload);
            on.answered = on.answered.wrapping_add(length);
        }
        if hook == Hook::Overheard {
            return self.director.overheard(self.now, &mut self.bytes, &mut self.actions);
        }
        self.id += 1;
        let mark = if hook == Hook::Postrouting { MARKS.control(INDEX).0 } else { 0 };
        let packet = ControlPacket { id: self.id, hook, mark, bytes: &mut self.bytes, truncated: false };
        let decision = self.director.packet(self.now, packet, &mut self.actions);
        if let Decision::Accept { mark, .. } = black_box(decision) {
            on.left(hook, mark);
        }
    }

    /// Rows are written, what waited goes on, and what is due is done.
    fn settle(&mut self, on: &mut Connection, hook: Hook) {
        let mut done = std::mem::take(&mut self.actions);
        for action in done.drain(..) {
            if let Action::Rows { ticket: Some(ticket), changes } = action {
                drop(black_box(changes));
                self.director.rows_done(ticket, false, &mut self.actions);
            }
        }
        for action in self.actions.drain(..) {
            if let Action::Release { mark, .. } = black_box(action) {
                on.left(hook, mark);
            }
        }
        self.director.tick(self.now, &mut self.actions);
    }

    fn say(&mut self, on: &mut Connection, line: &[u8]) {
        self.offer(on, Hook::Postrouting, PSH, line);
        self.settle(on, Hook::Postrouting);
    }

    /// NAT: the server's reply passes too.
    fn answer(&mut self, on: &mut Connection, line: &[u8]) {
        if self.road.forwarding == ForwardingMethod::Nat {
            let hook = if on.calm { Hook::Overheard } else { Hook::Forward };
            self.offer(on, hook, PSH, line);
            self.settle(on, Hook::Forward);
        } else {
            on.answered = on.answered.wrapping_add(line.len() as u32);
        }
    }

    /// The kernel's log tells of a data connection.
    fn land(&mut self, from: SocketAddr, to: SocketAddr, flags: u8) {
        self.write(from, to, (1, 1), flags, b"");
        self.director.landed(self.now, MARKS.data(INDEX).0, &self.bytes);
    }

    fn passive(&mut self, on: &mut Connection, verb: &[u8], port: u16) {
        let range = placement(self.road, INDEX).0.passive_ports;
        let port = range.first() + port % 100;
        let [high, low] = port.to_be_bytes();
        let [a, b, c, d] = address(INDEX).octets();
        self.say(on, verb);
        if verb == b"PASV\r\n" {
            self.answer(on, format!("227 Entering Passive Mode ({a},{b},{c},{d},{high},{low}).\r\n").as_bytes());
        } else {
            self.answer(on, format!("229 Entering Extended Passive Mode (|||{port}|)\r\n").as_bytes());
        }
        self.land(SocketAddr::new(on.client.ip(), 50_000), SocketAddr::from((VIP, port)), 0x02);
        self.transfer(on);
    }

    fn active(&mut self, on: &mut Connection, port: u16) {
        let [high, low] = port.to_be_bytes();
        let IpAddr::V4(client) = on.client.ip() else { return };
        let [a, b, c, d] = client.octets();
        self.say(on, format!("PORT {a},{b},{c},{d},{high},{low}\r\n").as_bytes());
        self.answer(on, b"200 PORT command successful. Consider using PASV.\r\n");
        self.transfer(on);
        let (client, vip) = (SocketAddr::new(on.client.ip(), port), SocketAddr::from((VIP, 20)));
        match self.road.forwarding {
            ForwardingMethod::Nat => self.land(vip, client, 0x02),
            _ => self.land(client, vip, 0x12),
        }
    }

    fn transfer(&mut self, on: &mut Connection) {
        self.say(on, b"RETR pub/some/file.tar.gz\r\n");
        self.answer(on, b"150 Opening BINARY mode data connection for pub/some/file.tar.gz (1024 bytes).\r\n");
        self.answer(on, b"226 Transfer complete.\r\n");
    }

    fn log_in(&mut self) {
        self.port = if self.port == u16::MAX { 1024 } else { self.port + 1 };
        let on = &mut self.connection([203, 0, 113, 5], self.port);
        self.answer(on, b"220 (vsFTPd 3.0.5)\r\n");
        self.say(on, b"USER anonymous\r\n");
        self.answer(on, b"331 Please specify the password.\r\n");
        self.say(on, b"PASS guest@example.com\r\n");
        self.answer(on, b"230 Login successful.\r\n");
        self.say(on, b"QUIT\r\n");
        self.answer(on, b"221 Goodbye.\r\n");
        self.offer(on, Hook::Postrouting, FIN, b"");
        self.settle(on, Hook::Postrouting);
        if self.road.forwarding == ForwardingMethod::Nat {
            self.offer(on, Hook::Forward, FIN, b"");
            self.settle(on, Hook::Forward);
        }
    }
}

impl Connection {
    fn left(&mut self, hook: Hook, mark: Option<u32>) {
        if hook == Hook::Postrouting
            && let Some(mark) = mark.filter(|&mark| mark != 0)
        {
            self.calm = mark & Marks::CALM != 0;
        }
    }
}

const DIALOGUES: [&str; 5] = ["log-in", "PASV", "EPSV", "PORT", "NOOP"];

/// A world, and how to have the dialogue of this name once more in it.
fn of(road: Road, name: &'static str) -> (World, impl FnMut(&mut World)) {
    let mut world = World::new(road);
    let mut on = world.connection([203, 0, 113, 5], 40_000);
    world.say(&mut on, b"USER anonymous\r\n");
    world.answer(&mut on, b"331 Please specify the password.\r\n");
    let mut nth = 0_u16;
    let once = move |world: &mut World| {
        nth = nth.wrapping_add(1);
        match name {
            "log-in" => world.log_in(),
            "PASV" => world.passive(&mut on, b"PASV\r\n", nth),
            "EPSV" => world.passive(&mut on, b"EPSV\r\n", nth),
            "PORT" => world.active(&mut on, 50_000 + nth % 10_000),
            _ => {
                world.say(&mut on, b"NOOP\r\n");
                world.answer(&mut on, b"200 NOOP ok.\r\n");
            }
        }
    };
    (world, once)
}

fn spent(road: Road, name: &'static str) {
    const TIMES: u64 = 2_000;
    let (mut world, mut once) = of(road, name);
    (0..200).for_each(|_| once(&mut world));
    let before = (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed));
    (0..TIMES).for_each(|_| once(&mut world));
    let allocations = (ALLOCATIONS.load(Relaxed) - before.0) as f64 / TIMES as f64;
    let bytes = (BYTES.load(Relaxed) - before.1) / TIMES;
    let mut goes: Vec<Duration> = Vec::new();
    for _ in 0..15 {
        let began = Instant::now();
        (0..TIMES).for_each(|_| once(&mut world));
        goes.push(began.elapsed());
    }
    goes.sort_unstable();
    let median = goes[goes.len() / 2].as_nanos() / u128::from(TIMES);
    println!("{:24} {median:6} ns {allocations:6.1} allocations of {bytes:6} bytes", format!("{} {name}", road.name));
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|given| given != "--bench").collect();
    let times = given.get(1).and_then(|times| times.parse::<u64>().ok());
    for road in ROADS {
        for name in DIALOGUES {
            let full = format!("{} {name}", road.name);
            match (given.first(), times) {
                (Some(wanted), Some(times)) if *wanted == full => {
                    let (mut world, mut once) = of(road, name);
                    (0..times).for_each(|_| once(&mut world));
                }
                (Some(wanted), None) if !full.contains(wanted.as_str()) => {}
                (_, None) => spent(road, name),
                _ => {}
            }
        }
    }
}
