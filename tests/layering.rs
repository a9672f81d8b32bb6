//! The rooms use only what stands left of them, no two files need each other, and the pure rooms do no IO.
//!
//! `cargo test --test layering -- --nocapture` prints the rooms, the floor each stands on, and the knots.

#![expect(clippy::expect_used, reason = "a test says what it expected")]

#[path = "layering/source.rs"]
mod source;
#[path = "layering/tree.rs"]
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tree::Tree;

/// Left to right: a room uses only what stands before it (`src/lib.rs` says the same).
const ROOMS: &[&str] = &[
    "time",
    "lvs",
    "api",
    "wire",
    "ftp",
    "state",
    "steer",
    "keepalive",
    "director",
    "explain",
    "config",
    "import",
    "plan",
    "health",
    "page",
    "files",
    "kernel",
    "resolver",
    "replay",
    "doctor",
    "client",
    "daemon",
    "cli",
];

/// What runs in the command line only, and what runs in the daemon only: neither uses the other.
const APART: [&str; 2] = ["client", "daemon"];

/// The longest file.
const LINES: usize = 500;

/// The first room that may do IO.
const FIRST_IMPURE: &str = "files";

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
    "rustix",
    "TcpStream",
    "UdpSocket",
    "println!",
    "eprintln!",
    "thread_rng",
    "tracing",
];

/// Every file under `src/`, as its module path (`kernel::nftables::wire`; the crate's root is empty) and its text.
/// `main.rs` is another crate: it uses this one from outside.
fn sources() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                let inside = entry.strip_prefix(&top).expect("inside src").with_extension("");
                let mut names: Vec<_> = inside.iter().map(|name| name.to_string_lossy()).collect();
                names.pop_if(|last| last == "mod" || last == "lib");
                if names != ["main"] {
                    files.push((names.join("::"), fs::read_to_string(&entry).expect("a source file")));
                }
            }
        }
    }
    assert!(files.len() > 100, "only {} files found in src: this test no longer sees the code", files.len());
    files
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|name| *name == room)
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Which other rooms each room uses.
fn uses(tree: &Tree) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut rooms: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for module in tree.modules().filter(|module| !module.is_empty()) {
        rooms.entry(room(module)).or_default();
    }
    for (from, to) in tree.edges() {
        if !from.is_empty() && !to.is_empty() && room(from) != room(to) {
            rooms.entry(room(from)).or_default().insert(room(to));
        }
    }
    rooms
}

/// The floor a room stands on: one above the highest room it uses. Rooms must be in order.
fn floor(room: &str, uses: &BTreeMap<&str, BTreeSet<&str>>) -> usize {
    uses[room].iter().map(|below| floor(below, uses) + 1).max().unwrap_or(0)
}

#[test]
fn every_room_uses_only_what_stands_left_of_it() {
    let tree = Tree::new(sources());
    let mut wrong = Vec::new();
    for module in tree.modules().filter(|module| !module.is_empty()) {
        assert!(rank(room(module)).is_some(), "{module} is in no room: add it to ROOMS, in its place");
    }
    for (from, to) in tree.edges() {
        if rank(room(from)) < rank(room(to)) && !from.is_empty() {
            wrong.push(format!("{from} uses {to}, which stands right of it"));
        }
        if room(from) != room(to) && APART.contains(&room(from)) && APART.contains(&room(to)) {
            wrong.push(format!("{from} uses {to}, which runs in another process"));
        }
    }
    assert!(tree.edges().count() > 200, "only {} uses found: this test no longer sees the code", tree.edges().count());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let uses = uses(&tree);
    for name in ROOMS {
        let files = tree.modules().filter(|module| room(module) == *name).count();
        let below: Vec<&str> = uses[name].iter().copied().collect();
        println!("floor {}  {name:<9} {files:>3} file(s)  uses {}", floor(name, &uses), below.join(" "));
    }
}

#[test]
fn no_two_files_need_each_other() {
    let tree = Tree::new(sources());
    let cycles = tree.cycles();
    println!("{} file(s), {} use(s), {} cycle(s)", tree.modules().count(), tree.edges().count(), cycles.len());
    let text: Vec<String> = cycles.iter().map(|cycle| tree.describe(cycle)).collect();
    assert!(cycles.is_empty(), "{} cycle(s):\n{}", cycles.len(), text.join("\n"));
}

#[test]
fn no_file_is_longer_than_a_person_reads() {
    let long = sources().into_iter().filter(|(_, text)| text.lines().count() > LINES);
    let names: Vec<String> = long.map(|(module, text)| format!("{module}: {}", text.lines().count())).collect();
    assert!(names.is_empty(), "over {LINES} lines: {}", names.join(", "));
}

#[test]
fn pure_rooms_do_no_io() {
    let limit = rank(FIRST_IMPURE).expect("a room");
    let mut wrong = Vec::new();
    let tree = Tree::new(sources());
    for module in tree.modules() {
        if rank(room(module)).is_none_or(|own| own >= limit) {
            continue;
        }
        for io in IO.iter().filter(|io| tree.code(module).contains(**io)) {
            wrong.push(format!("{module} is pure, but uses {io}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
