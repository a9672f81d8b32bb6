//! Health checks over TLS, against servers that demand that data connections resume the session.

use std::path::Path;

use rustls::HandshakeKind;

use super::certificates::{Authority, ENDS, File, Shown, self_signed};
use super::secure_server::{Habit, SecureServer};
use super::*;

/// Checks one server; `check` beside the kind and times.
fn start(server: &SecureServer, check: &str) -> Checks {
    Checks::start(&config_at(&format!("interval: 20ms, timeout: 5s, fall: 2, {check}"), &[server.address]))
}

fn with_authority(way: &str, kind: &str, file: &File) -> String {
    format!("kind: {kind}, tls: {way}, ca_file: {}", file.path())
}

/// Waits for the server to be down; where, and why.
fn failure(checks: &Checks) -> (Step, String) {
    let found = checks.wait("s0", HealthState::Down);
    (found.last_step.unwrap(), found.last_error.unwrap())
}

#[test]
fn every_kind_passes_in_both_ways_and_both_versions() {
    let authority = Authority::new("test");
    let (shown, file) = (authority.certificate(2150), File::new(&authority.pem()));
    for (number, (implicit, way)) in (1..).zip([(false, "explicit"), (true, "implicit")]) {
        for (host, habit) in [(1, Habit::Fine), (2, Habit::Older)] {
            let server = SecureServer::start(&format!("127.0.20.{}", number * 10 + host), implicit, &shown, habit);
            for (kind, steps) in [("banner", 5), ("login", 7), ("transfer", 15)] {
                let checks = start(&server, &with_authority(way, kind, &file));
                let found = checks.wait("s0", HealthState::Up);
                assert_eq!((found.last_error, found.certificate_ends), (None, Some(ENDS)), "{kind} {way}");
                // Explicit TLS has AUTH besides.
                assert_eq!(found.steps.len(), steps + usize::from(!implicit), "{kind} {way}: {:?}", found.steps);
            }
            let (control, data) = server.seen(|seen| (seen.control.clone(), seen.data.clone()));
            // Each probe sees the certificate anew, and each of its data connections resumes its session.
            assert!(control.iter().all(|kind| *kind == HandshakeKind::Full), "{way}: {control:?}");
            assert!(!data.is_empty() && data.iter().all(|kind| *kind == HandshakeKind::Resumed), "{way}: {data:?}");
        }
    }
}

#[test]
fn ipv6_servers_are_checked_over_tls_too() {
    let shown = self_signed(2150);
    let (server, file) = (SecureServer::start("::1", true, &shown, Habit::Fine), File::new(&shown.pem));
    start(&server, &with_authority("implicit", "transfer", &file)).wait("s0", HealthState::Up);
}

#[test]
fn the_certificate_fails_a_step_of_its_own() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let expired = self_signed(2025);
    let itself = expired.pem.clone();
    // 2025-06-01.
    let past = 1_748_736_000.0;
    let table: [(Shown, String, f64, &str); 5] = [
        (ours.certificate(2025), ours.pem(), past, "certificate expired on 2025-06-01"),
        (theirs.certificate(2150), ours.pem(), ENDS, "certificate is of no authority in ca_file FILE"),
        (self_signed(2150), ours.pem(), ENDS, "certificate is self-signed, and not in ca_file FILE"),
        (theirs.certificate(2025), ours.pem(), past, "certificate expired on 2025-06-01"),
        (expired, itself, past, "certificate expired on 2025-06-01"),
    ];
    for (number, (shown, known, ends, error)) in (1..).zip(&table) {
        let file = File::new(known);
        for (host, (implicit, way)) in [(false, "explicit"), (true, "implicit")].into_iter().enumerate() {
            let server = SecureServer::start(&format!("127.0.{}.{}", 21 + host, number), implicit, shown, Habit::Fine);
            let checks = start(&server, &with_authority(way, "login", &file));
            let (step, said) = failure(&checks);
            assert_eq!(step, Step::Certificate, "{said}");
            let error = error.replace("FILE", &file.path().to_string());
            assert!(said.starts_with(&error), "{said}, not {error}");
            // Its end is known all the same, and nobody has heard a password.
            assert_eq!(checks.of("s0").unwrap().certificate_ends, Some(*ends));
            server.seen(|seen| assert!(seen.passwords.is_empty()));

            // `verify: false` accepts it, and reads its end.
            let checks = start(&server, &format!("kind: transfer, tls: {way}, verify: false"));
            let found = checks.wait("s0", HealthState::Up);
            assert_eq!(found.certificate_ends, Some(*ends));
        }
    }
}

/// The system's authorities do not know it; where the system has none, nobody is taken out for that.
#[test]
fn without_a_file_the_authorities_are_the_system_s() {
    let shown = Authority::new("nobody's").certificate(2150);
    let server = SecureServer::start("127.0.23.1", false, &shown, Habit::Fine);
    let checks = start(&server, "kind: login, tls: explicit");
    let found = poll("an error", || checks.of("s0").filter(|known| known.last_error.is_some()));
    assert_eq!(found.last_step, Some(Step::Certificate));
    let said = found.last_error.unwrap();
    assert!(said.contains("the system's authorities"), "{said}");
    server.seen(|seen| assert!(seen.passwords.is_empty()));
}

