//! The whole core: a queued packet → its decision, with 1, ten thousand and a million live sessions; what an idle session costs,
//! and one at worst; the dearest packets that a hostile client or server can send; what a scrape takes of the packet thread, and the
//! growth of its tables.
//! `cargo bench --bench director`.
#![allow(missing_docs, reason = "criterion's macros")]
#![expect(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ftpdirector::facade::director::{
    Action, ClusterSetup, ControlPacket, Director, Filter, Hook, Policies, SessionLimits, Setup,
};
use ftpdirector::facade::ftp::{Bounce, Policy, Replies};
use ftpdirector::facade::lvs::{ForwardingMethod, PortRange};
use ftpdirector::facade::state::Marks;
use ftpdirector::facade::steer::Placement;
use ftpdirector::facade::time::Time;
use ftpdirector::facade::wire;

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only sizes are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        // SAFETY: as required of our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as required of our caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MARKS: Marks = Marks { base: 0x0f70_0000 };
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

fn director() -> Director {
    let range = PortRange::new(31000, 31999);
    let placement = Placement {
        index: 0,
        cluster: 0,
        vip: IpAddr::V4(VIP),
        server: 0,
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11)),
        forwarding: ForwardingMethod::Dr,
        own_range: range,
        active_port: None,
        active_ports: None,
        own_active_port: false,
        client_prefix: 32,
        passive_ports: PortRange::UNPRIVILEGED,
        public_ports: None,
    };
    let explicit = Policy {
        replies: Replies::Unseen,
        advertise: None,
        bounce: Bounce::Reject,
        line_limit: 4096,
        implicit_tls: false,
        names: false,
        public_ports: false,
    };
    let policies = Policies { implicit: Policy { implicit_tls: true, ..explicit.clone() }, explicit };
    Director::new(Setup {
        marks: MARKS,
        clusters: vec![ClusterSetup {
            name: "bench".into(),
            servers: vec!["rs".into()],
            pinhole_timeout: Duration::from_secs(10),
        }],
        placements: vec![(placement, policies)],
        limits: SessionLimits { sessions: 2_000_000, client_sessions: u32::MAX, memory: 64 << 20 },
        services: vec![],
        idle: Duration::from_secs(900),
    })
}

