//! The health checks against real sockets: small servers on loopback that behave, or do not.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

mod agent;
mod certificates;
mod secure;
mod secure_server;
mod server;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ftpdirector::facade::config::{self, Config};
use ftpdirector::facade::daemon::{Availability, DaemonCommand, Health, ServerHealth};
use ftpdirector::facade::health::{HealthState, Step};
use server::{Manner, Server};
use tokio::sync::mpsc::{self, Receiver};

const DEADLINE: Duration = Duration::from_secs(60);

/// Returns the first value of `condition`: tests wait for what they need, never for a time.
fn poll<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A cluster `lab` of these servers, named s0, s1, …
fn config(check: &str, servers: &[&Server]) -> Config {
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    config_at(check, &addresses)
}

/// The same for servers at these addresses.
fn config_at(check: &str, servers: &[SocketAddr]) -> Config {
    let mut text = format!(
        "clusters:\n  - name: lab\n    vips: [192.0.2.10]\n    forwarding: nat\n    health_check: {{{check}}}\n    real_servers:\n"
    );
    for (number, server) in servers.iter().enumerate() {
        let port = server.port();
        writeln!(text, "      - {{name: s{number}, address: 10.0.0.{}, port: {port}}}", number + 1).unwrap();
    }
    let mut config = config::parse(&text, "test.yaml").unwrap_or_else(|problems| panic!("{problems}")).config;
    // The file takes no loopback or IPv6 address.
    for (known, server) in config.clusters[0].real_servers.iter_mut().zip(servers) {
        known.address = server.ip();
    }
    config
}

/// Health checks at work, and the far end of their line.
struct Checks {
    health: Health,
    commands: Receiver<DaemonCommand>,
}

impl Checks {
    fn start(config: &Config) -> Self {
        Self::resume(config, &[])
    }

    fn configure(&mut self, config: &Config) {
        self.health.resume(config, &Availability::default());
    }

    /// After a restart, with these servers at weight 0 in the kernel.
    fn resume(config: &Config, out: &[(&str, &str)]) -> Self {
        let (sender, commands) = mpsc::channel(64);
        let mut health = Health::start(sender).unwrap();
        let asked = out.iter().map(|(cluster, server)| (((*cluster).into(), (*server).into()), 0)).collect();
        health.resume(config, &Availability { asked, ..Availability::default() });
        Self { health, commands }
    }

    fn of(&self, name: &str) -> Option<ServerHealth> {
        self.health.view().snapshot().into_iter().find(|known| known.server == name)
    }

    fn wait(&self, name: &str, state: HealthState) -> ServerHealth {
        poll(&format!("{name} {state:?}"), || self.of(name).filter(|known| known.state == state))
    }

