//! Segment → verdict in the inspector. `cargo bench --bench inspector`.
#![allow(missing_docs, reason = "criterion's macros")]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ftpdirector::facade::ftp::{
    Bounce, Context, Direction, Event, Flags, Policy, Replies, Segment, Session, Syn, Told, Verdict,
};
use ftpdirector::facade::time::Time;
use ftpdirector::facade::wire::Packet;

struct Side {
    direction: Direction,
    seq: u32,
    ack: u32,
}

const POLICY: Policy = Policy {
    replies: Replies::Seen,
    advertise: Some(Ipv4Addr::new(192, 0, 2, 10)),
    bounce: Bounce::Reject,
    line_limit: 4096,
    implicit_tls: false,
    names: false,
    public_ports: false,
};

fn offer(session: &mut Session, side: &Side, payload: &mut [u8], events: &mut Vec<Event>) -> Verdict {
    let client = SocketAddr::from(([198, 51, 100, 7], 40_000));
    let context = Context { now: Time::ZERO, policy: &POLICY, client, syn: Syn::Unseen };
    let Side { direction, seq, ack } = *side;
    let mut segment = Segment { direction, seq, ack, flags: Flags::ACK, payload };
    session.segment(&context, &mut segment, &mut |port| Told::Port(port), events)
}

/// One segment after the other in one session.
fn segments(c: &mut Criterion) {
    let mut group = c.benchmark_group("segment");
    for (name, line) in [
        ("NOOP", &b"NOOP\r\n"[..]),
        ("PASS", b"PASS correct horse battery staple\r\n"),
        ("RETR", b"RETR some/file/in/a/directory.tar.gz\r\n"),
        ("PORT", b"PORT 198,51,100,7,200,10\r\n"),
        ("PORT refused", b"PORT 10,0,0,200,200,10\r\n"),
        ("EPSV", b"EPSV\r\n"),
        ("TLS in a blind session", b"\x17\x03\x03\x00\x20................................"),
    ] {
        group.bench_function(name, |b| {
            let (mut session, mut events) = (Session::new(), Vec::with_capacity(16));
            let mut side = Side { direction: Direction::ToServer, seq: 1, ack: 0 };
            let mut payload = line.to_vec();
            b.iter(|| {
                payload.copy_from_slice(line);
                events.clear();
                let verdict = offer(&mut session, &side, black_box(&mut payload), &mut events);
                side.seq = side.seq.wrapping_add(line.len() as u32);
                verdict
            });
        });
    }
    group.bench_function("PASV and its 227, rewritten", |b| {
        let (mut session, mut events) = (Session::new(), Vec::with_capacity(16));
        let (ask, answer) = (b"PASV\r\n", b"227 Entering Passive Mode (10,0,0,11,121,26).\r\n");
        let mut client = Side { direction: Direction::ToServer, seq: 1, ack: 1 };
        let mut server = Side { direction: Direction::ToClient, seq: 1, ack: 1 };
        b.iter(|| {
            events.clear();
            let (mut asked, mut answered) = (*ask, *answer);
            let first = offer(&mut session, &client, &mut asked, &mut events);
            client.seq = client.seq.wrapping_add(ask.len() as u32);
            server.ack = client.seq;
            let second = offer(&mut session, &server, &mut answered, &mut events);
            server.seq = server.seq.wrapping_add(answer.len() as u32);
            client.ack = server.seq;
            (first, second)
        });
    });
    group.finish();
}

/// The next segment of any of many sessions, in an order that no cache foresees.
fn sessions(c: &mut Criterion) {
    let mut group = c.benchmark_group("sessions");
    for count in [1_usize, 10_000, 1_000_000] {
        /// As a table keeps them: one cache line each.
        #[repr(align(64))]
        struct Entry(Session, u32);
        let mut sessions: Vec<Entry> = (0..count).map(|_| Entry(Session::new(), 1)).collect();
        let mut events = Vec::with_capacity(16);
        let mut payload = *b"CWD /pub\r\n";
        let mut at = 0_usize;
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let Entry(session, seq) = &mut sessions[(at >> 24) % count];
                events.clear();
                let side = Side { direction: Direction::ToServer, seq: *seq, ack: 0 };
                *seq = seq.wrapping_add(payload.len() as u32);
                offer(session, &side, black_box(&mut payload), &mut events)
            });
        });
        let heap: usize = sessions.iter().map(|Entry(session, _)| session.heap_bytes()).sum();
        println!("{count} idle sessions: {} bytes each, {heap} bytes besides", size_of::<Session>());
    }
    group.finish();
}

