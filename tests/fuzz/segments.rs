//! Segments of one control connection, as hostile as they come.
//!
//! Of an input, a byte says what follows: a direction, a length and those bytes, or a jump of sequence numbers, a flag,
//! time, or a retransmission.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use ftpdirector::facade::ftp::{BlindReason, Bounce, Direction, Event, Flags, Replies};

use super::transcript::{Run, Setting, Step, Transcript};

pub(super) const WORDS: &[&str] = &[
    "PASV\r\n",
    "EPSV\r\n",
    "EPSV ALL\r\n",
    "PORT 198,51,100,7,200,10\r\n",
    "PORT 10,0,0,1,4,1\r\n",
    "EPRT |1|198.51.100.7|80|\r\n",
    "EPRT |2|::1|5000|\r\n",
    "LPRT 4,4,198,51,100,7,2,4,1\r\n",
    "LPRT 6,16,",
    "RETR x\r\n",
    "ABOR\r\n",
    "\u{ff}",
    "\r\n",
    "227 Entering Passive Mode (10,0,0,11,121,26).\r\n",
    "227-",
    "227 ",
    "229 (|||31002|)\r\n",
    "228 (4,4,10,0,0,11,2,121,26)\r\n",
    "AUTH TLS\r\n",
    "234 ok\r\n",
    "\u{16}\u{3}\u{1}",
    "QUIT\r\n",
    "REIN\r\n",
    "200 ok\r\n",
    "220-",
    "1,2,3,4,",
    "255,255",
    "(|||",
    "(|1|10.0.0.1|",
    "\u{1}\r\n",
    "\u{16}\r\n",
    "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
    "NOOP\r\n",
    "X\n227\t(1,1,1,1,12,234)\r\n",
    "220 hello\n",
    "331 x\n",
    "\r",
    "PORT 266,0,0,1,4,1\r\n",
    "EPRT |1|198.51.100.7|-65456|\r\n",
    "ADAT x\r\n",
    "500 no\r\n",
    "250 extra\r\n",
    "213-x\r\n",
    "213 y\r\n",
];

/// The transcripts, as inputs.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut seeds = vec![vec![0]];
    for entry in fs::read_dir(directory).expect("the transcripts") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a transcript");
        let transcript = Transcript::parse(&text);
        let mut input = vec![u8::from(transcript.setting.policy.replies == Replies::Unseen)];
        for step in &transcript.steps {
            match step {
                Step::Bytes(direction, bytes) => {
                    for piece in bytes.chunks(127) {
                        input.push(if *direction == Direction::ToServer { SAY } else { ANSWER });
                        input.push(u8::try_from(piece.len()).expect("a short piece"));
                        input.extend(piece);
                    }
                }
                Step::Flag(direction, _) => input.extend([FIN, *direction as u8]),
                Step::Pass(_) => input.extend([WAIT, 200]),
            }
        }
        seeds.push(input);
    }
    assert!(seeds.len() > 20, "only {} transcripts", seeds.len() - 1);
    seeds
}

const SAY: u8 = 0;
const ANSWER: u8 = 1;
const JUMP: u8 = 2;
const FIN: u8 = 3;
const WAIT: u8 = 4;
const REPEAT: u8 = 5;
const SKIP: u8 = 6;
const ODD: u8 = 7;

pub(super) fn run(input: &[u8]) -> Vec<u64> {
    let Some((first, mut rest)) = input.split_first() else { return vec![] };
    let mut run = Run::new(setting(*first));
    // what to send again: direction, sequence number, bytes
    let mut sent: Vec<(Direction, u32, Vec<u8>)> = vec![];
    let mut skip = 0_u32;
    let start = run.next(Direction::ToServer);
    let mut jumped = false;
    while let [what, argument, tail @ ..] = rest {
        rest = tail;
        let direction = if *argument & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        match what % 8 {
            what @ (SAY | ANSWER) => {
                let direction = if what == SAY { Direction::ToServer } else { Direction::ToClient };
                let (bytes, tail) = rest.split_at(usize::from(*argument).min(rest.len()));
                rest = tail;
                let seq = run.next(direction).wrapping_add(std::mem::take(&mut skip));
                sent.push((direction, seq, bytes.to_vec()));
                if seq == run.next(direction) {
                    run.send(direction, bytes);
                } else {
                    run.segment(direction, seq, Flags::ACK, bytes.to_vec());
                }
            }
            JUMP => {
                jumped = true;
                run.jump(direction, u32::from(*argument) << 15);
            }
            FIN => {
                let seq = run.next(direction);
                run.segment(direction, seq, Flags::FIN.with(Flags::ACK), vec![]);
            }
            WAIT => run.pass(u64::from(*argument) * 4),
            REPEAT => {
                if let Some((direction, seq, bytes)) = sent.get(usize::from(*argument) % sent.len().max(1)).cloned() {
                    let cut = usize::from(*argument >> 4).min(bytes.len());
                    let seq = seq.wrapping_add(u32::try_from(cut).expect("a short piece"));
                    run.segment(direction, seq, Flags::ACK, bytes[cut..].to_vec());
                }
            }
            SKIP if *argument == u8::MAX => run.give_up_memory(),
            SKIP => skip = u32::from(*argument),
            ODD => {
                let flags = Flags::from_bits(*argument);
                let seq = run.next(direction).wrapping_sub(u32::from(*argument >> 6));
                let released = run.released.len();
                run.segment(direction, seq, flags, b"\n"[..usize::from(*argument & 32) / 32].to_vec());
                if !flags.has(Flags::ACK) || flags.has(Flags::RST) || flags.has(Flags::SYN) {
                    run.released.truncate(released); // no server reads it
                }
            }
            _ => {}
        }
        let bytes = run.session.heap_bytes();
        assert!(bytes <= MOST, "{bytes} bytes in one session");
    }
    // of other numbers the server reads nothing
    if !jumped {
        obeys(&run, start);
    }
    run.pass(180_000);
    assert!(!run.is_holding(), "held for ever: {:?} after {:?}", run.session, run.events);
    assert_eq!(run.session.deadline(), None);
    features(&run.events)
}

