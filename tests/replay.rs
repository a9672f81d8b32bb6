//! Dialogues through the inspector: as they stand in `transcripts/`, and cut, doubled and shuffled at will.
//!
//! `BLESS=1 cargo test --test replay` writes what happens into the transcripts.

#![allow(clippy::expect_used, reason = "a test's helpers")]

#[path = "transcript/mod.rs"]
mod transcript;

use std::fs;
use std::path::{Path, PathBuf};

use ftpdirector::facade::ftp::{Direction, Event, Flags};
use proptest::prelude::*;
use transcript::{Run, Setting, Step, Transcript};

/// The transcripts. There are some: a test of none would pass.
fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).expect("the transcripts").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() > 20, "only {} files in {}", files.len(), directory.display());
    files
}

#[test]
fn transcripts_tell_what_they_expect() {
    let mut wrong = vec![];
    for file in files() {
        let text = fs::read_to_string(&file).expect("a transcript");
        let transcript = Transcript::parse(&text);
        assert!(!transcript.steps.is_empty(), "{}: nothing is said", file.display());
        let told = transcript.told();
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, transcript.blessed(&told)).expect("the transcript, rewritten");
        } else if told != transcript.expected() {
            for ((step, told), expected) in transcript.steps.iter().zip(&told).zip(transcript.expected()) {
                if told != expected {
                    wrong.push(format!("{}: {step:?}\n  expected {expected:#?}\n  told {told:#?}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is said without interruption by one side.
type Turn = (Direction, Vec<u8>);

/// Numbers that decide; zeros when they run out, which is the simplest choice everywhere.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % limit.max(1)
    }
}

/// What a run comes to: everything that must not depend on segmentation.
#[derive(Debug, PartialEq)]
struct Outcome {
    events: Vec<Event>,
    /// How often a port was asked for.
    asked: usize,
    /// The bytes that each side got.
    streams: [Vec<u8>; 2],
}

/// One side's bytes as its peer gets them; every copy of a byte must be the same.
#[derive(Default)]
struct Stream {
    bytes: Vec<Option<u8>>,
    differs: Option<usize>,
}

impl Stream {
    /// What the peer has already is no matter.
    fn put(&mut self, at: usize, acked: usize, bytes: &[u8]) {
        self.bytes.resize(self.bytes.len().max(at + bytes.len()), None);
        for (offset, byte) in bytes.iter().enumerate().filter(|(offset, _)| at + offset >= acked) {
            match self.bytes[at + offset] {
                Some(before) if before != *byte => self.differs = Some(at + offset),
                _ => self.bytes[at + offset] = Some(*byte),
            }
        }
    }
}

/// A turn in pieces: cut, some of them doubled, in any order.
fn pieces(length: usize, choices: &mut Choices) -> Vec<(usize, usize)> {
    let mut cuts = vec![0, length];
    for _ in 0..choices.below(8) {
        cuts.push(choices.below(length));
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces: Vec<_> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
    for _ in 0..choices.below(4) {
        // a retransmission, cut differently
        let (from, to) = (choices.below(length), choices.below(length + 1));
        if from < to {
            pieces.push((from, to));
        }
    }
    for _ in 0..choices.below(6) {
        let (a, b) = (choices.below(pieces.len()), choices.below(pieces.len()));
        pieces.swap(a, b);
    }
    pieces
}

fn play(setting: &Setting, turns: &[Turn], mut choices: Option<&mut Choices>) -> Outcome {
    let mut run = Run::new(setting.clone());
    let start = [Direction::ToServer, Direction::ToClient].map(|direction| run.next(direction));
    let mut sent = [0_usize; 2];
    let mut before: [&[u8]; 2] = [&[]; 2];
    let mut streams = [Stream::default(), Stream::default()];
    for (direction, bytes) in turns {
        let side = *direction as usize;
        // who speaks has read what was said
        run.acked[side] = start[1 - side].wrapping_add(u32::try_from(sent[1 - side]).expect("a sequence number"));
        let at =
            |offset: usize| start[side].wrapping_add(u32::try_from(sent[side] + offset).expect("a sequence number"));
        let parts =
            choices.as_deref_mut().map_or_else(|| vec![(0, bytes.len())], |choices| pieces(bytes.len(), choices));
        for (from, to) in parts {
            run.segment(*direction, at(from), Flags::ACK, bytes[from..to].to_vec());
        }
        if let Some(choices) = choices.as_deref_mut() {
            // a late copy of something that was said before
            let old = before[side];
            let (from, to) = (choices.below(old.len()), choices.below(old.len() + 1));
            if from < to {
                let seq = at(0).wrapping_sub(u32::try_from(old.len() - from).expect("a turn"));
                run.segment(*direction, seq, Flags::ACK, old[from..to].to_vec());
            }
            before[side] = bytes;
        }
        for (direction, seq, bytes, _) in run.released.drain(..) {
            let side = direction as usize;
            let acked = run.acked[1 - side].wrapping_sub(start[side]) as usize;
            streams[side].put(seq.wrapping_sub(start[side]) as usize, acked, &bytes);
        }
        sent[side] += bytes.len();
    }
    assert!(!run.is_holding(), "complete lines are never held");
    let refused = run.events.iter().any(|event| matches!(event, Event::Refuse { .. }));
    // edits are remembered until they are acknowledged, or for two minutes
    assert!(refused || run.session.deadline().is_none());
    assert!(refused || streams.iter().all(|stream| stream.differs.is_none()), "a retransmission differs");
    let streams = streams.map(|stream| stream.bytes.into_iter().map(|byte| byte.expect("no gap")).collect());
    Outcome { events: run.events, asked: run.asked, streams }
}

/// A transcript's dialogue, if it can be cut: nothing in it depends on time, and all of it can be read.
fn turns(transcript: &Transcript) -> Option<Vec<Turn>> {
    let mut turns: Vec<Turn> = vec![];
    for step in &transcript.steps {
        match (step, turns.last_mut()) {
            (Step::Bytes(direction, bytes), Some((last, turn))) if last == direction => turn.extend(bytes),
            (Step::Bytes(direction, bytes), _) => turns.push((*direction, bytes.clone())),
            (Step::Flag(..), _) => {}
            (Step::Pass(_), _) => return None,
        }
    }
    let told = play(&transcript.setting, &turns, None);
    let blind = told.events.iter().any(|event| matches!(event, Event::Blind { .. }));
    (!blind).then_some(turns)
}

fn same_however_cut(setting: &Setting, turns: &[Turn], choices: &mut Choices) -> Result<(), TestCaseError> {
    let (whole, cut) = (play(setting, turns, None), play(setting, turns, Some(choices)));
    prop_assert_eq!(&whole.events, &cut.events);
    prop_assert_eq!(whole.asked, cut.asked);
    // of a refused command only the part at hand can be overwritten; of a reply that turns out to be wrong the address
    // may have been rewritten before
    let refused = whole.events.iter().any(|event| matches!(event, Event::Refuse { .. }));
    let wrong = whole.events.iter().any(|event| matches!(event, Event::UnparsedReply { code: 227, .. }));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !refused {
        prop_assert_eq!(text(&whole.streams[0]), text(&cut.streams[0]));
    }
    if !wrong {
        prop_assert_eq!(text(&whole.streams[1]), text(&cut.streams[1]));
    }
    Ok(())
}

/// Commands and what a server might say to them.
const COMMANDS: &[&str] = &[
    "PASV",
    "pasv",
    "EPSV",
    "EPSV 1",
    "LPSV",
    "CPSV",
    "EPSV ALL",
    "NOOP",
    "PORT 198,51,100,7,200,10",
    "RETR a",
    "EPRT |1|198.51.100.7|51210|",
    "ABOR",
    "REIN",
    "QUIT",
    "PRET RETR a",
    "LIST",
    "PORT 198,51,100,7,200",
    "PASS secret",
    "\u{0}NOOP",
    "  STOR b",
    "USER x y z",
    "XYZZY",
    "",
];
const REPLIES: &[&str] = &[
    "227 Entering Passive Mode (10,0,0,11,121,26).",
    "227 Entering Passive Mode (192,168,100,111,4,9)",
    "227 =10,0,0,1,4,9",
    "227 10,0,0,11,121,26",
    "227-a\r\n227 (127,0,0,1,154,21)",
    "227-PASV 1,2,3,4,5,6\r\n227 =1,2,3,4,5,6",
    "227-\r\n (10,0,0,11,121,26)\r\n227 End",
    "227 (172,16,0,9,4,9 )",
    "227 x (10, 0, 0, 5, 195, 80)",
    "229 (|||31002|)",
    "229 Entering Extended Passive Mode (|||31002|)",
    "229 x (!!!9447!).",
    "229 (|1|10.0.0.11|31002|)",
    "229 |||1234|",
    "228 Long (4,4,10,0,0,11,2,121,26)",
    "228 (6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,17,2,121,26)",
    "200 ok",
    "500 no",
    "150 a",
    "226 b",
    "211-Features:\r\n 227 x (1,2,3,4,5,6)\r\n211 End",
    "227 FTP2 3 (0,0,0,0,121,26) a",
    "229 no",
    "hello",
    "227 (10,0,0,11,0,22)",
    "229 (|||99999|)",
    "",
];

/// Commands and replies, mostly as many: some clients do not wait, and some servers say more or less than they should.
fn dialogue() -> impl Strategy<Value = Vec<Turn>> {
    let line = |pool: &'static [&'static str]| (0..pool.len(), any::<bool>()).prop_map(|(at, bare)| (pool[at], bare));
    let turn = (1..4_usize, 0..8_usize).prop_flat_map(move |(commands, off)| {
        let replies = (commands + 1).saturating_sub([0, 2].get(off).copied().unwrap_or(1));
        (proptest::collection::vec(line(COMMANDS), commands), proptest::collection::vec(line(REPLIES), replies))
    });
    proptest::collection::vec(turn, 1..6).prop_map(|turns| {
        let text = |lines: Vec<(&str, bool)>, direction| {
            let line = |(text, bare): (&str, bool)| {
                // a server that ends some lines with LF and others with CR LF does not
                let end = if bare && direction == Direction::ToServer { "\n" } else { "\r\n" };
                [text, end].concat().into_bytes()
            };
            (direction, lines.into_iter().flat_map(line).collect::<Vec<u8>>())
        };
        let turns = turns
            .into_iter()
            .flat_map(|(commands, replies)| [text(commands, Direction::ToServer), text(replies, Direction::ToClient)]);
        turns.filter(|(_, bytes)| !bytes.is_empty()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transcripts_come_out_the_same_however_cut(which in any::<usize>(), choices in proptest::collection::vec(any::<u8>(), 0..400)) {
        let all: Vec<_> = files().iter().filter_map(|file| {
            let transcript = Transcript::parse(&fs::read_to_string(file).expect("a transcript"));
            turns(&transcript).map(|turns| (transcript.setting, turns))
        }).collect();
        let (setting, turns) = &all[which % all.len()];
        same_however_cut(setting, turns, &mut Choices(choices.into_iter()))?;
    }

    #[test]
    fn dialogues_come_out_the_same_however_cut(
        turns in dialogue(),
        advertise in proptest::option::of(any::<[u8; 4]>()),
        shift in proptest::option::of(prop_oneof![Just(9), any::<u16>()]),
        public in any::<bool>(),
        choices in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut setting = Setting::default();
        setting.policy.advertise = advertise.map(Into::into);
        setting.policy.public_ports = public;
        for port in [31002, 1033, 1286, 39445, 50000, 9447, 1234] {
            setting.tell.extend(shift.map(|to| (port, to)));
        }
        same_however_cut(&setting, &turns, &mut Choices(choices.into_iter()))?;
    }
}
