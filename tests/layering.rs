//! The rooms use only what stands left of them, and the pure rooms do no IO.

#![expect(clippy::expect_used, reason = "a test says what it expected")]

use std::fs;
use std::path::{Path, PathBuf};

/// Left to right: a room uses only what stands before it (`src/lib.rs` says the same).
const ROOMS: &[&str] = &[
    "time", "lvs", "wire", "ftp", "state", "steer", "director", "config", "health", "kernel", "replay", "doctor",
    "daemon", "cli",
];

/// The first room that may do IO.
const FIRST_IMPURE: &str = "kernel";

const IO: &[&str] = &[
    "std::fs",
    "std::io",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::sync",
    "SystemTime",
    "Instant::now",
    "tokio",
    "libc",
    "TcpStream",
    "UdpSocket",
    "println!",
    "eprintln!",
    "thread_rng",
    "tracing",
];

fn sources() -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let top = folders[0].clone();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                let inside = entry.strip_prefix(&top).expect("inside src");
                let room = inside.iter().next().expect("a name").to_string_lossy();
                files.push((room.trim_end_matches(".rs").to_owned(), entry));
            }
        }
    }
    assert!(files.len() > 100, "only {} files found in src: this test no longer sees the code", files.len());
    files
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|name| *name == room)
}

/// The code of a file without its comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every room named by `crate::ROOM` in the text, also inside `use crate::{…}`.
fn used(text: &str) -> Vec<String> {
    text.match_indices("crate::")
        .flat_map(|(at, found)| {
            let rest = &text[at + found.len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => group.split('}').next().unwrap_or_default(),
                None => rest,
            };
            let first = |part: &str| {
                let name = part.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_');
                name.collect::<String>()
            };
            if rest.starts_with('{') { names.split(',').map(first).collect() } else { vec![first(names)] }
        })
        .collect()
}

#[test]
fn every_room_uses_only_what_stands_left_of_it() {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (room, path) in sources() {
        let Some(own) = rank(&room) else {
            assert!(room == "main" || room == "lib", "{room} is no room: add it to ROOMS, in its place");
            continue;
        };
        for other in used(&code(&path)) {
            looked_at += 1;
            if rank(&other).is_some_and(|other| other > own) {
                wrong.push(format!("{}: {room} uses {other}, which stands right of it", path.display()));
            }
        }
    }
    assert!(looked_at > 20, "only {looked_at} uses found: this test no longer sees the code");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_do_no_io() {
    let limit = rank(FIRST_IMPURE).expect("a room");
    let mut wrong = Vec::new();
    for (room, path) in sources() {
        let in_tests = path.ends_with("tests.rs") || path.ends_with("sample.rs");
        if rank(&room).is_none_or(|own| own >= limit) || in_tests {
            continue;
        }
        let text = code(&path);
        for io in IO.iter().filter(|io| text.contains(**io)) {
            wrong.push(format!("{}: {room} is pure, but uses {io}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