/// What a hostile client can make it do in one go. What is left of a segment is read in another.
fn hostile(c: &mut Criterion) {
    let mut group = c.benchmark_group("hostile");
    type Piece = fn(usize) -> Vec<u8>;
    let pieces: &[(&str, Piece)] = &[
        ("one byte a segment", |n| vec![b"PORT 198,51,100,7,200,10\r\n"[n % 26]]),
        ("a PORT without end", |n| if n % 4000 == 0 { b"\nPORT ".to_vec() } else { vec![b'1'] }),
        ("1460 bytes of short lines", |_| b"A\n".repeat(730)),
        ("1460 bytes of noise", |n| (0..1460).map(|i| (i * 31 + n * 7) as u8).collect()),
        ("64 KiB of noise", |n| (0..65_000).map(|i| (i * 31 + i / 251 * 7 + n * 7) as u8).collect()),
        ("64 KiB of one line", |_| [&[b'x'; 64_000][..], b"\n"].concat()),
        ("64 KiB of telnet", |_| [&b"\xff\xf1".repeat(32_000)[..], b"\n"].concat()),
        ("blanks behind a verb", |n| if n % 2 == 0 { b"PORT".to_vec() } else { [&[b' '; 1400][..], b"\n"].concat() }),
        ("blanks before a verb", |n| {
            if n % 2 == 0 { b"\xff".to_vec() } else { [&b"\xff ".repeat(700)[..], b"\n"].concat() }
        }),
        ("RETR x 241", |_| b"RETR\r\n".repeat(241)),
        ("PORT x 60", |_| b"PORT 198,51,100,7,4,1\r\n".repeat(60)),
        ("PORT x 60, refused", |_| b"PORT 10,0,0,99,200,10\r\n".repeat(60)),
        ("PORT and NOOP x 40, refused", |_| b"PORT 10,0,0,99,200,10\r\nNOOP\r\n".repeat(40)),
        ("257 empty lines and a PORT", |_| [&b"\n".repeat(257)[..], b"PORT 10,0,0,99,200,10\r\n"].concat()),
        ("64 KiB of empty lines", |_| b"\r\n".repeat(32_000)),
        ("gaps", |_| b"PASS xxxxxxxxxxxxxxxxxx\r\n".repeat(4)),
    ];
    for (name, piece) in pieces {
        let mut most = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(*name, |b| {
            let (mut session, mut events) = (Session::new(), Vec::with_capacity(1024));
            let mut side = Side { direction: Direction::ToServer, seq: 1, ack: 0 };
            let mut n = 0_usize;
            let mut payload = vec![];
            let gap = if *name == "gaps" { 7 } else { 0 };
            b.iter(|| {
                events.clear();
                if payload.is_empty() {
                    payload = piece(n);
                    n += 1;
                }
                let verdict = offer(&mut session, &side, &mut payload, &mut events);
                if verdict != Verdict::More {
                    side.seq = side.seq.wrapping_add(payload.len() as u32 + gap);
                    payload.clear();
                }
                most = most.max(session.heap_bytes());
                verdict
            });
        });
        println!("{name}: at most {most} bytes in the session");
    }
    group.finish();
}

/// What a hostile server can make it do in one go, while a port is awaited.
fn hostile_server(c: &mut Criterion) {
    let mut group = c.benchmark_group("hostile server");
    let replies: &[(&str, Vec<u8>)] = &[
        ("64 KiB of empty lines", b"\r\n".repeat(32_000)),
        ("64 KiB of lines without a code", b"x\r\n".repeat(21_000)),
        ("64 KiB of short replies", b"200\r\n".repeat(13_000)),
        ("64 KiB of 227 in one reply", b"227-1,1,1,1,9,9\r\n".repeat(3_700)),
        ("64 KiB of one 227", [&b"227 "[..], &b"1,1,1,1,1,1,1,".repeat(4_600), b"\r\n"].concat()),
        ("64 KiB of bare LF", [&b"200 "[..], &b"\n".repeat(64_000), b"\r\n"].concat()),
    ];
    for (name, reply) in replies {
        let mut most = 0;
        group.bench_function(*name, |b| {
            let (mut session, mut events) = (Session::new(), Vec::with_capacity(1024));
            let mut client = Side { direction: Direction::ToServer, seq: 1, ack: 1 };
            let mut side = Side { direction: Direction::ToClient, seq: 1, ack: 1 };
            let _ = offer(&mut session, &side, &mut b"220 hello\r\n".to_vec(), &mut events);
            side.seq = side.seq.wrapping_add(11);
            let mut payload = vec![];
            b.iter(|| {
                events.clear();
                if payload.is_empty() {
                    client.ack = side.seq;
                    let _ = offer(&mut session, &client, &mut b"PASV\r\n".to_vec(), &mut events);
                    client.seq = client.seq.wrapping_add(6);
                    side.ack = client.seq;
                    payload = reply.clone();
                }
                let verdict = offer(&mut session, &side, &mut payload, &mut events);
                if verdict != Verdict::More {
                    side.seq = side.seq.wrapping_add(payload.len() as u32);
                    payload.clear();
                }
                most = most.max(session.heap_bytes());
                verdict
            });
        });
        println!("{name}: at most {most} bytes in the session");
    }
    group.finish();
}

fn packets(c: &mut Criterion) {
    let mut packet = vec![0x45, 0, 0, 46, 0, 1, 0x40, 0, 64, 6, 0, 0, 198, 51, 100, 7, 10, 0, 0, 11];
    packet.extend([0x9c, 0x40, 0, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    packet.extend(b"PASV\r\n");
    c.bench_function("packet parsed and its checksum amended", |b| {
        b.iter(|| {
            let parsed = Packet::parse(black_box(&packet)).ok()?;
            let before = parsed.payload_sum(&packet);
            parsed.amend(&mut packet, before);
            Some(parsed.payload)
        });
    });
}

criterion_group!(inspector, segments, sessions, hostile, hostile_server, packets);
criterion_main!(inspector);
