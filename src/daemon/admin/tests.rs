//! The socket from end to end: our client, our server, a director, and something that stands for the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::facts::Dump;
use super::*;
use crate::client::request::{Ask, ClientError, Wanted};
use crate::client::{self, Format};
use crate::config::{Host, ServerByName, sample};
use crate::daemon::RunError;
use crate::daemon::view::History;
use crate::director::{ControlPacket, Director, Hook};
use crate::kernel::ipvs::{ListedDestination, ListedService};
use crate::kernel::nftables::{Element, Part, key};
use crate::lvs::{Destination, ForwardingMethod, ServiceKey, Thresholds, Traffic, VirtualService};
use crate::plan::advertised::Advertised;
use crate::plan::availability::Availability;
use crate::plan::{director_config, mark_index};
use crate::state::sets::{Name, Set};
use crate::time::Time;

/// A server whose name has no address.
fn left_out() -> ServerByName {
    let host = Host { name: "rs4.example.net".into(), ipv6: false };
    let (cluster, server, trouble) = ("downloads".into(), "rs4".into(), Some("NXDOMAIN".into()));
    ServerByName { cluster, server, host, address: None, usable: 0, trouble }
}

/// What the commands change.
#[derive(Clone)]
struct Fake(Arc<Mutex<BTreeSet<(String, String)>>>);

impl DaemonFacts for Fake {
    fn belief(&self) -> Belief {
        let config = sample::config(ForwardingMethod::Nat);
        let indexes =
            mark_index::assign(&config, mark_index::marks(&config), &Default::default()).expect("few servers");
        let drained = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let availability = Availability { drained, ..Availability::default() };
        let history = History { drift: 3, reload_good: true, reloaded_at: 1.0, ..History::default() };
        Belief {
            config: Arc::new(config),
            indexes,
            availability,
            health: Vec::new(),
            agents: Vec::new(),
            advertised: Advertised::default(),
            by_name: vec![left_out()],
            history,
        }
    }

    fn counted(&self, belief: &Belief) -> Result<Observed, String> {
        let service = |key, to: &str, active| ListedService {
            service: VirtualService { key, scheduler: "wlc".into(), persistence: None },
            flags: 0,
            netmask: 32,
            traffic: Traffic::default(),
            destinations: vec![ListedDestination {
                destination: Destination {
                    address: to.parse().expect("an address"),
                    forwarding: ForwardingMethod::Nat,
                    weight: u32::from(belief.availability.drained.is_empty()),
                    thresholds: Thresholds::at(8),
                },
                local: false,
                active,
                inactive: 1,
                persistent: 0,
                traffic: Traffic::default(),
            }],
        };
        let vip = "192.0.2.10:21".parse().expect("the VIP");
        let mark = mark_index::marks(&belief.config).data(0);
        let services = vec![
            service(ServiceKey::Tcp(vip), "10.0.0.11:21", 7),
            service(ServiceKey::Mark { mark, ipv6: false }, "10.0.0.11:0", 2),
        ];
        Ok(Observed { services, ..Observed::default() })
    }

    fn dynamic(&self) -> Result<Vec<Dump>, String> {
        let client = Part::Ip([203, 0, 113, 5].into());
        let row = Element {
            key: key(&[Part::Ip([10, 0, 0, 11].into()), client, Part::Port(51210)]),
            data: Some(vec![192, 0, 2, 10]),
            expires: Some(Duration::from_millis(4500)),
            ..Element::default()
        };
        let pinhole = Element { key: key(&[client, Part::Mark(0x0f73_0002)]), ..Element::default() };
        let set = |name| Set { name, family: crate::state::sets::Family::V4 };
        Ok(vec![(set(Name::ActiveNat), vec![row]), (set(Name::Open), vec![pinhole])])
    }
}

