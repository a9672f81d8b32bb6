//! Files that are not ours: what to do with them instead.

use super::format::by_sight;
use super::problem::{Place, Source, Wrong, place_of};

/// What a file is that is another program's, and where that shows.
pub(super) fn recognized(text: &str, file: &str) -> Option<(Place, Wrong)> {
    let (index, format) = by_sight(text)?;
    let line = text.lines().nth(index)?;
    let before = line.chars().take_while(|c| c.is_whitespace()).count();
    let width = line.trim().chars().count().max(1);
    let place = Place { line: index + 1, column: before + 1, width, source: Source::MAIN };
    let cure = format!("`ftpdirector import {file}` writes a configuration from it");
    Some((place, Wrong::new(format!("this looks like {}", format.noun()), cure)))
}

/// How files begin that are no text: bytes, what they are, what to do. Of pcap both byte orders, with micro- and nanoseconds.
const BEGINNINGS: [(&[u8], &str, &str); 9] = [
    (&[0xd4, 0xc3, 0xb2, 0xa1], CAPTURE, REPLAY),
    (&[0xa1, 0xb2, 0xc3, 0xd4], CAPTURE, REPLAY),
    (&[0x4d, 0x3c, 0xb2, 0xa1], CAPTURE, REPLAY),
    (&[0xa1, 0xb2, 0x3c, 0x4d], CAPTURE, REPLAY),
    // pcapng
    (&[0x0a, 0x0d, 0x0d, 0x0a], CAPTURE, REPLAY),
    (&[0x1f, 0x8b], "this file is compressed (gzip)", "unpack it"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "this file is compressed (zstd)", "unpack it"),
    (&[0xff, 0xfe], "this file is UTF-16", UTF8),
    (&[0xfe, 0xff], "this file is UTF-16", UTF8),
];
const CAPTURE: &str = "this is a packet capture";
const REPLAY: &str = "`ftpdirector replay FILE` shows what would happen to its sessions";
const UTF8: &str = "save the file as UTF-8";

/// What is wrong with a file that is UTF-8 up to byte `valid`.
pub(super) fn not_utf8(bytes: &[u8], valid: usize, file: &str) -> (Place, Wrong) {
    match BEGINNINGS.iter().find(|(beginning, ..)| bytes.starts_with(beginning)) {
        Some((_, what, cure)) => (
            Place { line: 1, column: 1, width: 1, source: Source::MAIN },
            Wrong::new(*what, cure.replace("FILE", file)),
        ),
        None if bytes.contains(&0) => {
            (place_of(bytes, valid), Wrong::new("this is no text file", "name a configuration file"))
        }
        None => (place_of(bytes, valid), Wrong::new("not UTF-8", UTF8)),
    }
}

/// Whether a file that is not UTF-8 is text of another encoding.
pub(super) fn is_text(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_known_by_their_lines() {
        for (text, expected) in [
            ("! keepalived\nglobal_defs {\n}\n", Some((2, "a keepalived.conf"))),
            ("virtual_server 192.0.2.10 21 {\n", Some((1, "a keepalived.conf"))),
            ("virtual_server fwmark 1 {\n", Some((1, "a keepalived.conf"))),
            ("checktimeout=3\nvirtual=192.0.2.10:21\n\treal=10.0.0.11:21 masq\n", Some((1, "an ldirectord.cf"))),
            ("virtual = 1\n", Some((1, "an ldirectord.cf"))),
            ("serial_no = 12\nvirtual ftp {\n", Some((1, "an lvs.cf"))),
            ("virtual ftp {\n", Some((1, "an lvs.cf"))),
            ("-A -t 192.0.2.10:21 -s wlc\n", Some((1, "rules of ipvsadm"))),
            ("#!/bin/sh\n  ipvsadm -A -t 192.0.2.10:21\n", Some((2, "rules of ipvsadm"))),
            ("*mangle\n", Some((1, "rules of iptables"))),
            ("table ip mangle {\n", Some((1, "rules of nft"))),
            ("# virtual_server 192.0.2.10 21 {\nname: a\n", None),
            ("- name: a\n-a\nvirtual: x\nservice: lvs\n", None),
            ("", None),
        ] {
            let found = recognized(text, "f").map(|(place, wrong)| (place.line, wrong.what));
            assert_eq!(found, expected.map(|(line, kind)| (line, format!("this looks like {kind}"))), "{text}");
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        let what = |bytes: &[u8]| not_utf8(bytes, 0, "f.pcap").1;
        assert_eq!(what(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0]).what, CAPTURE);
        assert!(what(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0]).cure.contains("`ftpdirector replay f.pcap`"));
        assert_eq!(what(&[0xff, 0xfe, b'c', 0]).what, "this file is UTF-16");
        assert_eq!(what(b"\xe9t\xe9").what, "not UTF-8");
        assert_eq!(what(b"\x7fELF\x02\x01\x01\0\xff").what, "this is no text file");
        assert!(is_text("# caf\u{fffd}\r\n\tx\n") && !is_text("a\0"));
    }
}