    fn next_command(&mut self) -> (String, bool) {
        match poll("a command", || self.commands.try_recv().ok()) {
            DaemonCommand::Down { server: (cluster, server), down } => {
                assert_eq!(cluster, "lab");
                (server, down)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_manner_is_seen_for_what_it_is() {
    let table = [
        (Manner::Fine, None),
        (Manner::Wordy, None),
        (Manner::Slow, None),
        (Manner::RefusesLogin, Some((Step::Password, "the server said \"530 No access with ftpdirector@\""))),
        (Manner::Full, Some((Step::Banner, "the server said \"421 Too many users, try later\""))),
        (Manner::Hangs, Some((Step::Banner, "no answer within 2s"))),
        (Manner::Dribbles, Some((Step::Banner, "no answer within 2s"))),
        (Manner::NoPassive, Some((Step::PasvConnect, "Connection refused"))),
        (
            Manner::StuckData,
            Some((Step::PasvTransfer, "0 bytes, and not the end of its data and its final reply, within 2s")),
        ),
        (Manner::Garbage, Some((Step::Banner, "the server does not speak FTP: \"SSH-2.0-OpenSSH_9.2p1\""))),
        (Manner::Mute, Some((Step::Banner, "the server closed the connection"))),
    ];
    let servers: Vec<Server> =
        (1..).zip(&table).map(|(n, (manner, _))| Server::start(&format!("127.0.1.{n}"), *manner)).collect();
    let servers: Vec<&Server> = servers.iter().collect();
    let checks = Checks::start(&config("kind: transfer, interval: 100ms, timeout: 2s, fall: 2", &servers));
    for (number, (manner, failure)) in table.iter().enumerate() {
        let state = if failure.is_some() { HealthState::Down } else { HealthState::Up };
        let found = checks.wait(&format!("s{number}"), state);
        match failure {
            None => {
                assert_eq!((found.last_step, found.last_error), (Some(Step::Quit), None), "{manner:?}");
                let named: Vec<Step> = found.steps.iter().map(|(step, _)| *step).collect();
                assert_eq!(named.len(), 11, "{manner:?}: {named:?}");
            }
            Some((step, error)) => {
                let said = found.last_error.unwrap();
                assert_eq!(found.last_step, Some(*step), "{manner:?}: {said}");
                assert!(said.contains(error), "{manner:?}: {said}");
            }
        }
        // How long a step took is the pure part's sum (src/health/probe/tests.rs); here, that the clock it is given goes on.
        if matches!(manner, Manner::Slow | Manner::Hangs | Manner::Dribbles | Manner::StuckData) {
            assert!(found.steps.iter().any(|(_, took)| *took > 0.0), "{manner:?}: {:?}", found.steps);
        }
    }
}

#[test]
fn nobody_there_is_down_for_every_kind() {
    let port = std::net::TcpListener::bind("127.0.2.1:0").unwrap().local_addr().unwrap();
    for kind in ["tcp", "banner"] {
        let mut config =
            config(&format!("kind: {kind}, interval: 50ms, timeout: 2s"), &[&Server::start("127.0.2.1", Manner::Fine)]);
        config.clusters[0].real_servers[0].port = Some(port.port());
        let found = Checks::start(&config).wait("s0", HealthState::Down);
        assert_eq!(found.last_step, Some(Step::Connect));
        assert!(found.last_error.unwrap().contains("Connection refused"));
    }
}

#[test]
fn shallow_kinds_do_not_see_deep_trouble() {
    let (full, deaf) = (Server::start("127.0.3.1", Manner::Full), Server::start("127.0.3.2", Manner::NoPassive));
    let tcp = Checks::start(&config("kind: tcp, interval: 50ms", &[&full]));
    tcp.wait("s0", HealthState::Up);
    for kind in ["banner", "login"] {
        Checks::start(&config(&format!("kind: {kind}, interval: 50ms"), &[&deaf])).wait("s0", HealthState::Up);
    }
}

#[test]
fn ipv6_servers_are_probed_too() {
    let server = Server::start("::1", Manner::Fine);
    let found = Checks::start(&config("kind: transfer, interval: 50ms", &[&server])).wait("s0", HealthState::Up);
    assert!(found.steps.iter().any(|(step, _)| *step == Step::EpsvTransfer));
    assert!(!found.steps.iter().any(|(step, _)| *step == Step::Pasv));
}

#[test]
fn a_port_that_the_file_does_not_expect_fails_its_step() {
    let server = Server::start("127.0.7.1", Manner::Fine);
    let with = |range: &str| {
        let mut config = config("kind: transfer, interval: 20ms, timeout: 2s", &[&server]);
        config.clusters[0].real_servers[0].passive_ports = range.parse().unwrap();
        config
    };
    let mut checks = Checks::start(&with("1024-65534"));
    checks.wait("s0", HealthState::Up);

    // The system gives nobody this one unasked (net.ipv4.ip_local_port_range).
    checks.configure(&with("1024"));
    let found = checks.wait("s0", HealthState::Down);
    let said = found.last_error.unwrap();
    assert_eq!(found.last_step, Some(Step::Pasv), "{said}");
    assert!(said.contains("outside passive_ports 1024: ") && said.contains("pasv_min_port"), "{said}");

    // Not declared: not compared.
    checks.configure(&with("1024-65535"));
    checks.wait("s0", HealthState::Up);
}

#[test]
fn a_failing_server_is_reported_once_and_so_is_its_return() {
    let server = Server::start("127.0.4.1", Manner::Fine);
    let mut checks = Checks::start(&config("interval: 20ms, timeout: 2s", &[&server]));
    // Up from the start: the first word of a command is that it is not down.
    assert_eq!(checks.next_command(), ("s0".into(), false));
    for _ in 0..3 {
        let before = checks.wait("s0", HealthState::Up);
        server.now(Manner::Full);
        assert_eq!(checks.next_command(), ("s0".into(), true));
        let after = checks.of("s0").unwrap();
        assert_eq!(after.state, HealthState::Down);
        assert!(after.since >= before.since);
        assert_eq!(checks.health.view().down().into_iter().collect::<Vec<_>>(), [("lab".into(), "s0".into())]);
        server.now(Manner::Fine);
        assert_eq!(checks.next_command(), ("s0".into(), false));
        assert!(checks.health.view().down().is_empty());
    }
}

#[test]
fn a_reload_disturbs_nobody_who_has_not_changed() {
    let (bad, good) = (Server::start("127.0.5.1", Manner::Full), Server::start("127.0.5.2", Manner::Fine));
    let fast = config("interval: 20ms, timeout: 2s", &[&bad, &good]);
    let mut checks = Checks::start(&fast);
    let before = (checks.wait("s0", HealthState::Down), checks.wait("s1", HealthState::Up));
    checks.configure(&fast);
    let after = (checks.of("s0").unwrap(), checks.of("s1").unwrap());
    assert_eq!(
        (before.0.since.to_bits(), before.1.since.to_bits()),
        (after.0.since.to_bits(), after.1.since.to_bits())
    );

    // Probed in another way, a server that is down stays so until it has passed `rise` times.
    bad.now(Manner::Fine);
    checks.configure(&config("interval: 1h", &[&bad, &good]));
    assert_eq!(checks.of("s0").unwrap().state, HealthState::Down);
    checks.configure(&config("interval: 20ms, timeout: 2s", &[&bad, &good]));
    checks.wait("s0", HealthState::Up);

    // At another address it is another server.
    bad.now(Manner::Full);
    checks.wait("s0", HealthState::Down);
    let other = Server::start("127.0.5.3", Manner::Hangs);
    checks.configure(&config("interval: 20ms, timeout: 1h", &[&other, &good]));
    assert_eq!(checks.of("s0").unwrap().state, HealthState::Unknown);
    assert!(checks.health.view().down().is_empty());

    // Where its name has led it, it is down until a probe there is good.
    let (third, name) = (Server::start("127.0.5.4", Manner::Hangs), ("lab".to_owned(), "s0".to_owned()));
    let moved = Availability { down: [name.clone()].into(), ..Availability::default() };
    checks.health.resume(&config("interval: 20ms, timeout: 1h", &[&third, &good]), &moved);
    assert_eq!(checks.of("s0").unwrap().state, HealthState::Down);
    assert_eq!(checks.health.view().down(), [name].into());

    // A server that has left is forgotten, and so are all without health checks.
    checks.configure(&config("interval: 20ms", &[&other]));
    assert!(checks.of("s1").is_none());
    checks.configure(&config("kind: none", &[&other]));
    assert!(checks.health.view().snapshot().is_empty());
}

#[test]
fn the_password_is_read_at_each_probe_and_never_shown() {
    let server = Server::start("127.0.6.1", Manner::Fine);
    let file = std::env::temp_dir().join(format!("ftpdirector-health-{}", std::process::id()));
    let check = format!("kind: login, user: probe, password_file: {}, interval: 20ms, timeout: 2s", file.display());
    let checks = Checks::start(&config(&check, &[&server]));
    // Our own trouble takes nobody out.
    let found = poll("an error", || checks.of("s0").filter(|known| known.last_error.is_some()));
    assert_eq!((found.state, found.last_step), (HealthState::Unknown, Some(Step::Password)));
    let error = found.last_error.unwrap();
    assert!(error.contains(&file.display().to_string()) && error.contains("No such file"), "{error}");

    // A server that does not even greet is down without a password, too.
    server.now(Manner::Mute);
    checks.wait("s0", HealthState::Down);
    server.now(Manner::Fine);
    std::fs::write(&file, "correct horse\nQUIT\n").unwrap();
    checks.wait("s0", HealthState::Up);
    assert_eq!(server.passwords().last().unwrap(), "correct horse");

    server.now(Manner::RefusesLogin);
    let error = checks.wait("s0", HealthState::Down).last_error.unwrap();
    assert_eq!(error, "the server said \"530 No access with ***\"");
    std::fs::remove_file(file).unwrap();
}