/// Stands for the packet thread: a director that has read one PORT, and reads a PASV for each who listens.
fn packets(mut director: Director, inbox: &Receiver<Message>) {
    let mut listeners = crate::daemon::trace_subscribers::Listeners::default();
    let mut seq = 1000;
    while let Ok(message) = inbox.recv() {
        match message {
            Message::Snapshot(answer) => drop(answer.send(director.snapshot())),
            Message::Sessions(from, wanted, answer) => {
                drop(answer.send(director.sessions(Time::from_millis(2000), from, &wanted)));
            }
            Message::Holders(from, answer) => drop(answer.send(director.holders(from))),
            Message::Explain(whom, answer) => drop(answer.send(director.account(Time::from_millis(2000), whom))),
            Message::Listen(listener) => {
                listeners.add(listener, &mut director);
                says(&mut director, seq, "EPSV\r\n");
                seq += 6;
                listeners.pass_on(&mut director);
            }
            Message::Stop => return,
            _ => {}
        }
    }
}

fn says(director: &mut Director, seq: u32, line: &str) {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 203, 0, 113, 5, 10, 0, 0, 11];
    packet.extend([0x9c, 0x40, 0, 21]);
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(line.as_bytes());
    let length = u16::try_from(packet.len()).expect("short");
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    crate::wire::Packet::parse(&packet).expect("a packet").complete(&mut packet);
    let offered =
        ControlPacket { id: 1, hook: Hook::Postrouting, mark: 0x0f73_0000, bytes: &mut packet, truncated: false };
    let _ = director.packet(Time::ZERO, offered, &mut Vec::new());
}

/// A directory of its own, gone afterwards.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ftpdirector-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `test` beside a server on a socket of its own.
fn served(name: &str, test: impl FnOnce(&Path)) {
    served_within(LIMITS, name, test);
}

fn served_within(limits: ConnectionLimits, name: &str, test: impl FnOnce(&Path)) {
    let place = Place::new(name);
    let (socket, listener) = bind(&place.socket()).expect("nobody else").expect("a socket");
    let (line, inbox, _wake) = Packets::line().expect("an eventfd");
    let fake = Fake(Arc::default());
    let belief = fake.belief();
    let mut director = Director::new(director_config::setup(&belief.config, &belief.indexes, &belief.advertised, &[]));
    says(&mut director, 975, "PORT 203,0,113,5,200,10\r\n");
    let packet_thread = thread::spawn(move || packets(director, &inbox));
    let ending = line.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (commands, mut told) = mpsc::channel(4);
            let drained = Arc::clone(&fake.0);
            let listener = UnixListener::from_std(listener).expect("a listener");
            tokio::spawn(serve(listener, limits, AdminState::new(fake, line, commands, Path::new("/etc/f.yaml"))));
            tokio::spawn(async move {
                while let Some(command) = told.recv().await {
                    match command {
                        DaemonCommand::Reload(answer) => drop(answer.send(Err("f.yaml:3: no".into()))),
                        DaemonCommand::Drain { server, drained: on, answer } => {
                            let mut drained = drained.lock().unwrap_or_else(PoisonError::into_inner);
                            if on {
                                drained.insert(server)
                            } else {
                                drained.remove(&server)
                            };
                            let _ = answer.send(Ok(()));
                        }
                        DaemonCommand::Down { .. } | DaemonCommand::Advertise | DaemonCommand::Addresses => {}
                    }
                }
            });
            let _ = stopped.await;
        });
    });
    test(&place.socket());
    let _ = stop.send(());
    server.join().expect("the server");
    assert!(ending.tell(Message::Stop));
    packet_thread.join().expect("the packet thread");
    drop(socket);
    assert!(!place.socket().exists(), "the file goes with the daemon");
}

fn asked(socket: &Path, what: &Ask, format: Format) -> Result<String, ClientError> {
    let mut text = String::new();
    client::run(socket, what, format, |line| {
        text.push_str(line);
        Ok(())
    })?;
    Ok(text)
}