/// How many bytes a session may own.
const MOST: usize = 64 * 1024;

/// Of what the client says, the server gets no command that must be refused.
fn obeys(run: &Run, start: u32) {
    let policy = &run.setting.policy;
    let ended = run.events.contains(&Event::End);
    // encrypted, by the server's word or as far as one knows who does not hear it: not put in order
    let encrypted = |event: &Event| match event {
        Event::Blind { reason } => {
            policy.replies == Replies::Unseen && matches!(reason, BlindReason::Tls | BlindReason::Gssapi)
        }
        Event::Reply { code } => matches!(code, 234 | 235),
        _ => false,
    };
    let dark = run.events.iter().any(encrypted);
    if policy.bounce == Bounce::Allow || ended || dark {
        return;
    }
    let mut stream: Vec<Option<u8>> = vec![];
    for (_, seq, bytes, _) in run.released.iter().filter(|(direction, ..)| *direction == Direction::ToServer) {
        let Ok(at) = usize::try_from(seq.wrapping_sub(start).cast_signed()) else { continue };
        if at > 1 << 17 {
            continue;
        }
        stream.resize(stream.len().max(at + bytes.len()), None);
        for (slot, byte) in stream[at..].iter_mut().zip(bytes) {
            slot.get_or_insert(*byte);
        }
    }
    let stream: Vec<u8> = stream.into_iter().map_while(|byte| byte).collect();
    for line in stream.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        let line = String::from_utf8_lossy(line);
        for refused in REFUSED {
            assert!(!line.starts_with(refused), "the server gets {line:?}: {:?}", run.events);
        }
    }
}

const REFUSED: &[&str] = &[
    "PORT 10,0,0,1,4,1",
    "PORT 266,0,0,1,4,1",
    "EPRT |1|198.51.100.7|80|",
    "EPRT |2|::1|5000|",
    "EPRT |1|198.51.100.7|-65456|",
];

fn setting(bits: u8) -> Setting {
    let mut setting = Setting::default();
    if bits & 1 != 0 {
        (setting.policy.replies, setting.policy.advertise) = (Replies::Unseen, None);
    }
    if bits & 2 != 0 {
        setting.policy.bounce = Bounce::Allow;
    }
    if bits & 4 != 0 {
        setting.policy.advertise = None;
    }
    if bits & 8 != 0 {
        setting.policy.advertise = Some([255, 255, 255, 255].into());
    }
    if bits & 16 != 0 {
        setting.policy.line_limit = 64;
    }
    if bits & 32 != 0 {
        setting.tell.extend([(31002, 1024), (1033, 65535), (1234, 50000)]);
    }
    setting
}

/// Which kinds of events followed each other.
fn features(events: &[Event]) -> Vec<u64> {
    let kind = |event: &Event| {
        let mut hasher = DefaultHasher::new();
        match event {
            Event::ExpectActive { verb, source, .. } => (verb, *source as u8).hash(&mut hasher),
            Event::ExpectPassive { verb, code, .. } => (verb, code).hash(&mut hasher),
            Event::Reply { code } => (code / 100).hash(&mut hasher),
            Event::Rewrite { code, .. } => code.hash(&mut hasher),
            other => other.to_string().hash(&mut hasher),
        }
        std::mem::discriminant(event).hash(&mut hasher);
        hasher.finish()
    };
    events.windows(2).map(|pair| kind(&pair[0]).rotate_left(1) ^ kind(&pair[1])).collect()
}
