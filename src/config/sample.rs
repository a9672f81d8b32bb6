//! A small configuration for the tests of this room.

use std::time::Duration;

use super::*;
use crate::lvs::{ForwardingMethod, PortRange};

/// One cluster `downloads` at 192.0.2.10:21 with rs1 … rs3 (10.0.0.11 …), each with a range of its own.
pub fn config(forwarding: ForwardingMethod) -> Config {
    let server = |number: u16| RealServer {
        name: format!("rs{number}"),
        address: format!("10.0.0.{}", 10 + number).parse().expect("an address"),
        host: None,
        port: None,
        weight: 1,
        max_sessions: None,
        passive_ports: PortRange::new(30000 + 1000 * number, 30999 + 1000 * number).expect("a range"),
        shared: false,
        active_port: None,
        active_ports: None,
        mark: None,
    };
    let cluster = Cluster {
        name: "downloads".into(),
        vips: vec!["192.0.2.10".parse().expect("a VIP")],
        vip_interface: None,
        ports: vec![21],
        quiescing_ports: Vec::new(),
        forwarding,
        scheduler: "wlc".into(),
        persistence: None,
        passive_ports: None,
        public_ports: None,
        advertise: Advertise::Vip,
        pinhole_timeout: Duration::from_secs(10),
        idle_control: None,
        unexpected_data: UnexpectedData::Drop,
        client_match: ClientMatch::Address,
        bounce: Bounce::Reject,
        on_failure: OnFailure::Bypass,
        sorry_server: None,
        no_servers: NoServers::Keep,
        health_check: HealthCheck {
            kind: HealthCheckKind::None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            rise: 2,
            fall: 3,
            user: "anonymous".into(),
            password_file: None,
            path: "/".into(),
            tls: None,
            verify: true,
            ca_file: None,
            agent: None,
        },
        slow_start: None,
        real_servers: (1..=3).map(server).collect(),
    };
    Config {
        clusters: vec![cluster],
        limits: Limits {
            sessions: 1000,
            line: 4096,
            connection_packets: 1000,
            client_packets: 4000,
            client_connections: 1000,
            client_sessions: 10_000,
            memory: 64 << 20,
        },
        kernel: Kernel { fwmark_base: 0x0f70_0000, queue: 2100, timeouts: None },
        metrics: Metrics { listen: Some("127.0.0.1:9786".parse().expect("an address")) },
        admin: Admin { socket: "/run/ftpdirector/admin.sock".into() },
        log: Log { level: LogLevel::Info, format: LogFormat::Text, transfers: false, names: false },
    }
}
