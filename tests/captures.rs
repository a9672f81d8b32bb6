//! `ftpdirector replay` as users run it: what it says of a capture, where, and with which exit code.

#![expect(clippy::unwrap_used, reason = "a test says what it expected")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A control connection to this port: handshake, greeting, PASV and its answer, as a pcap file of raw IPv4 packets.
fn session_at(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let (client, server) = ([198, 51, 100, 7, 0x9c, 0x40], [10, 0, 0, 11, high, low]);
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0];
    for (from, to, seq, flags, text) in [
        (client, server, 99_u32, 2, ""),
        (server, client, 199, 18, ""),
        (server, client, 200, 24, "220 ready\r\n"),
        (client, server, 100, 24, "PASV\r\n"),
        (server, client, 211, 24, "227 Entering Passive Mode (10,0,0,11,121,26).\r\n"),
    ] {
        let total = u16::try_from(40 + text.len()).unwrap();
        let length = u32::from(total).to_le_bytes();
        file.extend([[0; 4], [0; 4], length, length].concat());
        file.extend(
            [&[0x45, 0][..], &total.to_be_bytes(), &[0, 0, 0x40, 0, 64, 6, 0, 0], &from[..4], &to[..4]].concat(),
        );
        file.extend([&from[4..], &to[4..], &seq.to_be_bytes(), &[0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]].concat());
        file.extend(text.bytes());
    }
    file
}

/// A capture in a file of its own.
fn written(name: &str, capture: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, capture).unwrap();
    path
}

fn replay() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ftpdirector"));
    program.arg("replay");
    program
}

/// What it says of a session at a port: on standard output, and on standard error.
fn told(port: u16, arguments: &[&str]) -> (String, String) {
    let capture = written(&format!("{port}{}.pcap", arguments.concat()), &session_at(port));
    let output = replay().arg(&capture).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_control_ports_are_those_that_are_named() {
    let expected = "expect passive data connection to 10.0.0.11 port 31002 (PASV)";
    for arguments in [&["--port", "2121"][..], &["--port", "990,2121"], &["--port", "21", "--port=2121"]] {
        let (out, err) = told(2121, arguments);
        assert!(out.contains(expected) && err.is_empty(), "{arguments:?}: {out}{err}");
    }
    let hint = |asked| format!("ftpdirector: nothing on port {asked}; port 2121 looks like FTP: replay --port 2121\n");
    for (arguments, asked) in [(&[][..], "21 or 990"), (&["--json"], "21 or 990"), (&["--port", "8021"], "8021")] {
        let (out, err) = told(2121, arguments);
        assert!(!out.contains("expect") && err == hint(asked), "{arguments:?}: {out}{err}");
    }
    // 990 is read as TLS, by default and by name
    for arguments in [&[][..], &["--port", "990"]] {
        let (out, err) = told(990, arguments);
        assert!(out.contains(" blind: ") && !out.contains("expect") && err.is_empty(), "{arguments:?}: {out}{err}");
    }
    let output = replay().args(["--port", "0", "a.pcap"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// A hint that nobody can read is no error either.
#[test]
fn closed_standard_error_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = replay().arg(written("hint.pcap", &session_at(2121))).stderr(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

/// `replay FILE | head`
#[test]
fn who_stops_reading_the_report_makes_no_error() {
    let capture = written("pipe.pcap", &session_at(21));
    for format in [&[][..], &["--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = replay().arg(&capture).args(format).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((String::from_utf8(output.stderr).unwrap().as_str(), output.status.code()), ("", Some(0)));
    }
}

#[test]
fn a_full_disk_and_a_missing_file_are_errors() {
    let output =
        replay().arg(written("full.pcap", &session_at(21))).stdout(File::create("/dev/full").unwrap()).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(output.status.code(), Some(70));
    let output = replay().arg("/nonexistent.pcap").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "ftpdirector: /nonexistent.pcap: No such file or directory (os error 2)\n");
    assert_eq!(output.status.code(), Some(1));
}
