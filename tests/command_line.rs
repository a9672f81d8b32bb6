//! The command line as a new user types it.

#![expect(clippy::unwrap_used, reason = "a test says what it expected")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::{CommandFactory as _, Parser as _};
use ftpdirector::facade::cli::{Cli, Command as Asked};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nat.yaml")
}

/// A file of this test, with a text of its own.
fn written(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

fn ftpdirector(arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ftpdirector"));
    program.args(arguments).stdin(Stdio::null());
    program
}

/// Standard output, standard error, exit code.
fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn the_file_is_an_argument_or_an_option() {
    for command in ["run", "check", "config", "plan", "flush", "doctor"] {
        for (words, expected) in [
            (&[][..], "/etc/ftpdirector/config.yaml"),
            (&["nat.yaml"], "nat.yaml"),
            (&["-c", "nat.yaml"], "nat.yaml"),
            (&["--config", "nat.yaml"], "nat.yaml"),
        ] {
            let printed = Some("--effective").filter(|_| command == "config");
            let line = ["ftpdirector", command].into_iter().chain(printed).chain(words.iter().copied());
            let path = match Cli::try_parse_from(line).unwrap().command {
                Asked::Check(subject) | Asked::Plan(subject) | Asked::Flush(subject) => subject.path().to_owned(),
                Asked::Run { subject, .. } | Asked::Config { subject, .. } | Asked::Doctor { subject, .. } => {
                    subject.path().to_owned()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(path, Path::new(expected), "{command} {words:?}");
        }
        let both = Cli::try_parse_from(["ftpdirector", command, "a.yaml", "-c", "b.yaml"]).unwrap_err().to_string();
        assert!(both.contains("cannot be used with"), "{command}: {both}");
    }
    for command in ["status", "top", "sessions", "pinholes", "trace", "reload"] {
        assert!(Cli::try_parse_from(["ftpdirector", command, "-c", "nat.yaml"]).is_ok(), "{command}");
    }
}

#[test]
fn what_was_meant_is_suggested() {
    for (typed, meant) in [("chek", "check"), ("stauts", "status"), ("drian", "drain"), ("relaod", "reload")] {
        let (_, err, code) = said(&ftpdirector(&[typed]).output().unwrap());
        assert!(err.contains(&format!("'{meant}'")) && code == Some(2), "{typed}: {err}");
    }
    let (_, err, _) = said(&ftpdirector(&["check", "--conf", "a.yaml"]).output().unwrap());
    assert!(err.contains("'--config'"), "{err}");
}

#[test]
fn a_good_file_is_counted_in_words() {
    let one = "clusters: [{name: a, vips: [192.0.2.10], forwarding: nat, passive: {ports: 31000-31999}, \
               real_servers: [{address: 10.0.0.11}]}]\n";
    let path = written("one.yaml", one);
    let (out, err, code) = said(&ftpdirector(&["check"]).arg(&path).output().unwrap());
    assert_eq!(
        (out, err, code),
        (format!("{}: good: 1 cluster, 1 real server\n", path.display()), String::new(), Some(0))
    );
    let (out, ..) = said(&ftpdirector(&["check"]).arg(example()).output().unwrap());
    assert!(out.contains(" cluster, ") && out.ends_with(" real servers\n"), "{out}");
}

/// It is read long after the check, by another user; but what is not there now was mostly not meant so.
#[test]
fn a_password_file_that_is_not_there_is_warned_of() {
    let directory = env!("CARGO_TARGET_TMPDIR");
    let (empty, full) = (written("empty-password", ""), written("password", "secret\n"));
    for (file, expected) in [
        ("/nonexistent/password", Some("/nonexistent/password: No such file or directory (os error 2): until")),
        (directory, Some("is a directory: until")),
        (empty.to_str().unwrap(), Some("empty-password: is empty: until")),
        (full.to_str().unwrap(), None),
    ] {
        let text = format!(
            "clusters:\n  - name: a\n    vips: [192.0.2.10]\n    forwarding: nat\n    passive: {{ports: 31000-31999}}\n    \
             health_check: {{kind: login, user: probe, password_file: \"{file}\"}}\n    real_servers: [{{address: 10.0.0.11}}]\n"
        );
        let path = written("password-file.yaml", &text);
        let (out, err, code) = said(&ftpdirector(&["check"]).arg(&path).output().unwrap());
        assert!(out.contains(": good: ") && code == Some(0), "{file}: {out}{err}");
        match expected {
            Some(expected) => {
                let place = "password-file.yaml:6:61: warning: clusters[0].health_check.password_file: ";
                assert!(err.contains(place) && err.contains(expected) && err.contains("cure: "), "{file}: {err}");
            }
            None => assert_eq!(err, "", "{file}"),
        }
    }
}

#[test]
fn a_password_file_is_told_once_where_it_is_written() {
    let cluster = |number: u8, more: &str| {
        format!(
            "  - {{name: c{number}, vips: [192.0.2.{number}], {more}real_servers: [{{address: 10.0.0.{number}, passive_ports: 31000-31999}}]}}\n"
        )
    };
    let own = cluster(3, "health_check: {password_file: /nonexistent/own}, ");
    written("named-included.yaml", &format!("clusters:\n{}{own}", cluster(2, "")));
    let main = "defaults:\n  forwarding: nat\n  health_check: {kind: login, user: probe, password_file: /nonexistent/all}\n\
                include: [named-included.yaml]\nclusters:\n";
    let path = written("named.yaml", &format!("{main}{}", cluster(1, "")));
    let (_, err, code) = said(&ftpdirector(&["check"]).arg(&path).output().unwrap());
    let told: Vec<&str> = err.lines().filter(|line| line.contains(": warning: ")).collect();
    let all = "named.yaml:3:59: warning: defaults.health_check.password_file: /nonexistent/all: ";
    let own = "named-included.yaml:3:65: warning: clusters[1].health_check.password_file: /nonexistent/own: ";
    assert!(told.len() == 2 && told[0].contains(all) && told[1].contains(own) && code == Some(0), "{err}");
}

/// `ftpdirector check 2>&1 | head`, and so with the others.
#[test]
fn who_stops_reading_makes_no_panic() {
    let bad = written("unread.yaml", "clusters: 1\n");
    for arguments in
        [&["check"][..], &["plan"], &["status"], &["doctor"], &["replay"], &["check", "/nonexistent"], &["chek"]]
    {
        let mut codes = Vec::new();
        for listens in [true, false] {
            let (reader, writer) = std::io::pipe().unwrap();
            let mut program = ftpdirector(arguments);
            if arguments.len() == 1 && arguments != ["chek"] {
                program.args(if arguments == ["status"] { &["-c"][..] } else { &[] }).arg(&bad);
            }
            program.stdout(writer.try_clone().unwrap()).stderr(writer);
            let heard = listens.then(|| std::thread::spawn(move || std::io::read_to_string(reader)));
            codes.push(program.status().unwrap().code());
            drop(program);
            heard.map(|heard| heard.join().unwrap().unwrap()).iter().for_each(|text| assert!(!text.is_empty()));
        }
        assert_eq!(codes[0], codes[1], "{arguments:?}");
        assert!(codes[0] != Some(101), "{arguments:?}");
    }
}

#[test]
fn a_value_that_cannot_be_read_is_told_how_it_is_written() {
    for (arguments, expected) in [
        (&["replay", "--port", "ftp", "a.pcap"][..], "write a port number, 1 to 65535"),
        (&["sessions", "--limit", "many"], "write a number, 1 to 100000"),
        (&["trace", "--limit", "0"], "write a number, at least 1"),
        (&["top", "-n", "x"], "write a number, at least 1"),
        (&["replay", "--forwarding", "masq", "a.pcap"], "nat, dr, tun"),
    ] {
        let (_, err, code) = said(&ftpdirector(arguments).output().unwrap());
        assert!(err.contains(expected) && code == Some(2), "{arguments:?}: {err}");
    }
}

#[test]
fn a_capture_may_come_through_a_pipe_and_is_no_directory() {
    let (_, err, code) = said(&ftpdirector(&["replay", env!("CARGO_TARGET_TMPDIR")]).output().unwrap());
    assert!(err.ends_with(": is a directory: name a pcap or pcapng file\n") && code == Some(1), "{err}");
    let mut program = ftpdirector(&["replay", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0];
    program.stdin.take().unwrap().write_all(&header).unwrap();
    let (out, _, code) = said(&program.wait_with_output().unwrap());
    assert!(out.starts_with("0 packets, ") && code == Some(0), "{out}");
}

/// What shells complete.
#[test]
fn the_forwarding_methods_are_listed() {
    let line = Cli::command();
    let replay = line.find_subcommand("replay").unwrap();
    let forwarding = replay.get_arguments().find(|argument| argument.get_id() == "forwarding").unwrap();
    let names: Vec<String> = forwarding.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    assert_eq!(names, ["nat", "dr", "tun"]);
}