#[test]
fn status_joins_belief_and_kernel() {
    served("status", |socket| {
        let json = asked(socket, &Ask::Status, Format::Json).expect("a status");
        let status: api::Status = serde_json::from_str(&json).expect("its shape");
        assert_eq!((status.drift, status.sessions, status.config.file.as_str()), (3, 1, "/etc/f.yaml"));
        let servers = &status.clusters[0].servers;
        let connections = |active, inactive| Some(api::Connections { active, inactive });
        assert_eq!((servers[0].control, servers[0].data), (connections(7, 1), connections(2, 1)));
        assert_eq!((servers[1].control, servers[0].sessions), (connections(0, 0), 1));
        assert_eq!((servers[0].full, servers[1].full), (true, false), "8 of 8 connections");
        let [left_out] = &status.clusters[0].unresolved[..] else { panic!("{json}") };
        assert_eq!((left_out.name.as_str(), left_out.error.as_str()), ("rs4", "NXDOMAIN"));
        assert!(asked(socket, &Ask::Status, Format::Text).expect("a table").contains("rs1"));
    });
}

#[test]
fn sessions_and_pinholes_know_each_other() {
    served("rows", |socket| {
        let json = asked(socket, &Ask::Sessions(Wanted::default()), Format::Json).expect("sessions");
        let sessions: api::Sessions = serde_json::from_str(&json).expect("their shape");
        assert_eq!((sessions.total, sessions.sessions[0].verb.as_deref()), (1, Some("PORT")));
        assert_eq!(sessions.sessions[0].expectation.as_ref().and_then(|expected| expected.port), Some(51210));
        let json = asked(socket, &Ask::Pinholes(Wanted::default()), Format::Json).expect("pinholes");
        let pinholes: api::PinholeList = serde_json::from_str(&json).expect("their shape");
        let [row, pinhole] = &pinholes.pinholes[..] else { panic!("{pinholes:?}") };
        assert_eq!((row.set.as_str(), row.server.as_deref()), ("active_nat4", Some("rs1")));
        assert_eq!((row.key.as_str(), row.value.as_deref()), ("10.0.0.11 . 203.0.113.5 . 51210", Some("192.0.2.10")));
        assert_eq!(row.sessions, [sessions.sessions[0].client]);
        assert_eq!((pinhole.server.as_deref(), pinhole.sessions.len()), (Some("rs3"), 0));
    });
}

#[test]
fn lists_can_be_narrowed() {
    served("wanted", |socket| {
        let network = |text: &str| Some(text.parse().expect("a network"));
        let server = |name: &str| Wanted { server: Some(name.into()), ..Wanted::default() };
        for (wanted, sessions, pinholes) in [
            (Wanted::default(), 1, 2),
            (Wanted { client: network("203.0.113.0/24"), ..Wanted::default() }, 1, 2),
            (Wanted { client: network("10.0.0.11/32"), ..Wanted::default() }, 0, 0),
            (Wanted { client: network("2001:db8::/32"), ..Wanted::default() }, 0, 0),
            (Wanted { cluster: Some("downloads".into()), ..Wanted::default() }, 1, 2),
            (server("rs1"), 1, 1),
            (server("rs3"), 0, 1),
            (Wanted { cluster: Some("downloads".into()), ..server("rs3") }, 0, 1),
            (Wanted { cluster: Some("uploads".into()), ..server("rs3") }, 0, 0),
        ] {
            let json = asked(socket, &Ask::Sessions(wanted.clone()), Format::Json).expect("sessions");
            let listed: api::Sessions = serde_json::from_str(&json).expect("their shape");
            assert_eq!((listed.total, listed.matching, listed.sessions.len()), (1, Some(sessions), sessions as usize));
            let json = asked(socket, &Ask::Pinholes(wanted.clone()), Format::Json).expect("pinholes");
            let listed: api::PinholeList = serde_json::from_str(&json).expect("their shape");
            let shown = (listed.total, listed.matching, listed.pinholes.len());
            assert_eq!(shown, (2, Some(pinholes), pinholes as usize), "{wanted:?}");
        }
        let one = Ask::Pinholes(Wanted { limit: Some(1), ..Wanted::default() });
        let text = asked(socket, &one, Format::Text).expect("pinholes");
        assert!(text.contains("2 pinholes, the first 1 shown: --limit shows more"), "{text}");
        let text = asked(socket, &Ask::Pinholes(server("rs3")), Format::Text).expect("pinholes");
        assert!(text.ends_with("\n1 of 2 pinholes\n"), "{text}");
        for (wanted, expected) in [
            (Wanted { cluster: Some("downlods".into()), ..server("rs1") }, "no cluster downlods: there are downloads"),
            (server("rs9"), "no server rs9: there are downloads/rs1, downloads/rs2"),
            (server("other/rs1"), "no server other/rs1: there are downloads/rs1, downloads/rs2"),
        ] {
            for ask in [Ask::Sessions(wanted.clone()), Ask::Pinholes(wanted.clone()), Ask::Trace(wanted.clone())] {
                let refused = asked(socket, &ask, Format::Text).expect_err("no such name");
                assert!(refused.to_string().starts_with(expected) && refused.exit_code() == 1, "{refused}");
            }
        }
        let many = asked(socket, &Ask::Sessions(Wanted { limit: Some(100_001), ..Wanted::default() }), Format::Text);
        assert!(many.expect_err("too many").to_string().contains("1 to 100000"));
    });
}

