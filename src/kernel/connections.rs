//! The connections that IPVS keeps, `ipvsadm -L -n -c`: netlink does not list them, `/proc/net/ip_vs_conn` does.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::KernelError;
use crate::lvs::{Connection, ConnectionState};

const LIST: &str = "/proc/net/ip_vs_conn";

/// Hands every TCP connection to `on`. A connection that comes or goes meanwhile may be missed or come twice.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn each(on: &mut dyn FnMut(&Connection)) -> Result<(), KernelError> {
    let failed = |error: std::io::Error| KernelError::io(format!("reading {LIST}"), &error);
    let mut list = BufReader::with_capacity(64 * 1024, File::open(LIST).map_err(failed)?);
    let mut line = String::new();
    while list.read_line(&mut line).map_err(failed)? > 0 {
        if let Some(connection) = parse(&line) {
            on(&connection);
        }
        line.clear();
    }
    Ok(())
}

/// `TCP 0A01000B C594 0A000064 0015 0A00000D 0015 ESTABLISHED     899`: addresses and ports in hexadecimal, IPv6 with its
/// colons (net/netfilter/ipvs/ip_vs_conn.c, ip_vs_conn_seq_show). `None` for the title, other protocols, templates.
fn parse(line: &str) -> Option<Connection> {
    let mut words = line.split_ascii_whitespace();
    if words.next()? != "TCP" {
        return None;
    }
    let mut end = || Some(SocketAddr::new(address(words.next()?)?, u16::from_str_radix(words.next()?, 16).ok()?));
    let (client, vip, server) = (end()?, end()?, end()?);
    if client.port() == 0 {
        return None;
    }
    let state = match words.next()? {
        "ESTABLISHED" => ConnectionState::Established,
        "FIN_WAIT" | "CLOSE_WAIT" => ConnectionState::HalfClosed,
        _ => ConnectionState::Other,
    };
    Some(Connection { client, vip, server, state, expires: Duration::from_secs(words.next()?.parse().ok()?) })
}

fn address(word: &str) -> Option<IpAddr> {
    if word.contains(':') {
        return word.parse().ok();
    }
    (word.len() == 8).then(|| u32::from_str_radix(word, 16).ok().map(|bits| Ipv4Addr::from_bits(bits).into()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let v4 = parse("TCP 0A01000B C594 0A000064 0015 0A00000D 0015 ESTABLISHED     899\n").unwrap();
        assert_eq!(v4.client, "10.1.0.11:50580".parse().unwrap());
        assert_eq!(v4.vip, "10.0.0.100:21".parse().unwrap());
        assert_eq!(v4.server, "10.0.0.13:21".parse().unwrap());
        assert_eq!((v4.state, v4.expires), (ConnectionState::Established, Duration::from_secs(899)));
        let v6 = "TCP fd00:0001:0000:0000:0000:0000:0000:0011 A11E fd00:0000:0000:0000:0000:0000:0000:0100 834D \
                  fd00:0000:0000:0000:0000:0000:0000:0013 834D FIN_WAIT    119";
        let v6 = parse(v6).unwrap();
        assert_eq!(v6.client, "[fd00:1::11]:41246".parse().unwrap());
        assert_eq!(v6.server, "[fd00::13]:33613".parse().unwrap());
        assert_eq!(v6.state, ConnectionState::HalfClosed);
        let closed = parse("TCP 0A01000B 8502 0A000064 830E 0A00000D 830E CLOSE             9 name data").unwrap();
        assert_eq!(closed.state, ConnectionState::Other);
    }

    #[test]
    fn what_is_no_connection() {
        for line in [
            "",
            "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData",
            "UDP 0A01000B C594 0A000064 0015 0A00000D 0015 UDP            299",
            // A persistence template.
            "TCP 0A01000B 0000 0A000064 0015 0A00000D 0015 NONE           299",
            "TCP 0A01000B C594 0A000064 0015 0A00000D 0015 ESTABLISHED",
            "TCP 0A01000B C594 0A0000 0015 0A00000D 0015 ESTABLISHED 4",
            "TCP 0A01000B CC594 0A000064 0015 0A00000D 0015 ESTABLISHED 4",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
