//! Agents against real sockets: programs on loopback that say a line to whoever connects, or do not.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ftpdirector::facade::config::Config;
use ftpdirector::facade::daemon::ServerAgent;
use ftpdirector::facade::health::HealthState;

use crate::server::{Manner, Server};
use crate::{Checks, config, poll};

/// How an agent behaves.
#[derive(Clone, Debug)]
enum Says {
    /// These bytes, and the end.
    This(String),
    /// One byte at a time, for ever.
    Dribble,
    /// Nothing: it waits for the other end.
    Nothing,
    /// The end at once.
    TheEnd,
    /// These bytes, and it waits for the other end.
    AndWaits(String),
    /// Bytes without an end.
    Flood,
}

/// An agent at an address of its own.
struct Agent {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
}

impl Agent {
    fn start(address: &str, says: Says) -> Self {
        let listener = TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says));
        let now = Arc::clone(&says);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let says = now.lock().unwrap().clone();
                thread::spawn(move || {
                    // Whoever asks sends nothing, and may go away.
                    let wait = |stream: &mut std::net::TcpStream| drop(stream.read(&mut [0; 16]));
                    match says {
                        Says::This(line) => drop(stream.write_all(line.as_bytes())),
                        Says::TheEnd => {}
                        Says::Nothing => wait(&mut stream),
                        Says::AndWaits(line) => {
                            drop(stream.write_all(line.as_bytes()));
                            wait(&mut stream);
                        }
                        Says::Dribble => {
                            while stream.write_all(b"u").is_ok() {
                                thread::sleep(Duration::from_millis(50));
                            }
                        }
                        Says::Flood => while stream.write_all(&[b'x'; 4096]).is_ok() {},
                    }
                });
            }
        });
        Self { address, says }
    }

    fn now(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn says(&self, line: &str) {
        self.now(Says::This(line.to_owned()));
    }
}

/// The configuration of `server` with the agent at its address, which is the same.
fn with_agent(check: &str, server: &Server, agent: &Agent) -> Config {
    assert_eq!(server.address.ip(), agent.address.ip());
    config(&format!("{check}, agent: {}", agent.address.port()), &[server])
}

fn of(checks: &Checks) -> ServerAgent {
    checks.health.agents().snapshot().into_iter().next().unwrap()
}

/// Waits until the agent has asked for this, in its words.
fn wait(checks: &Checks, words: &str) -> ServerAgent {
    poll(words, || Some(of(checks)).filter(|agent| agent.standing.words() == words))
}

fn asks(checks: &Checks) -> Vec<u32> {
    checks.health.agents().asks().into_values().collect()
}

#[test]
fn what_an_agent_says_is_followed_and_stays() {
    let server = Server::start("127.0.8.1", Manner::Fine);
    let agent = Agent::start("127.0.8.1", Says::This("75%\n".into()));
    let checks = Checks::start(&with_agent("interval: 20ms, timeout: 2s", &server, &agent));
    assert_eq!(wait(&checks, "75%").said.as_deref(), Some("75%"));
    assert_eq!(asks(&checks), [75]);
    agent.says("drain\r\n");
    wait(&checks, "drain 75%");
    assert_eq!(asks(&checks), [0]);
    agent.says("ready,100%");
    wait(&checks, "up");
    assert!(asks(&checks).is_empty());
    agent.says("down # disk full\n");
    assert_eq!(wait(&checks, "down").said.as_deref(), Some("down # disk full"));
    let down = checks.health.agents().down();
    assert_eq!(down.into_iter().collect::<Vec<_>>(), [("lab".into(), "s0".into())]);
    // The health checks go their own way.
    checks.wait("s0", HealthState::Up);
    assert!(checks.health.view().down().is_empty());
    agent.says("up\n");
    wait(&checks, "up");
    assert!(checks.health.agents().down().is_empty());
}

