mod secure;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(3);
const ENDS: Time = Time::from_millis(1_793_491_200_000);

fn check(kind: HealthCheckKind) -> HealthCheck {
    let interval = Duration::from_secs(5);
    HealthCheck {
        kind,
        interval,
        timeout: TIMEOUT,
        rise: 2,
        fall: 3,
        user: "anonymous".to_owned(),
        password_file: None,
        path: "/".to_owned(),
        tls: None,
        verify: true,
        ca_file: None,
        agent: None,
    }
}

fn probe(kind: HealthCheckKind) -> Probe {
    Probe::new(Script::new(check(kind), None, IpVersion::V4))
}

/// A table row's language: `C` connected, `D` data connected, `d5` five bytes of data, `E` end of data, `X` closed,
/// `R` reset, `r` data reset, `T` time is over, `O` our trouble; of TLS: `S` up, `S!` up with a certificate that is not
/// accepted, `s` up for data with the session, `s!` without; anything else is received (`\r\n` is appended).
fn feed(probe: &mut Probe, word: &str, elapsed: Duration) {
    let line = format!("{word}\r\n");
    let event = match word {
        "C" => ProbeEvent::Connected,
        "D" => ProbeEvent::DataConnected,
        "d5" => ProbeEvent::DataReceived(5),
        "E" => ProbeEvent::DataClosed,
        "X" => ProbeEvent::Closed,
        "R" => ProbeEvent::Broken("Connection refused".into()),
        "r" => ProbeEvent::DataBroken("Connection reset".into()),
        "T" => ProbeEvent::TimedOut,
        "O" => ProbeEvent::OurTrouble("Too many open files".into()),
        "S" => ProbeEvent::Secured(PeerCertificate { ends: Some(ENDS), flaw: None }),
        "S!" => ProbeEvent::Secured(PeerCertificate { ends: Some(ENDS), flaw: Some("certificate expired".into()) }),
        "s" => ProbeEvent::DataSecured { resumed: true },
        "s!" => ProbeEvent::DataSecured { resumed: false },
        _ => ProbeEvent::Received(line.as_bytes()),
    };
    probe.handle(event, elapsed);
}

/// Plays words, ten milliseconds apart; returns what was done, and the end.
fn play(mut probe: Probe, words: &[&str]) -> (Vec<String>, Option<ProbeReport>) {
    let mut done = Vec::new();
    let mut elapsed = Duration::ZERO;
    for word in words {
        elapsed += Duration::from_millis(10);
        feed(&mut probe, word, elapsed);
        while let Some(action) = probe.action() {
            done.push(match action {
                ProbeAction::Send(line) => String::from_utf8(line).unwrap().trim_end().to_owned(),
                ProbeAction::ConnectData(port) => format!("connect {port}"),
                ProbeAction::CloseData => "close".into(),
                ProbeAction::Secure => "TLS".into(),
                ProbeAction::SecureData => "TLS for data".into(),
            });
        }
    }
    (done, probe.report().cloned())
}

const PASV: &str = "227 Entering Passive Mode (192,0,2,77,121,24).";
const EPSV: &str = "229 Entering Extended Passive Mode (|||31001|)";

/// Up to the login, and what was sent for it.
const LOGIN: [&str; 4] = ["C", "220 ready", "331 Password?", "230 Welcome"];

