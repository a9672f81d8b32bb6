//! The same machine where TLS is spoken.

use super::*;

fn secure(kind: HealthCheckKind, tls: HealthCheckTls) -> Probe {
    Probe::new(Script::new(check(kind), None, IpVersion::V4).over(tls))
}

/// The two ways, each up to the greeting under TLS, and what is sent for it.
const EXPLICIT: [&str; 4] = ["C", "220 ready", "234 Go on", "S"];
const IMPLICIT: [&str; 3] = ["C", "S", "220 ready"];

const LOGIN: [&str; 2] = ["331 Password?", "230 Welcome"];
const PROTECTED: [&str; 2] = ["200 PBSZ=0", "200 Private"];

fn transfer(named: &'static str) -> Vec<&'static str> {
    vec![named, "D", "150 Here", "s", "d5", "E", "226 Done"]
}

#[test]
fn each_kind_goes_as_far_as_it_says_in_both_ways() {
    let user = ["USER anonymous", "PASS ftpdirector@"];
    let data = |port| vec![format!("connect {port}"), "LIST /".into(), "TLS for data".into()];
    for (tls, begin, sent) in [
        (HealthCheckTls::Explicit, EXPLICIT.to_vec(), vec!["AUTH TLS", "TLS"]),
        (HealthCheckTls::Implicit, IMPLICIT.to_vec(), vec!["TLS"]),
    ] {
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let banner = (begin.clone(), strings(&sent));
        let login = ([&begin[..], &LOGIN].concat(), [banner.1.clone(), strings(&user)].concat());
        let whole = (
            [&login.0[..], &PROTECTED, &transfer(PASV), &transfer(EPSV)].concat(),
            [login.1.clone(), strings(&["PBSZ 0", "PROT P", "PASV"]), data(31000), strings(&["EPSV"]), data(31001)]
                .concat(),
        );
        for (kind, (mut words, mut expected)) in
            [(HealthCheckKind::Banner, banner), (HealthCheckKind::Login, login), (HealthCheckKind::Transfer, whole)]
        {
            words.push("221 Bye");
            expected.push("QUIT".into());
            let (done, report) = play(secure(kind, tls), &words);
            let report = report.unwrap_or_else(|| panic!("{kind:?} does not end"));
            assert_eq!(done, expected, "{kind:?}, {tls:?}");
            assert_eq!(
                (report.outcome, report.certificate_ends),
                (ProbeOutcome::Good, Some(ENDS)),
                "{kind:?}, {tls:?}"
            );
        }
        // A connection is no TLS.
        let (done, report) = play(secure(HealthCheckKind::Tcp, tls), &["C"]);
        assert_eq!((done.len(), report.unwrap().outcome), (0, ProbeOutcome::Good));
    }
}

#[test]
fn what_fails_names_its_step() {
    use HealthCheckKind::{Banner, Login, Transfer};
    use HealthCheckTls::{Explicit, Implicit};
    let explicit = |more: &[&'static str]| [&EXPLICIT[..], more].concat();
    let protected = |more: &[&'static str]| [&EXPLICIT[..], &LOGIN, &PROTECTED, more].concat();
    let refused = "522 SSL connection failed; session reuse required";
    for (kind, tls, words, step, error) in [
        (Banner, Explicit, vec!["C", "220 ready", "500 AUTH?"], Step::Auth, "the server said \"500 AUTH?\""),
        (Banner, Explicit, vec!["C", "220 ready", "334 ADAT"], Step::Auth, "the server said \"334 ADAT\""),
        (Banner, Explicit, vec!["C", "220 ready", "234 Go on", "R"], Step::Tls, "Connection refused"),
        (Login, Implicit, vec!["C", "X"], Step::Tls, "the server closed the connection"),
        (Login, Implicit, vec!["C", "T"], Step::Tls, "no end of the TLS handshake within 3s"),
        (Login, Implicit, vec!["C", "S!"], Step::Certificate, "certificate expired"),
        (Login, Explicit, vec!["C", "220 ready", "234 Go on", "S!"], Step::Certificate, "certificate expired"),
        (Login, Implicit, vec!["C", "S", "T"], Step::Banner, "no answer within 3s"),
        (Login, Explicit, explicit(&["331 Password?", "530 No"]), Step::Password, "the server said \"530 No\""),
        (Transfer, Explicit, explicit(&["230 Welcome", "503 Why?"]), Step::Pbsz, "the server said \"503 Why?\""),
        (
            Transfer,
            Explicit,
            explicit(&["230 Welcome", "200 Yes", "534 Never"]),
            Step::Prot,
            "the server said \"534 Never\"",
        ),
        (
            Transfer,
            Explicit,
            protected(&[PASV, "D", "150 Here", "T"]),
            Step::PasvTransfer,
            "no end of the TLS handshake of the data connection within 3s",
        ),
        (
            Transfer,
            Explicit,
            protected(&[PASV, "D", "150 Here", "s", "d5", "T"]),
            Step::PasvTransfer,
            "5 bytes, and not the end of its data and its final reply, within 3s",
        ),
        (
            Transfer,
            Explicit,
            protected(&[PASV, "D", "150 Here", "r", "522 No"]),
            Step::PasvTransfer,
            "data connection to port 31000: Connection reset; the server said \"522 No\"",
        ),
        (Transfer, Explicit, protected(&[PASV, "D", "s", "550 No"]), Step::PasvTransfer, "the server said \"550 No\""),
        (Transfer, Explicit, protected(&[PASV, "D", "s!", "550 No"]), Step::PasvTransfer, "the server said \"550 No\""),
        (Transfer, Explicit, protected(&[PASV, "D", "s", "522 No"]), Step::PasvTransfer, "the server said \"522 No\""),
        (
            Transfer,
            Explicit,
            protected(&[PASV, "D", "s!", "E", refused]),
            Step::PasvTransfer,
            "the server said \"522 SSL connection failed; session reuse required\"; the server gave no TLS session that \
             the data connection could resume (vsftpd: require_ssl_reuse, ProFTPD: NoSessionReuseRequired)",
        ),
    ] {
        let report = play(secure(kind, tls), &words).1.unwrap_or_else(|| panic!("{words:?} does not end"));
        assert_eq!(report.outcome, ProbeOutcome::Bad, "{words:?}");
        assert_eq!(report.steps.last().map(|(step, _)| *step), Some(step), "{words:?}");
        assert_eq!(report.failure, Some(Failure { step, error: error.into() }), "{words:?}");
        let seen = words.iter().any(|word| ["S", "S!"].contains(word));
        assert_eq!(report.certificate_ends, seen.then_some(ENDS), "{words:?}");
    }
}

/// Nobody between puts words into the encrypted connection.
#[test]
fn nothing_that_comes_in_the_clear_counts_after_the_234() {
    for (more, sound) in [(&b""[..], true), (b"220 ready\r\n", false), (b"2", false)] {
        let mut probe = secure(HealthCheckKind::Login, HealthCheckTls::Explicit);
        feed(&mut probe, "C", Duration::ZERO);
        feed(&mut probe, "220 ready", Duration::ZERO);
        probe.handle(ProbeEvent::Received(&[b"234 Go on\r\n", more].concat()), Duration::ZERO);
        let failure = probe.report().map(|report| report.failure.clone().unwrap());
        let expected = Failure { step: Step::Tls, error: "more came after the 234, in the clear".into() };
        assert_eq!(failure, (!sound).then_some(expected), "{more:?}");
    }
}

#[test]
fn no_password_goes_out_before_the_certificate_is_known() {
    for (tls, words) in [
        (HealthCheckTls::Explicit, vec!["C", "220 ready", "331 Password?", "230 Welcome"]),
        (HealthCheckTls::Explicit, vec!["C", "220 ready", "500 AUTH?"]),
        (HealthCheckTls::Implicit, vec!["C", "220 ready", "331 Password?"]),
        (HealthCheckTls::Implicit, vec!["C", "S!", "220 ready", "331 Password?"]),
    ] {
        let (done, report) = play(secure(HealthCheckKind::Login, tls), &words);
        assert!(!done.iter().any(|line| line.starts_with("USER") || line.starts_with("PASS")), "{words:?}: {done:?}");
        assert_eq!(report.map(|report| report.outcome), Some(ProbeOutcome::Bad), "{words:?}");
    }
}
