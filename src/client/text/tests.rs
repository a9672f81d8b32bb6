use serde_json::json;

use super::*;
use crate::api::{AgentStatus, HealthStatus};
use crate::lvs::Traffic;

fn server(name: &str) -> Server {
    Server {
        cluster: "downloads".into(),
        name: name.into(),
        address: [10, 0, 0, 11].into(),
        state: ServerState::Up,
        weight: 10,
        effective_weight: 10,
        sessions: 12,
        control: Some(Connections { active: 11, inactive: 3 }),
        data: Some(Connections { active: 1, inactive: 40 }),
        control_traffic: Some(Traffic {
            connections: 60,
            packets_in: 900,
            packets_out: 800,
            bytes_in: 40_000,
            bytes_out: 50_000,
        }),
        data_traffic: None,
        landed: Some(99),
        misdirected: Some(0),
        health: None,
        drained_by: None,
        max_sessions: None,
        full: false,
        agent: None,
        host: None,
        host_error: None,
    }
}

/// The shells' completions read it with a regular expression (deploy/completions).
#[test]
fn the_names_of_a_server_stand_first_in_its_json() {
    let text = serde_json::to_string(&server("ftp1")).expect("JSON");
    assert!(text.starts_with(r#"{"cluster":"downloads","name":"ftp1","#), "{text}");
}

#[test]
fn status_is_a_table() {
    let cluster = ClusterStatus {
        name: "downloads".into(),
        vips: vec![[192, 0, 2, 10].into()],
        ports: vec![21],
        forwarding: "nat".into(),
        scheduler: "wlc".into(),
        advertise: Some(AdvertiseStatus {
            source: "dns ftp.example.net".into(),
            address: Some([203, 0, 113, 7].into()),
            error: Some("SERVFAIL".into()),
        }),
        servers: vec![
            Server { full: true, max_sessions: Some(14), ..server("ftp1") },
            Server {
                state: ServerState::Drained,
                drained_by: Some(DrainedBy::Agent),
                agent: Some(AgentStatus {
                    standing: "drain 50%".into(),
                    down: false,
                    said: Some("drain,50%#backup".into()),
                    error: None,
                }),
                effective_weight: 0,
                control: None,
                data: None,
                landed: None,
                misdirected: None,
                health: Some(HealthStatus {
                    state: "down".into(),
                    since: 0.0,
                    step: Some("banner".into()),
                    error: Some("the server said \"421 Busy\"".into()),
                    seconds: [("connect".into(), 0.1)].into(),
                }),
                ..server("a-longer-name")
            },
            Server { host: Some("ftp3.".into()), ..server("ftp3") },
            Server { host: Some("rs4.example.net".into()), ..server("ftp4") },
            Server {
                host: Some("ftp5".into()),
                host_error: Some("127.0.0.1 is a loopback address".into()),
                ..server("ftp5")
            },
        ],
        unresolved: vec![UnresolvedServer { name: "ftp6".into(), host: "ftp6.".into(), error: "NXDOMAIN".into() }],
    };
    let status_now = Status {
        version: "1.2.3".into(),
        uptime_seconds: 90_061,
        config: crate::api::ConfigState { file: "f.yaml".into(), reload_good: true, read_at: 0.0 },
        drift: 1,
        kernel_error: Some("no".into()),
        sessions: 24,
        pinholes: 2,
        held: 0,
        clusters: vec![cluster],
    };
    let expected = "\
ftpdirector 1.2.3, up 1d01h
configuration f.yaml: in force
sessions 24, pinholes 2, held packets 0, drift 1
KERNEL: no

downloads: 192.0.2.10 port 21, nat, wlc
advertises 203.0.113.7 (dns ftp.example.net: SERVFAIL)
SERVER         ADDRESS    STATE     WEIGHT  SESSIONS  CONTROL  CLOSING  DATA  CLOSING  LANDED  MISDIRECTED
ftp1           10.0.0.11  full          10        12       11        3     1       40      99            0
a-longer-name  10.0.0.11  drained  0 of 10        12        ?        ?     ?        ?       ?            ?
ftp3           10.0.0.11  up            10        12       11        3     1       40      99            0
ftp4           10.0.0.11  up            10        12       11        3     1       40      99            0
ftp5           10.0.0.11  up            10        12       11        3     1       40      99            0
a-longer-name: drained by its agent
a-longer-name: health check: banner: the server said \"421 Busy\"
a-longer-name: agent: says \"drain,50%#backup\" (drain 50%)
ftp4: at the address of rs4.example.net
ftp5: ftp5 has no usable address: 127.0.0.1 is a loopback address; the last one goes on
ftp6: left out: ftp6. has no usable address: NXDOMAIN
";
    assert_eq!(status(&status_now), expected);
}

#[test]
fn drain_says_how_many_are_left_and_what_next() {
    let drained_now = Drained { server: Server { state: ServerState::Drained, ..server("ftp1") } };
    let text = drained(&drained_now);
    assert!(text.contains("12 sessions (11 control connections established, 3 closing), 1 data connection."), "{text}");
    assert!(text.contains("ftpdirector undrain downloads/ftp1") && text.contains("watch ftpdirector status"), "{text}");
    assert!(drained(&Drained { server: server("ftp1") }).contains("gets new sessions"));
}

#[test]
fn who_drains_is_said_and_what_an_agent_does() {
    let agent = |standing: &str, down, said: Option<&str>, error: Option<&str>| {
        let (standing, said, error) = (standing.to_owned(), said.map(str::to_owned), error.map(str::to_owned));
        Some(AgentStatus { standing, down, said, error })
    };
    let by = |drained_by, agent| {
        let of =
            Server { state: ServerState::Drained, weight: 10, drained_by: Some(drained_by), agent, ..server("ftp1") };
        let heard = super::agent(&of).unwrap_or_default();
        (drain(&of).unwrap_or_default() + &heard, drained(&Drained { server: of }))
    };
    let (status, drained_now) = by(DrainedBy::Administrator, agent("up", false, Some("up"), None));
    assert_eq!(status, "ftp1: drained by an administrator: ftpdirector undrain downloads/ftp1\n");
    assert!(drained_now.contains("to end the drain"), "{drained_now}");
    assert_eq!(by(DrainedBy::File, None).0, "ftp1: drained by the file: its weight there is 0\n");
    let (status, drained_now) = by(DrainedBy::Agent, agent("maint", false, None, Some("Connection refused")));
    assert_eq!(
        status,
        "ftp1: drained by its agent\nftp1: agent: does not answer: Connection refused; it has said nothing yet, and that goes on (maint)\n"
    );
    assert!(drained_now.contains("its agent drains it"), "{drained_now}");
    let down =
        Server { state: ServerState::Down, agent: agent("down", true, Some("down#disk"), None), ..server("ftp1") };
    assert_eq!(super::agent(&down).as_deref(), Some("ftp1: agent: says \"down#disk\" (down)\n"));
    assert!(drained(&Drained { server: down }).contains("its agent says that it is down"));
}

#[test]
fn a_trace_line_is_readable() {
    let line = json!({
        "at": 3723.5, "session": "203.0.113.5:40000>10.0.0.11:21", "cluster": "downloads", "server": "ftp1",
        "event": "row", "change": "added", "set": "exact4", "key": "203.0.113.5 . 192.0.2.10 . 40007",
        "value": "0x0f700000", "timeout_seconds": 10.0,
    });
    let parsed: Trace = serde_json::from_value(line.clone()).expect("a line");
    assert_eq!(
        trace(&parsed),
        "01:02:03.500 203.0.113.5:40000 downloads/ftp1 row change=added key=(203.0.113.5 . 192.0.2.10 . 40007) \
         set=exact4 timeout_seconds=10.0 value=0x0f700000"
    );
    assert_eq!(serde_json::to_value(&parsed).expect("JSON"), line);
    let lost = json!({ "at": 0.0, "session": "", "cluster": "", "server": "", "event": "lost", "count": 123 });
    assert_eq!(trace(&serde_json::from_value(lost).expect("a line")), "… 123 events lost");
}

#[test]
fn sessions_and_pinholes_say_when_there_are_more() {
    let session: SessionStatus = serde_json::from_value(json!({
        "client": "203.0.113.5:40000", "far_end": "10.0.0.11:21", "cluster": "downloads", "server": "ftp1",
        "age_seconds": 75.2, "idle_seconds": 0.2, "verb": "EPRT", "pending": true, "blind": null,
        "expectation": { "mode": "active", "port": 51210, "remaining_seconds": 7.25, "used": false },
    }))
    .expect("a session");
    let text = sessions(&Sessions { total: 20_000, matching: Some(12_000), sessions: vec![session.clone()] });
    let expected = "\
CLIENT             CLUSTER    SERVER  AGE    IDLE  COMMAND       EXPECTS                        BLIND
203.0.113.5:40000  downloads  ftp1    1m15s  0s    EPRT (waits)  active port 51210, 7.2 s left  -
12000 of 20000 sessions, the first 1 shown: --limit shows more, --client, --cluster and --server choose
";
    assert_eq!(text, expected);
    let last = |sessions: &Sessions| super::sessions(sessions).lines().last().map(str::to_owned);
    for (total, matching, said) in [(1, Some(1), "1 session"), (9, Some(1), "1 of 9 sessions"), (1, None, "1 session")]
    {
        let sessions = Sessions { total, matching, sessions: vec![session.clone()] };
        assert_eq!(last(&sessions).as_deref(), Some(said));
    }
    let none = PinholeList { total: 0, matching: Some(0), pinholes: vec![] };
    assert_eq!(pinholes(&none).lines().last(), Some("0 pinholes"));
}