#[test]
fn a_client_is_explained_and_what_is_no_client_is_said() {
    served("explain", |socket| {
        for client in ["203.0.113.5", "203.0.113.5:40000"] {
            let json = asked(socket, &Ask::Explain(client.into()), Format::Json).expect("an explanation");
            let told: api::Explanation = serde_json::from_str(&json).expect("its shape");
            assert_eq!((told.asked.as_str(), told.server.as_deref(), told.sessions), (client, Some("rs1"), 1));
            assert_eq!(told.session.map(|end| end.to_string()).as_deref(), Some("203.0.113.5:40000"));
            assert_eq!((told.verdict.as_str(), told.failed), ("waiting", false), "{told:?}");
            assert!(told.expected.is_some_and(|expected| expected.ends_with("203.0.113.5:51210")));
            let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
            assert!(told.events.iter().all(|event| (event.at - now + 2.0).abs() < 60.0), "{:?}", told.events);
        }
        let text = asked(socket, &Ask::Explain("203.0.113.5".into()), Format::Text).expect("a page");
        assert!(text.starts_with("203.0.113.5:40000 at downloads/rs1\n"), "{text}");
        for (client, verdict) in
            [("last", "no_failure"), ("203.0.113.6", "never_seen"), ("203.0.113.5:1", "never_seen")]
        {
            let json = asked(socket, &Ask::Explain(client.into()), Format::Json).expect("an explanation");
            let told: api::Explanation = serde_json::from_str(&json).expect("its shape");
            assert_eq!((told.verdict.as_str(), told.session), (verdict, None), "{client}");
        }
        let wrong = asked(socket, &Ask::Explain("rs1".into()), Format::Text).expect_err("no client");
        assert!(wrong.exit_code() == 1 && wrong.to_string().contains("write a client's address"), "{wrong}");
    });
}

/// A stopped daemon: the kernel takes the connection for it, and nobody answers.
#[test]
fn a_daemon_that_does_not_answer_is_not_waited_for() {
    let place = Place::new("silent");
    let _nobody = std::os::unix::net::UnixListener::bind(place.socket()).expect("a socket");
    let silent = asked(&place.socket(), &Ask::Status, Format::Text).expect_err("nobody answers");
    assert_eq!(silent.exit_code(), 69);
    assert!(silent.to_string().contains("does not answer within 5 seconds"), "{silent}");
}