fn logged_in(more: &[&'static str]) -> Vec<&'static str> {
    LOGIN.iter().chain(more).copied().collect()
}

#[test]
fn each_kind_goes_as_far_as_it_says() {
    let transfer =
        logged_in(&[PASV, "D", "150 Here", "d5", "E", "226 Done", EPSV, "D", "125 Open", "226 Done", "E", "221 Bye"]);
    for (kind, words, sent) in [
        (HealthCheckKind::Tcp, vec!["C"], vec![]),
        (HealthCheckKind::Banner, vec!["C", "220 ready", "221 Bye"], vec!["QUIT"]),
        (HealthCheckKind::Login, logged_in(&["221 Bye"]), vec!["USER anonymous", "PASS ftpdirector@", "QUIT"]),
        (
            HealthCheckKind::Transfer,
            transfer,
            vec![
                "USER anonymous",
                "PASS ftpdirector@",
                "PASV",
                "connect 31000",
                "LIST /",
                "EPSV",
                "connect 31001",
                "LIST /",
                "QUIT",
            ],
        ),
    ] {
        let (done, report) = play(probe(kind), &words);
        assert_eq!(done, sent, "{kind:?}");
        let report = report.unwrap_or_else(|| panic!("{kind:?} does not end"));
        assert_eq!((report.outcome, &report.failure), (ProbeOutcome::Good, &None), "{kind:?}");
        let took: Duration = report.steps.iter().map(|(_, took)| *took).sum();
        assert_eq!(took, Duration::from_millis(10 * u64::try_from(words.len()).unwrap()), "{kind:?}: {report:?}");
    }
}

#[test]
fn steps_are_timed_one_by_one() {
    let words = logged_in(&[PASV, "D", "150 Here", "E", "226 Done", EPSV, "D", "150 Here", "E", "226 Done", "X"]);
    let steps = play(probe(HealthCheckKind::Transfer), &words).1.unwrap().steps;
    let named: Vec<(&str, u128)> = steps.iter().map(|(step, took)| (step.name(), took.as_millis())).collect();
    assert_eq!(
        named,
        [
            ("connect", 10),
            ("banner", 10),
            ("user", 10),
            ("password", 10),
            ("pasv", 10),
            ("pasv_connect", 10),
            ("pasv_transfer", 30),
            ("epsv", 10),
            ("epsv_connect", 10),
            ("epsv_transfer", 30),
            ("quit", 10),
        ]
    );
}

#[test]
fn what_fails_names_its_step_and_the_server_s_words() {
    use HealthCheckKind::{Banner, Login, Tcp, Transfer};
    for (kind, words, step, error) in [
        (Tcp, vec!["R"], Step::Connect, "Connection refused"),
        (Tcp, vec!["T"], Step::Connect, "no connection within 3s"),
        (Banner, vec!["C", "T"], Step::Banner, "no answer within 3s"),
        (Banner, vec!["C", "X"], Step::Banner, "the server closed the connection"),
        (Banner, vec!["C", "421 Too many users"], Step::Banner, "the server said \"421 Too many users\""),
        (Banner, vec!["C", "SSH-2.0-x"], Step::Banner, "the server does not speak FTP: \"SSH-2.0-x\""),
        (Banner, vec!["C", "120 In a minute", "T"], Step::Banner, "no answer within 3s"),
        (Banner, vec!["C", "220-Hello", "X"], Step::Banner, "the server closed the connection after \"220-Hello\""),
        (Login, vec!["C", "220 ready", "530 No"], Step::User, "the server said \"530 No\""),
        (Login, vec!["C", "220 ready", "332 Account?"], Step::User, "the server said \"332 Account?\""),
        (
            Login,
            vec!["C", "220 ready", "331 Password?", "530-Sorry", "530 Login incorrect."],
            Step::Password,
            "the server said \"530-Sorry 530 Login incorrect.\"",
        ),
        (Login, vec!["C", "220 ready", "331 Password?", "T"], Step::Password, "no answer within 3s"),
        (Transfer, logged_in(&["550 Denied"]), Step::Pasv, "the server said \"550 Denied\""),
        (Transfer, logged_in(&["227 Passive"]), Step::Pasv, "no port in \"227 Passive\""),
        (
            Transfer,
            logged_in(&[PASV, "T"]),
            Step::PasvConnect,
            "no data connection to port 31000 within 3s: is the passive range firewalled?",
        ),
        (Transfer, logged_in(&[PASV, "r"]), Step::PasvConnect, "data connection to port 31000: Connection reset"),
        (Transfer, logged_in(&[PASV, "421 Idle"]), Step::PasvConnect, "the server said \"421 Idle\""),
        (Transfer, logged_in(&[PASV, "D", "550 None"]), Step::PasvTransfer, "the server said \"550 None\""),
        (
            Transfer,
            logged_in(&[PASV, "D", "150 Here", "d5", "E", "426 Broken"]),
            Step::PasvTransfer,
            "the server said \"426 Broken\"",
        ),
        (
            Transfer,
            logged_in(&[PASV, "D", "150 Here", "r", "426 Broken"]),
            Step::PasvTransfer,
            "data connection to port 31000: Connection reset; the server said \"426 Broken\"",
        ),
        (
            Transfer,
            logged_in(&[PASV, "D", "r", "226 Done"]),
            Step::PasvTransfer,
            "data connection to port 31000: Connection reset; the server said \"226 Done\"",
        ),
        (
            Transfer,
            logged_in(&[PASV, "D", "r", "T"]),
            Step::PasvTransfer,
            "data connection to port 31000: Connection reset; no final reply within 3s",
        ),
        (
            Transfer,
            logged_in(&[PASV, "D", "226 Done", "r"]),
            Step::PasvTransfer,
            "data connection to port 31000: Connection reset",
        ),
        (
            Transfer,
            logged_in(&[PASV, "D", "150 Here", "d5", "T"]),
            Step::PasvTransfer,
            "5 bytes, and not the end of its data and its final reply, within 3s",
        ),
        (
            Transfer,
            logged_in(&[PASV, "D", "150 Here", "E", "T"]),
            Step::PasvTransfer,
            "0 bytes, and not its final reply, within 3s",
        ),
        (
            Transfer,
            logged_in(&[PASV, "D", "E", "226 Done", EPSV, "T"]),
            Step::EpsvConnect,
            "no data connection to port 31001 within 3s: is the passive range firewalled?",
        ),
        (Transfer, logged_in(&["502 No", "502 Neither"]), Step::Epsv, "the server said \"502 Neither\""),
    ] {
        let report = play(probe(kind), &words).1.unwrap_or_else(|| panic!("{words:?} does not end"));
        assert_eq!(report.outcome, ProbeOutcome::Bad, "{words:?}");
        assert_eq!(report.last_step(), Some(step), "{words:?}");
        assert_eq!(report.steps.last().map(|(step, _)| *step), Some(step), "{words:?}");
        assert_eq!(report.failure.unwrap().error, error, "{words:?}");
    }
}

#[test]
fn the_end_of_a_good_probe_is_good_whatever_quit_brings() {
    for end in ["221 Bye", "500 What?", "T", "X", "R", "O", "no FTP"] {
        let report = play(probe(HealthCheckKind::Banner), &["C", "220 ready", end]).1.unwrap();
        assert_eq!(report.outcome, ProbeOutcome::Good, "{end}");
    }
}

#[test]
fn our_own_trouble_says_nothing_of_the_server() {
    for words in [vec!["O"], logged_in(&[PASV, "O"])] {
        let report = play(probe(HealthCheckKind::Transfer), &words).1.unwrap();
        assert_eq!(report.outcome, ProbeOutcome::Unsure);
        assert_eq!(report.failure.unwrap().error, "Too many open files");
    }
}

#[test]
fn no_password_is_sent_unless_asked_for() {
    let (done, report) = play(probe(HealthCheckKind::Login), &["C", "220 ready", "230 Welcome", "221 Bye"]);
    assert_eq!(done, ["USER anonymous", "QUIT"]);
    assert_eq!(report.unwrap().outcome, ProbeOutcome::Good);
}

#[test]
fn one_of_pasv_and_epsv_may_be_missing() {
    let transfer = ["D", "150 Here", "E", "226 Done"];
    for (first, second) in [(PASV, "500 EPSV?"), ("502 No PASV", EPSV)] {
        let mut words = logged_in(&[first]);
        if first == PASV {
            words.extend(transfer);
            words.push(second);
        } else {
            words.push(second);
            words.extend(transfer);
        }
        words.push("221 Bye");
        assert_eq!(play(probe(HealthCheckKind::Transfer), &words).1.unwrap().outcome, ProbeOutcome::Good, "{words:?}");
    }
}

#[test]
fn ipv6_servers_are_asked_for_epsv_only() {
    let probe = Probe::new(Script::new(check(HealthCheckKind::Transfer), None, IpVersion::V6));
    let (done, report) = play(probe, &logged_in(&[EPSV, "D", "150 Here", "E", "226 Done", "221 Bye"]));
    assert_eq!(done[2..], ["EPSV", "connect 31001", "LIST /", "QUIT"]);
    assert_eq!(report.unwrap().outcome, ProbeOutcome::Good);
}

#[test]
fn a_port_outside_the_declared_range_fails_its_step() {
    let transfer = ["D", "150 Here", "E", "226 Done"];
    let words = || logged_in(&[PASV]).into_iter().chain(transfer).chain([EPSV]).chain(transfer).chain(["221 Bye"]);
    let words: Vec<&str> = words().collect();
    for (first, last, failure) in [
        (31000, 31001, None),
        (1024, 65534, None),
        (32000, 32999, Some((Step::Pasv, "passive port 31000 is outside passive_ports 32000-32999"))),
        (30000, 30999, Some((Step::Pasv, "passive port 31000 is outside passive_ports 30000-30999"))),
        (31000, 31000, Some((Step::Epsv, "passive port 31001 is outside passive_ports 31000: "))),
    ] {
        let range = PortRange::new(first, last);
        let script = Script::new(check(HealthCheckKind::Transfer), None, IpVersion::V4).within(range);
        let (done, report) = play(Probe::new(script), &words);
        let report = report.unwrap();
        let Some((step, said)) = failure else {
            assert_eq!(report.outcome, ProbeOutcome::Good, "{range:?}: {report:?}");
            continue;
        };
        let found = report.failure.unwrap();
        assert_eq!((report.outcome, found.step), (ProbeOutcome::Bad, step), "{range:?}: {found:?}");
        assert!(found.error.contains(said) && found.error.contains("pasv_min_port"), "{found:?}");
        let gone = format!("connect {}", if step == Step::Pasv { 31000 } else { 31001 });
        assert!(!done.contains(&gone), "{done:?}");
    }
}

#[test]
fn of_a_big_file_only_the_beginning_is_read() {
    let mut check = check(HealthCheckKind::Transfer);
    check.path = "/pub/big.iso".into();
    let mut probe = Probe::new(Script::new(check, None, IpVersion::V6));
    for word in logged_in(&[EPSV, "D", "150 Here"]) {
        feed(&mut probe, word, Duration::ZERO);
    }
    let mut actions = || std::iter::from_fn(|| probe.action()).last();
    assert_eq!(actions(), Some(ProbeAction::Send(b"RETR /pub/big.iso\r\n".to_vec())));
    probe.handle(ProbeEvent::DataReceived(1 << 20), Duration::ZERO);
    assert_eq!(probe.action(), Some(ProbeAction::CloseData));
    feed(&mut probe, "426 Failure writing network stream.", Duration::ZERO);
    assert_eq!(probe.action(), Some(ProbeAction::Send(b"QUIT\r\n".to_vec())));
}

#[test]
fn replies_come_in_any_pieces() {
    let text = b"220-Welcome\r\n 220 not the end\r\n220-nor this\r\n\r\n220 ready\r\n";
    for size in 1..text.len() {
        let mut probe = probe(HealthCheckKind::Banner);
        probe.handle(ProbeEvent::Connected, Duration::ZERO);
        for piece in text.chunks(size) {
            assert_eq!(probe.action(), None, "pieces of {size}");
            probe.handle(ProbeEvent::Received(piece), Duration::ZERO);
        }
        assert_eq!(probe.action(), Some(ProbeAction::Send(b"QUIT\r\n".to_vec())), "pieces of {size}");
    }
}

#[test]
fn what_does_not_end_is_bounded() {
    let line = vec![b'x'; 5000];
    let many = b"220-more\r\n".repeat(2000);
    for bytes in [line, many] {
        let mut probe = probe(HealthCheckKind::Banner);
        probe.handle(ProbeEvent::Connected, Duration::ZERO);
        probe.handle(ProbeEvent::Received(&bytes), Duration::ZERO);
        let error = &probe.report().unwrap().failure.as_ref().unwrap().error;
        assert_eq!(error, "the server's reply does not end");
    }
}

#[test]
fn words_are_short_and_fit_for_a_terminal() {
    let long = format!("421 \x1b[31m{}", "x".repeat(3000));
    let error = play(probe(HealthCheckKind::Banner), &["C", &long]).1.unwrap().failure.unwrap().error;
    assert!(error.len() < 350 && error.ends_with("...\""), "{error}");
    assert!(!error.contains('\x1b'), "{error}");
}

#[test]
fn the_password_is_never_quoted() {
    let secret = "hunter2 is it";
    for (end, expected) in [
        (vec!["530 not hunter2 is it, hunter2 is it!"], "the server said \"530 not ***, ***!\""),
        (vec!["530-hunter2 is it", "530 no"], "the server said \"530-*** 530 no\""),
    ] {
        let words: Vec<&str> = ["C", "220 ready", "331 Password?"].into_iter().chain(end).collect();
        let file = format!("{secret}\r\nQUIT\r\n");
        let script = Script::new(check(HealthCheckKind::Login), Some(file.as_bytes()), IpVersion::V4);
        assert!(!format!("{script:?}").contains("hunter2"));
        let (done, report) = play(Probe::new(script), &words);
        assert_eq!(done, ["USER anonymous", "PASS hunter2 is it"]);
        assert_eq!(report.unwrap().failure.unwrap().error, expected);
    }
}

#[test]
fn half_a_password_is_not_quoted_either() {
    let script = Script::new(check(HealthCheckKind::Login), Some(b"hunter2"), IpVersion::V4);
    let mut probe = Probe::new(script);
    for word in &LOGIN[..3] {
        feed(&mut probe, word, Duration::ZERO);
    }
    probe.handle(ProbeEvent::Received(b"530 you said hunt"), Duration::ZERO);
    probe.handle(ProbeEvent::Closed, Duration::ZERO);
    let error = &probe.report().unwrap().failure.as_ref().unwrap().error;
    assert_eq!(error, "the server closed the connection after \"530 you said\"");
}
