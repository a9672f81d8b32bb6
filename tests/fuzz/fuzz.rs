//! In-process fuzzers on the stable toolchain.
//!
//! ```text
//! cargo run --release --example fuzz -- TARGET SECONDS [SEED]     fuzz
//! cargo run --release --example fuzz -- TARGET --input HEX        repeat one finding
//! ```
//!
//! An input is a string of bytes. A target turns it into whatever it tests, panics if something is wrong, and returns a
//! number for what it has seen; inputs that show something new are kept and mutated further. A new target is a row in
//! [`TARGETS`].

#![allow(clippy::expect_used, reason = "a test")]

mod boundary;
mod bytes;
mod packets;
mod segments;
#[path = "../transcript/mod.rs"]
mod transcript;

use std::collections::HashSet;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Something to fuzz.
struct Target {
    name: &'static str,
    /// Inputs to begin with.
    seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that mutations insert.
    words: &'static [&'static str],
    /// Makes another input of those there are, and of these pieces.
    mutate: Mutate,
    /// Panics on a finding; returns features of what it saw.
    run: fn(&[u8]) -> Vec<u64>,
}

type Mutate = fn(&[Vec<u8>], &[&str], &mut Random) -> Vec<u8>;

const TARGETS: &[Target] = &[
    Target { name: "boundary", seeds: boundary::seeds, words: &[], mutate: boundary::mutate, run: boundary::run },
    Target { name: "segments", seeds: segments::seeds, words: segments::WORDS, mutate, run: segments::run },
    Target { name: "packets", seeds: packets::seeds, words: &[], mutate, run: packets::run },
    Target { name: "captures", seeds: packets::captures, words: &[], mutate, run: packets::run_capture },
    Target { name: "yaml", seeds: bytes::files, words: bytes::WORDS, mutate, run: bytes::run_file },
    Target { name: "import", seeds: bytes::imports, words: bytes::IMPORT_WORDS, mutate, run: bytes::run_import },
    Target { name: "netlink", seeds: bytes::datagrams, words: &[], mutate, run: bytes::run_datagram },
];

/// No input is longer.
const LONGEST: usize = 4096;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("usage: fuzz {} SECONDS [SEED] | fuzz TARGET --input HEX", names.join("|"));
        ExitCode::from(2)
    };
    let Some(target) = arguments.first().and_then(|name| TARGETS.iter().find(|target| target.name == name)) else {
        return usage();
    };
    match arguments.get(1..).unwrap_or(&[]) {
        [flag, hex] if flag == "--input" => {
            println!("{:x?}", (target.run)(&unhex(hex)));
            ExitCode::SUCCESS
        }
        [seconds] => fuzz(target, seconds.parse().expect("seconds"), 1),
        [seconds, seed] => fuzz(target, seconds.parse().expect("seconds"), seed.parse().expect("a seed")),
        _ => usage(),
    }
}

fn fuzz(target: &Target, seconds: u64, seed: u64) -> ExitCode {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut corpus, mut seen) = ((target.seeds)(), HashSet::new());
    let (began, length) = (Instant::now(), Duration::from_secs(seconds));
    let mut executions = 0_u64;
    let execute = |input: &[u8], executions: u64| {
        let features = catch_unwind(|| (target.run)(input)).ok();
        if features.is_none() {
            println!("FOUND {} after {executions} executions, seed {seed}; repeat with", target.name);
            println!("cargo run --example fuzz -- {} --input {}", target.name, hex(input));
        }
        features
    };
    for input in &corpus {
        let Some(features) = execute(input, executions) else { return ExitCode::FAILURE };
        seen.extend(features);
    }
    while began.elapsed() < length {
        for _ in 0..256 {
            let input = (target.mutate)(&corpus, target.words, &mut random);
            executions += 1;
            let Some(features) = execute(&input, executions) else { return ExitCode::FAILURE };
            let before = seen.len();
            seen.extend(features);
            if seen.len() > before && corpus.len() < 20_000 {
                corpus.push(input);
            }
        }
    }
    let (kept, features) = (corpus.len(), seen.len());
    println!(
        "{}: {executions} executions in {seconds} s, seed {seed}: no finding; {kept} inputs kept, {features} features",
        target.name
    );
    ExitCode::SUCCESS
}

/// Marsaglia's xorshift64.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap_or(0) % limit.max(1)
    }
}

fn mutate(corpus: &[Vec<u8>], words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let to = at + random.below(24).min(input.len() - at);
        match random.below(9) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 if at < input.len() => {
                input[at] = [0, 1, 0x7f, 0x80, 0xff, b'\r', b'\n', b',', b'|', b'9'][random.below(10)]
            }
            3 => drop(input.drain(at..to)),
            4 => {
                let copy = input[at..to].to_vec();
                let into = random.below(input.len() + 1);
                input.splice(into..into, copy);
            }
            5 if !words.is_empty() => drop(input.splice(at..at, words[random.below(words.len())].bytes())),
            6 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend(&other[from..]);
            }
            7 => {
                let noise: Vec<u8> = (0..random.below(12)).map(|_| random.next() as u8).collect();
                input.splice(at..at, noise);
            }
            _ => input.truncate(at.max(1)),
        }
    }
    input.truncate(LONGEST);
    input
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