#[test]
fn drain_and_undrain_answer_with_the_server() {
    served("drain", |socket| {
        let drained = |what: &Ask| {
            let json = asked(socket, what, Format::Json).expect("an answer");
            serde_json::from_str::<api::Drained>(&json).expect("its shape").server
        };
        let server = drained(&Ask::Drain("downloads/rs1".into()));
        assert_eq!((server.state, server.effective_weight, server.sessions), (api::ServerState::Drained, 0, 1));
        assert_eq!(drained(&Ask::Undrain("downloads/rs1".into())).state, api::ServerState::Up);
        let unknown = asked(socket, &Ask::Drain("downloads/rs9".into()), Format::Text).expect_err("no such server");
        assert_eq!(unknown.exit_code(), 1);
        assert!(unknown.to_string().contains("downloads/rs1, downloads/rs2"), "{unknown}");
    });
}

#[test]
fn a_refused_reload_says_why() {
    served("reload", |socket| {
        let refused = asked(socket, &Ask::Reload, Format::Text).expect_err("a bad file");
        assert_eq!((refused.exit_code(), refused.to_string().as_str()), (1, "f.yaml:3: no"));
    });
}

#[test]
fn a_trace_streams_until_its_reader_leaves() {
    served("trace", |socket| {
        let client = Some(ipnet::IpNet::from(IpAddr::from([203, 0, 113, 5])));
        let wanted = Wanted { client, server: Some("rs1".into()), ..Wanted::default() };
        let filter = Ask::Trace(wanted.clone());
        let mut heard = Vec::new();
        let left = client::run(socket, &filter, Format::Json, |line| {
            heard.push(serde_json::from_str::<api::Trace>(line).expect("its shape"));
            let last = heard.last().is_some_and(|trace| trace.event == "row");
            if last { Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe)) } else { Ok(()) }
        });
        assert!(matches!(left, Err(ClientError::Output(_))), "{left:?}");
        let events: Vec<_> = heard.iter().map(|trace| trace.event.as_str()).collect();
        assert_eq!(events, ["command", "expect", "superseded", "row"], "{heard:?}");
        let command = &heard[0];
        assert_eq!(command.session, "203.0.113.5:40000>10.0.0.11:21");
        assert_eq!((&command.fields["verb"], &command.fields["seq"]), (&"EPSV".into(), &1000.into()));
        let two = asked(socket, &Ask::Trace(Wanted { limit: Some(2), ..wanted }), Format::Text).expect("two events");
        assert_eq!(two.lines().count(), 2, "{two}");
    });
}

#[test]
fn traces_leave_places_for_others() {
    served("traces", |socket| {
        let ask = || {
            let mut stream = UnixStream::connect(socket).expect("a connection");
            stream.write_all(b"GET /trace HTTP/1.1\r\nHost: ftpdirector\r\n\r\n").expect("a request");
            let mut status = [0; 12];
            stream.read_exact(&mut status).expect("an answer");
            (status, stream)
        };
        let traces: Vec<_> = (0..TRACES).map(|_| ask()).collect();
        assert!(traces.iter().all(|(status, _)| status == b"HTTP/1.1 200"));
        assert_eq!(&ask().0, b"HTTP/1.1 429");
        assert!(asked(socket, &Ask::Status, Format::Text).is_ok());
    });
}

/// Until the other side closes, or resets; fails when it does not.
fn ends(mut stream: UnixStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it is open still"),
        _ => text,
    }
}