/// A segment of client number `session`.
fn packet(session: u32, seq: u32, line: &[u8]) -> Vec<u8> {
    let length = u16::try_from(40 + line.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    // Sixteen addresses, many ports: as behind a few NAT gateways.
    packet.extend([100, 64, 0, (session & 0xf) as u8]);
    packet[13] = 64 + ((session >> 20) as u8);
    packet.extend(VIP.octets());
    packet.extend((((session >> 4) & 0xffff) as u16).to_be_bytes());
    packet.extend(21_u16.to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(line);
    complete(&mut packet);
    packet
}

/// With a right checksum: others are not read.
fn complete(packet: &mut [u8]) {
    if let Ok(parsed) = wire::Packet::parse(packet) {
        parsed.complete(packet);
    }
}

fn offer(director: &mut Director, bytes: &mut [u8], id: u64) {
    let mut actions = Vec::new();
    let packet = ControlPacket { id, hook: Hook::Postrouting, mark: MARKS.control(0).0, bytes, truncated: false };
    let _ = black_box(director.packet(Time::ZERO, packet, &mut actions));
}

fn sessions(c: &mut Criterion) {
    let line = b"NOOP\r\n";
    let mut group = c.benchmark_group("packet to decision");
    for count in [1_u32, 10_000, 1_000_000] {
        let mut director = director();
        // What `explain` remembers is there from the start, however many sessions come.
        let before = ALLOCATED.load(Relaxed);
        for session in 0..count {
            offer(&mut director, &mut packet(session, 1, line), 0);
        }
        let each = (ALLOCATED.load(Relaxed) - before) / count as usize;
        println!("{count} idle sessions: {each} bytes each, table and index included");
        let mut template = packet(0, 1, line);
        let mut seqs = vec![7_u32; count as usize];
        // A permutation of the sessions, so that no cache line is warm by chance (count and the step have no common factor).
        let (mut session, mut id) = (0_u32, 0_u64);
        group.bench_function(BenchmarkId::new("NOOP", count), |b| {
            b.iter(|| {
                session = (session + 7_919) % count;
                id += 1;
                let seq = &mut seqs[session as usize];
                template[13] = 64 + ((session >> 20) as u8);
                template[15] = (session & 0xf) as u8;
                template[20..22].copy_from_slice(&(((session >> 4) & 0xffff) as u16).to_be_bytes());
                template[24..28].copy_from_slice(&seq.to_be_bytes());
                *seq = seq.wrapping_add(line.len() as u32);
                complete(&mut template);
                offer(&mut director, &mut template, id);
            });
        });
    }
    group.bench_function("parse alone", |b| {
        let template = packet(0, 1, line);
        b.iter(|| wire::Packet::parse(black_box(&template)));
    });
    group.bench_function("the bench's own checksum, to be subtracted", |b| {
        let mut template = packet(0, 1, line);
        b.iter(|| complete(black_box(&mut template)));
    });
    group.finish();
}

/// One go of the packet thread at a full segment of lines that nobody means well with: others have their turn after each.
fn hostile(c: &mut Criterion) {
    let mut group = c.benchmark_group("hostile, one go");
    for (name, line) in [
        ("RETR", &b"RETR\r\n"[..]),
        ("PASV", b"PASV\r\n"),
        ("PORT", b"PORT 100,64,0,0,200,10\r\n"),
        ("EPRT", b"EPRT |1|100.64.0.0|51210|\r\n"),
        ("PORT to a third party", b"PORT 10,0,0,99,200,10\r\n"),
        ("empty lines", b"\n"),
        ("noise", b"\x01\x02\xff\r\n"),
    ] {
        let lines = line.repeat(1448 / line.len());
        group.bench_function(name, |b| {
            b.iter_custom(|goes| {
                let (mut director, mut seq, mut spent, mut done) = (director(), 1_u32, Duration::ZERO, 0);
                offer(&mut director, &mut packet(0, 0, b"\n"), 0);
                let mut actions = Vec::new();
                let mut now = Time::ZERO;
                while done < goes {
                    let mut bytes = packet(0, seq, &lines);
                    seq = seq.wrapping_add(lines.len() as u32);
                    // Long enough for all goes of a packet to have had their turn.
                    now = now + Duration::from_millis(200);
                    let mut began = Instant::now();
                    let (hook, mark) = (Hook::Postrouting, MARKS.control(0).0);
                    let offered = ControlPacket { id: done, hook, mark, bytes: &mut bytes, truncated: false };
                    let _ = black_box(director.packet(now, offered, &mut actions));
                    (spent, done) = (spent + began.elapsed(), done + 1);
                    let later = now + Duration::from_millis(150);
                    while director.has_turn(later) {
                        began = Instant::now();
                        director.resume(later, &mut actions);
                        (spent, done) = (spent + began.elapsed(), done + 1);
                    }
                    for action in actions.drain(..) {
                        if let Action::Rows { ticket: Some(ticket), .. } = action {
                            director.rows_done(ticket, false, &mut Vec::new());
                        }
                    }
                }
                spent.mul_f64(goes as f64 / done as f64)
            });
        });
    }
    group.finish();
}

/// What `/metrics`, `status`, `sessions` and the keepalive thread take of the packet thread while there are a million sessions.
fn asked(c: &mut Criterion) {
    let mut director = director();
    for session in 0..1_000_000 {
        offer(&mut director, &mut packet(session, 1, b"NOOP\r\n"), 0);
    }
    let (mut group, wanted) = (c.benchmark_group("at a million sessions"), Filter::default());
    group.bench_function("a scrape", |b| b.iter(|| black_box(director.snapshot())));
    group.bench_function("a page of sessions", |b| {
        b.iter(|| black_box(director.sessions(Time::ZERO, 500_000, &wanted)))
    });
    group.bench_function("a page of pinholes", |b| b.iter(|| black_box(director.holders(500_000))));
    group.finish();
}

/// The longest that a packet waits while a million sessions begin: for the table and its index to grow.
fn growing(_: &mut Criterion) {
    let (mut director, mut longest) = (director(), Duration::ZERO);
    for session in 0..1_000_000 {
        let mut bytes = packet(session, 1, b"NOOP\r\n");
        let began = Instant::now();
        offer(&mut director, &mut bytes, 0);
        longest = longest.max(began.elapsed());
    }
    println!("a million sessions begin: the longest packet took {longest:?}");
}

/// The most that one session can own: an unfinished command, early segments, edits, and an unfinished reply.
fn worst(_: &mut Criterion) {
    let mut director = director();
    let before = ALLOCATED.load(Relaxed);
    let sessions = 100;
    for session in 0..sessions {
        offer(&mut director, &mut packet(session, 0, b"\n"), 0);
        let mut seq = 1_u32;
        // Refused, so remembered.
        for n in 0..70_u32 {
            let line = format!("NOOP\r\nPORT 10,0,0,{},200,10\r\n", n % 250);
            offer(&mut director, &mut packet(session, seq, line.as_bytes()), 0);
            seq += line.len() as u32;
        }
        // An unfinished argument of nearly the greatest length, and as many early bytes as are kept.
        for begun in [&b"AUTH "[..], &[b'1'; 1400], &[b'1'; 1400], &[b'1'; 1200]] {
            offer(&mut director, &mut packet(session, seq, begun), 0);
            seq += begun.len() as u32;
        }
        let early = [&b"CWD "[..], &[b'x'; 1400], b"\r\n"].concat();
        for n in 0..12_u32 {
            offer(&mut director, &mut packet(session, seq + 1 + n * early.len() as u32, &early), 0);
        }
    }
    let each = (ALLOCATED.load(Relaxed) - before) / sessions as usize;
    println!("a session at worst: {each} bytes");
}

/// What `explain` remembers at most: an entry of each of 65,536 clients. Sixteen clients with as many sessions have a quarter of the
/// entries, and no lists to speak of.
fn remembered(_: &mut Criterion) {
    let before = ALLOCATED.load(Relaxed);
    let empty = director();
    println!("a director without a session: {} bytes", ALLOCATED.load(Relaxed) - before);
    drop(empty);
    let taken = |clients: u32| {
        let before = ALLOCATED.load(Relaxed);
        let mut director = director();
        for session in 0..65_536_u32 {
            let mut bytes = packet(session, 1, b"NOOP\r\n");
            bytes[14..16].copy_from_slice(&((session % clients) as u16).to_be_bytes());
            complete(&mut bytes);
            offer(&mut director, &mut bytes, 0);
        }
        ALLOCATED.load(Relaxed) - before
    };
    let (few, many) = (taken(16), taken(65_536));
    println!(
        "65,536 sessions: {few} bytes of 16 clients, {many} bytes of as many: what is remembered of each included"
    );
}

/// What a session under TLS costs: its rows stand as long as it does.
fn blind(_: &mut Criterion) {
    let (mut director, mut actions) = (director(), Vec::new());
    let before = ALLOCATED.load(Relaxed);
    let sessions = 10_000;
    for session in 0..sessions {
        let mut bytes = packet(session, 1, b"\x16\x03");
        let offered = ControlPacket {
            id: 0,
            hook: Hook::Postrouting,
            mark: MARKS.control(0).0,
            bytes: &mut bytes,
            truncated: false,
        };
        let _ = black_box(director.packet(Time::ZERO, offered, &mut actions));
        for action in actions.drain(..) {
            if let Action::Rows { ticket: Some(ticket), .. } = action {
                director.rows_done(ticket, false, &mut Vec::new());
            }
        }
    }
    let each = (ALLOCATED.load(Relaxed) - before) / sessions as usize;
    println!("{sessions} sessions under TLS: {each} bytes each, table and index included");
}

criterion_group!(benches, sessions, hostile, asked, growing, worst, remembered, blind);
criterion_main!(benches);
