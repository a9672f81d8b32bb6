//! Segments of one control connection, as hostile as they come.
//!
//! Of an input, a byte says what follows: a direction, a length and those bytes, or a jump of sequence numbers, a flag,
//! time, or a retransmission.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use ftpdirector::ftp::{Bounce, Direction, Event, Flags, Replies};

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
            JUMP => run.jump(direction, u32::from(*argument) << 15),
            FIN => {
                let seq = run.next(direction);
                run.segment(direction, seq, Flags::FIN, vec![]);
            }
            WAIT => run.pass(u64::from(*argument) * 4),
            REPEAT => {
                if let Some((direction, seq, bytes)) = sent.get(usize::from(*argument) % sent.len().max(1)).cloned() {
                    let cut = usize::from(*argument >> 4).min(bytes.len());
                    let seq = seq.wrapping_add(u32::try_from(cut).expect("a short piece"));
                    run.segment(direction, seq, Flags::ACK, bytes[cut..].to_vec());
                }
            }
            SKIP => skip = u32::from(*argument),
            ODD => {
                let flags = Flags::from_bits(*argument);
                let seq = run.next(direction).wrapping_sub(u32::from(*argument >> 6));
                run.segment(direction, seq, flags, b"\n"[..usize::from(*argument & 2) / 2].to_vec());
            }
            _ => {}
        }
        let bytes = run.session.heap_bytes();
        assert!(bytes <= 256 * 1024, "{bytes} bytes in one session");
    }
    run.pass(60_000);
    assert!(!run.is_holding(), "held for ever: {:?} after {:?}", run.session, run.events);
    assert_eq!(run.session.deadline(), None);
    features(&run.events)
}

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