#[test]
fn a_server_is_known_by_its_own_certificate() {
    let shown = self_signed(2150);
    let server = SecureServer::start("127.0.24.1", false, &shown, Habit::Fine);
    let file = File::new(&shown.pem);
    start(&server, &with_authority("explicit", "transfer", &file)).wait("s0", HealthState::Up);
}

#[test]
fn every_trouble_is_named() {
    let authority = Authority::new("test");
    let (shown, file) = (authority.certificate(2150), File::new(&authority.pem()));
    let password = File::new("hunter2\n");
    let login = format!("user: probe, password_file: {}", password.path());
    for (number, (habit, way, step, error)) in (1..).zip([
        (Habit::Clear, "explicit", Step::Auth, "the server said \"502 AUTH?\""),
        (Habit::Closed, "explicit", Step::PasvConnect, "Connection refused"),
        (Habit::RefusesLogin, "explicit", Step::Password, "the server said \"530 No access with ***\""),
        (Habit::RefusesLogin, "implicit", Step::Password, "the server said \"530 No access with ***\""),
        (Habit::Babbles, "explicit", Step::Tls, "the server does not speak TLS"),
        (Habit::Babbles, "implicit", Step::Tls, "the server does not speak TLS"),
        (Habit::Swells, "implicit", Step::Tls, "message"),
        (
            Habit::Forgetful,
            "explicit",
            Step::PasvTransfer,
            "the server said \"522 SSL connection failed; session reuse required\"; the server gave no TLS session",
        ),
    ]) {
        let server = SecureServer::start(&format!("127.0.25.{number}"), way == "implicit", &shown, habit);
        let checks = start(&server, &format!("{}, {login}", with_authority(way, "transfer", &file)));
        let (found, said) = failure(&checks);
        assert_eq!(found, step, "{said}");
        assert!(said.contains(error) && !said.contains("hunter2"), "{said}, not {error}");
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let shown = self_signed(2150);
    for (number, way) in (1..).zip(["explicit", "implicit"]) {
        let server = SecureServer::start(&format!("127.0.26.{number}"), way == "implicit", &shown, Habit::Silent);
        let check = format!("interval: 20ms, timeout: 300ms, fall: 2, tls: {way}, verify: false");
        let checks = Checks::start(&config_at(&check, &[server.address]));
        assert_eq!(failure(&checks), (Step::Tls, "no end of the TLS handshake within 300ms".into()));
    }
}

#[test]
fn a_clear_server_where_tls_should_be_is_named() {
    let server = Server::start("127.0.27.1", Manner::Fine);
    let checks =
        Checks::start(&config("interval: 20ms, timeout: 5s, fall: 2, tls: implicit, verify: false", &[&server]));
    assert_eq!(failure(&checks), (Step::Tls, "the server does not speak TLS".into()));
}

#[test]
fn a_port_outside_of_the_declared_range_is_named() {
    let shown = self_signed(2150);
    let server = SecureServer::start("127.0.28.1", false, &shown, Habit::Fine);
    let check = "kind: transfer, tls: explicit, verify: false, interval: 20ms, timeout: 5s, fall: 2";
    let mut config = config_at(check, &[server.address]);
    // The system gives nobody this one unasked (net.ipv4.ip_local_port_range).
    config.clusters[0].real_servers[0].passive_ports = "1024".parse().unwrap();
    let (step, said) = failure(&Checks::start(&config));
    assert_eq!(step, Step::Pasv);
    assert!(said.starts_with("passive port ") && said.contains(" is outside passive_ports 1024: "), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_takes_nobody_out_and_is_told() {
    let shown = self_signed(2150);
    let server = SecureServer::start("127.0.29.1", false, &shown, Habit::Fine);
    let (certificates, password) = (File::new(&shown.pem), File::new("hunter2\n"));
    let checks = start(
        &server,
        &format!("{}, password_file: {}", with_authority("explicit", "login", &certificates), password.path()),
    );
    checks.wait("s0", HealthState::Up);
    assert!(!checks.of("s0").unwrap().file_unreadable);
    for (file, content, step, key) in [
        (&certificates, shown.pem.as_str(), Step::Certificate, "ca_file"),
        (&password, "hunter2\n", Step::Password, "password_file"),
    ] {
        let path: &Path = &file.0;
        std::fs::remove_file(path).unwrap();
        let found = poll("an unreadable file", || checks.of("s0").filter(|known| known.file_unreadable));
        assert_eq!((found.state, found.last_step), (HealthState::Up, Some(step)));
        let said = found.last_error.unwrap();
        assert!(said.starts_with(&format!("{key} {}: No such file", path.display())), "{said}");
        std::fs::write(path, content).unwrap();
        poll("the file again", || checks.of("s0").filter(|known| !known.file_unreadable && known.last_error.is_none()));
    }
    std::fs::write(&certificates.0, "no certificate\n").unwrap();
    let found = poll("an empty file", || checks.of("s0").filter(|known| known.file_unreadable));
    assert!(found.last_error.unwrap().ends_with("no certificate that can be used"));
    std::fs::write(&certificates.0, shown.pem.repeat(2000)).unwrap();
    poll("a file without end", || {
        checks
            .of("s0")
            .filter(|known| known.last_error.as_ref().is_some_and(|said| said.ends_with("longer than 1048576 bytes")))
    });
}
