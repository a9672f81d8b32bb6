//! A director to look at, for the tests of the page.

use super::{Counter, Counts, Hour};
use crate::api::{ClusterStatus, ConfigState, Connections, HealthStatus, Server, ServerState, Status};
use crate::time::Time;

/// The epoch's second at which the page is made.
pub const NOW: f64 = 1_764_230_400.0;

/// The minute of [`Hour`]'s clock at which it is made.
pub const MINUTE: u64 = 90;

/// Its time.
pub fn at() -> Time {
    Time::from_millis(MINUTE * 60_000 + 20_000)
}

/// A server that is well.
pub fn server(cluster: &str, name: &str) -> Server {
    Server {
        cluster: cluster.into(),
        name: name.into(),
        address: [10, 0, 0, 11].into(),
        state: ServerState::Up,
        weight: 10,
        effective_weight: 10,
        sessions: 41,
        control: Some(Connections { active: 41, inactive: 3 }),
        data: Some(Connections { active: 7, inactive: 40 }),
        control_traffic: None,
        data_traffic: None,
        landed: Some(12_345),
        misdirected: Some(0),
        health: Some(HealthStatus {
            state: "up".into(),
            since: NOW - 90_000.0,
            step: Some("quit".into()),
            error: None,
            seconds: [("connect".into(), 0.002), ("pasv_transfer".into(), 0.021)].into(),
        }),
        drained_by: None,
        max_sessions: None,
        full: false,
        agent: None,
        host: None,
        host_error: None,
    }
}

/// The same, after its banner said that it is busy.
pub fn down(cluster: &str, name: &str) -> Server {
    Server {
        state: ServerState::Down,
        effective_weight: 0,
        sessions: 3,
        health: Some(HealthStatus {
            state: "down".into(),
            since: NOW - 320.0,
            step: Some("password".into()),
            error: Some("the server said \"530 User ftpcheck cannot log in.\"".into()),
            seconds: [("connect".into(), 0.002), ("password".into(), 3.0)].into(),
        }),
        ..server(cluster, name)
    }
}

/// A cluster of these servers.
pub fn cluster(name: &str, servers: Vec<Server>) -> ClusterStatus {
    ClusterStatus {
        name: name.into(),
        vips: vec![[192, 0, 2, 10].into(), "2001:db8::10".parse().expect("an address")],
        ports: vec![21],
        forwarding: "nat".into(),
        scheduler: "wlc".into(),
        advertise: None,
        servers,
        unresolved: Vec::new(),
    }
}

/// A director with these clusters.
pub fn status(clusters: Vec<ClusterStatus>) -> Status {
    let servers = clusters.iter().flat_map(|cluster| &cluster.servers);
    Status {
        version: "1.2.3".into(),
        uptime_seconds: 5_400,
        config: ConfigState { file: "/etc/ftpdirector/config.yaml".into(), reload_good: true, read_at: 0.0 },
        drift: 0,
        kernel_error: None,
        sessions: servers.map(|server| server.sessions).sum(),
        pinholes: 17,
        held: 0,
        clusters,
    }
}

/// An hour of a cluster: busier and busier, and bad in its last quarter; nothing is known of `unknown` minutes at its begin.
pub fn hour(names: &[&str], unknown: u64) -> Hour {
    let (mut hour, mut counts) = (Hour::default(), Counts::default());
    for minute in MINUTE - 60 + unknown..=MINUTE {
        let bad = minute > MINUTE - 18;
        counts.add(Counter::Came, 200 + minute * 3 + minute * minute % 57 - if bad { 250 } else { 0 });
        counts.add(Counter::Missing, if bad { 110 + minute % 13 } else { minute % 4 / 3 });
        counts.add(Counter::Refused, minute % 11 / 10);
        counts.add(Counter::Unexpected, minute % 7 / 5);
        counts.add(Counter::Complete, 150 + minute * 2 - if bad { 200 } else { 0 });
        counts.add(Counter::Failed, if bad { 90 + minute % 13 } else { minute % 4 / 3 });
        counts.add(Counter::Denied, minute % 6);
        let sessions = 30 + minute % 9 + minute / 4;
        hour.record(Time::from_millis(minute * 60_000), names.iter().map(|&name| (name, counts, sessions)));
    }
    hour
}