#[test]
fn who_says_nothing_and_who_stays_is_closed_but_for_a_trace() {
    let short = Duration::from_millis(50);
    let limits = ConnectionLimits { silence: short, whole: short, ..LIMITS };
    served_within(limits, "silence", |socket| {
        let connect = || UnixStream::connect(socket).expect("a connection");
        let mut trace = connect();
        trace.write_all(b"GET /trace HTTP/1.1\r\nHost: ftpdirector\r\n\r\n").expect("a request");
        let mut status = [0; 12];
        trace.read_exact(&mut status).expect("an answer");
        ends(connect());
        let mut again = connect();
        while again.write_all(b"GET /pinholes HTTP/1.1\r\nHost: ftpdirector\r\n\r\n").is_ok() {}
        trace.set_read_timeout(Some(short)).expect("a timeout");
        let told = std::iter::repeat_with(|| trace.read(&mut [0; 1024])).find(|told| !matches!(told, Ok(1..)));
        assert!(told.is_some_and(|told| told.is_err()), "the trace is open still");
    });
}

#[test]
fn who_comes_beyond_the_limit_is_told_or_closed_at_once() {
    let long = Duration::from_secs(60);
    let limits = ConnectionLimits { most: 2, silence: long, whole: long, ..LIMITS };
    served_within(limits, "crowd", |socket| {
        let connect = || UnixStream::connect(socket).expect("a connection");
        let (_first, second) = (connect(), connect());
        let refused = asked(socket, &Ask::Status, Format::Text).expect_err("no place");
        assert!(refused.to_string().contains("and 2 in all: close one of them"), "{refused}");
        let held: Vec<_> = (0..REFUSALS).map(|_| connect()).collect();
        ends(connect());
        drop((held, second));
        while asked(socket, &Ask::Status, Format::Text).is_err() {}
    });
}

#[test]
fn a_slow_listener_is_told_what_it_lost() {
    let config = sample::config(ForwardingMethod::Nat);
    let indexes = mark_index::assign(&config, mark_index::marks(&config), &Default::default()).expect("few servers");
    let mut director = Director::new(director_config::setup(&config, &indexes, &Advertised::default(), &[]));
    let mut listeners = crate::daemon::trace_subscribers::Listeners::default();
    let (line, mut heard) = mpsc::channel(1);
    listeners.add(Listener::new(Filter::default(), line), &mut director);
    says(&mut director, 1000, "NOOP\r\n");
    says(&mut director, 1006, "NOOP\r\n");
    listeners.pass_on(&mut director);
    assert!(matches!(heard.try_recv(), Ok(crate::daemon::trace_subscribers::TraceLine::Event { .. })));
    listeners.pass_on(&mut director);
    assert_eq!(heard.try_recv(), Ok(crate::daemon::trace_subscribers::TraceLine::Lost(2)));
    drop(heard);
    listeners.pass_on(&mut director);
    assert!(listeners.is_empty(), "who left is forgotten");
}

#[test]
fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
    let place = Place::new("stale");
    let (socket, listener) = bind(&place.socket()).expect("nobody").expect("a socket");
    let mode = fs::metadata(place.socket()).expect("the file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    assert!(matches!(bind(&place.socket()), Err(RunError::Admin { why, .. }) if why.contains("another ftpdirector")));
    drop(listener);
    let (second, _listener) = bind(&place.socket()).expect("stale").expect("a socket");
    // The first daemon's end must not take the second's file along.
    drop(socket);
    assert!(place.socket().exists());
    drop(second);
    assert!(!place.socket().exists());
    fs::write(place.socket(), "precious").expect("a file");
    assert!(matches!(bind(&place.socket()), Err(RunError::Admin { .. })));
    assert_eq!(fs::read_dir(&place.0).expect("the directory").count(), 1, "nothing else is left behind");
}

#[test]
fn without_a_place_for_the_socket_the_daemon_goes_on() {
    assert!(bind(Path::new("/proc/ftpdirector/admin.sock")).expect("only a warning").is_none());
}

#[test]
fn nobody_there_is_69_with_the_cure() {
    let place = Place::new("nobody");
    let error = asked(&place.socket(), &Ask::Status, Format::Text).expect_err("nobody");
    assert_eq!(error.exit_code(), 69);
    assert!(error.to_string().contains("systemctl start ftpdirector"), "{error}");
}
