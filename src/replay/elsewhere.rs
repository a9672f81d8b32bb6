//! Ports that speak FTP and were not named as control ports: what a hint is made of.

use std::collections::{BTreeMap, BTreeSet};

use crate::ftp::Flags;
use crate::wire::Packet;

/// More ports are not told.
const TOLD: usize = 3;

/// What was heard on other ports than the control ports. Both hold a port at most once, so never more than 65,536.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// Ports that accepted a connection.
    listening: BTreeSet<u16>,
    /// How often FTP was spoken to or by a port.
    heard: BTreeMap<u16, u64>,
}

impl Elsewhere {
    pub(super) fn packet(&mut self, packet: &Packet, payload: &[u8]) {
        let (from, to) = (packet.source.port(), packet.destination.port());
        if packet.tcp.flags.has(Flags::SYN.with(Flags::ACK)) {
            self.listening.insert(from);
        }
        // Who connects does not greet: what a server in active mode sends is a file that begins like that.
        if is_greeting(payload) && self.listening.contains(&from) {
            self.hear(from);
        }
        // A capture in front of DR or TUN servers has no greeting.
        if asks_for_a_port(payload) {
            self.hear(to);
        }
    }

    fn hear(&mut self, port: u16) {
        let times = self.heard.entry(port).or_default();
        *times = times.saturating_add(1);
    }

    /// The ports that were heard most often, in ascending order.
    pub(super) fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<(u64, u16)> = self.heard.iter().map(|(port, times)| (*times, *port)).collect();
        ports.sort_unstable_by(|a, b| b.cmp(a));
        ports.truncate(TOLD);
        let mut ports: Vec<u16> = ports.into_iter().map(|(_, port)| port).collect();
        ports.sort_unstable();
        ports
    }
}

/// RFC 959 §5.4. SMTP greets with 220 too, but with its name (RFC 5321 §4.3.1).
fn is_greeting(payload: &[u8]) -> bool {
    let mail = || payload.windows(4).any(|word| word.eq_ignore_ascii_case(b"SMTP"));
    (payload.starts_with(b"220 ") || payload.starts_with(b"220-")) && !mail()
}

/// In no other protocol of lines there is such a command.
fn asks_for_a_port(payload: &[u8]) -> bool {
    [&b"PASV\r\n"[..], b"EPSV\r\n"].iter().any(|command| payload.eq_ignore_ascii_case(command))
}