#[test]
fn an_agent_that_does_not_answer_changes_nothing() {
    let server = Server::start("127.0.8.2", Manner::Fine);
    let agent = Agent::start("127.0.8.2", Says::This("50%\n".into()));
    let checks = Checks::start(&with_agent("interval: 20ms, timeout: 300ms", &server, &agent));
    wait(&checks, "50%");
    for (says, why) in [
        (Says::TheEnd, "it closed the connection without a word"),
        (Says::Nothing, "no line within 300ms"),
        (Says::Dribble, "no line within 300ms"),
        (Says::AndWaits("drain".into()), "no line within 300ms"),
    ] {
        agent.now(says.clone());
        let found = poll(why, || Some(of(&checks)).filter(|agent| agent.error.as_deref() == Some(why)));
        assert_eq!((found.standing.words().as_str(), found.said.as_deref()), ("50%", Some("50%")), "{says:?}");
        agent.says("50%\n");
        poll("an answer", || Some(of(&checks)).filter(|agent| agent.error.is_none()));
    }
    // A line that has ended needs no end of the connection.
    agent.now(Says::AndWaits("60%\n".into()));
    wait(&checks, "60%");
}

#[test]
fn strange_words_are_counted_and_an_endless_line_is_cut() {
    let server = Server::start("127.0.8.3", Manner::Fine);
    let agent = Agent::start("127.0.8.3", Says::This("maxconn:30 25%\n".into()));
    let checks = Checks::start(&with_agent("interval: 20ms, timeout: 2s", &server, &agent));
    let found = wait(&checks, "25%");
    assert_eq!(found.said.as_deref(), Some("maxconn:30 25%"));
    poll("a count", || Some(of(&checks).unknown).filter(|unknown| *unknown >= 3));
    agent.now(Says::Flood);
    let found = poll("the flood", || {
        Some(of(&checks)).filter(|agent| agent.said.as_deref().is_some_and(|said| said.starts_with("xxx")))
    });
    assert_eq!((found.said.unwrap().len(), found.standing.words().as_str(), found.error), (256, "25%", None));
    agent.says("\u{1b}[2J 30%\n");
    assert_eq!(wait(&checks, "30%").said.as_deref(), Some("\\x1b[2J 30%"));
}

#[test]
fn it_needs_no_health_checks_and_a_reload_keeps_what_it_said() {
    let server = Server::start("127.0.8.4", Manner::Full);
    let agent = Agent::start("127.0.8.4", Says::This("drain\n".into()));
    let with = |check: &str| with_agent(check, &server, &agent);
    let mut checks = Checks::start(&with("kind: none, interval: 20ms, timeout: 2s"));
    wait(&checks, "drain");
    assert!(checks.health.view().snapshot().is_empty());

    // Asked more seldom, it is not asked before long; what it said goes on.
    checks.configure(&with("kind: none, interval: 1h"));
    assert_eq!(of(&checks).standing.words(), "drain");
    let before = of(&checks).address;
    // At another port it is another agent.
    let other = Agent::start("127.0.8.4", Says::Nothing);
    checks.configure(&with_agent("kind: none, interval: 20ms, timeout: 1h", &server, &other));
    assert_ne!(of(&checks).address, before);
    assert_eq!(of(&checks).standing.words(), "up");
    checks.configure(&config("interval: 20ms", &[&server]));
    assert!(checks.health.agents().snapshot().is_empty());
    assert!(asks(&checks).is_empty());
}

/// A server that was out when the daemon started may be so because its agent said so.
#[test]
fn who_was_out_stays_out_until_its_agent_was_asked() {
    let server = Server::start("127.0.8.5", Manner::Fine);
    let agent = Agent::start("127.0.8.5", Says::Nothing);
    let config = with_agent("kind: none, interval: 20ms, timeout: 2s", &server, &agent);
    let held = || Checks::resume(&config, &[("lab", "s0")]);
    let checks = held();
    assert_eq!(asks(&checks), [0]);
    agent.says("80%\n");
    poll("the answer", || (asks(&checks) == [80]).then_some(()));
    // Nobody answers: then nobody asks for anything.
    agent.now(Says::TheEnd);
    let checks = held();
    assert_eq!(asks(&checks), [0]);
    poll("the end of the wait", || asks(&checks).is_empty().then_some(()));
}
