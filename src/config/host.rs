//! The address of a real server: an IP address, or the name of a host (RFC 1123 §2.1).

use std::net::IpAddr;

use super::problem::{Wrong, quoted};
use super::tree::{Node, NodeKind};
use super::value::{self, Read};

/// The longest name, bytes, without a dot at its end (RFC 1035 §2.3.4).
const LONGEST: usize = 253;

/// What stands for the address of a real server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerAddress {
    /// The address itself.
    Ip(IpAddr),
    /// A name that is to be looked up, in small letters.
    Name(String),
}

/// An address that a server may have, or the name of a host.
pub(super) fn server(node: &Node) -> Read<ServerAddress> {
    let address = || value::host(node, "the address of the real server").map(ServerAddress::Ip);
    match &node.kind {
        // A flag, to every other reader of YAML.
        NodeKind::Plain(word) if ["true", "false"].iter().any(|flag| word.eq_ignore_ascii_case(flag)) => address(),
        NodeKind::Plain(text) | NodeKind::Quoted(text) if is_host(text) => {
            Ok(ServerAddress::Name(text.to_ascii_lowercase()))
        }
        NodeKind::Plain(text) | NodeKind::Quoted(text) => address().map_err(|wrong| no_host(text).unwrap_or(wrong)),
        _ => address(),
    }
}

/// Whether a text is the name of a host, and not what may have been meant as an address.
fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= LONGEST && name.split('.').all(label) && !like_an_address(name)
}

/// `10.0.0.300` and `10.0.0.1O`, and what inet_aton(3) takes for an address: no top-level domain is a number (RFC 3696 §2).
fn like_an_address(name: &str) -> bool {
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let labels: Vec<&str> = name.split('.').collect();
    let last = labels.last().copied().unwrap_or_default();
    let hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    number(last)
        || last.strip_prefix('0').and_then(|rest| rest.strip_prefix(['x', 'X'])).is_some_and(hex)
        || labels.len() == 4 && labels.iter().filter(|label| number(label)).count() == 3
}

/// What is wrong with a text that is nearly the name of a host.
fn no_host(text: &str) -> Option<Wrong> {
    if let Some((name, port)) = text.rsplit_once(':')
        && is_host(name)
        && port.parse::<u16>().is_ok()
    {
        let what = format!("{} is no IP address and no name (no port here)", quoted(text));
        return Some(Wrong::new(what, format!("{name}, and `port: {port}` beside it")));
    }
    let named = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    named.then(|| {
        let what = format!("{} is no IP address, and no name of a host", quoted(text));
        Wrong::new(what, "labels of 1 to 63 letters, digits and hyphens, with dots between them: ftp1.example.net")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::{Place, Source};

    fn read(text: &str) -> Read<ServerAddress> {
        let place = Place { line: 1, column: 1, width: 1, source: Source::MAIN };
        server(&Node { place, kind: NodeKind::Plain(text.to_owned()) })
    }

    #[test]
    fn a_server_has_an_address_or_a_name() {
        let long = format!("{}.net", ["a"; 125].join("."));
        for name in [
            "a",
            "ftp1",
            "FTP1.Example.NET",
            "ftp1.example.net.",
            "3com.example",
            "a-b.c-d",
            "xn--bcher-kva.example",
            &long,
        ] {
            assert_eq!(read(name), Ok(ServerAddress::Name(name.to_ascii_lowercase())), "{name}");
        }
        let label = "a".repeat(63);
        assert_eq!(read(&label), Ok(ServerAddress::Name(label.clone())));
        assert_eq!(read("10.0.0.1"), Ok(ServerAddress::Ip([10, 0, 0, 1].into())));
        assert!(matches!(read("2001:db8::1"), Ok(ServerAddress::Ip(IpAddr::V6(_)))));
    }

    #[test]
    fn a_mistyped_address_is_no_name() {
        for text in
            ["10.0.0.300", "10.0.0", "10", "10.0.0.1.", "10.0.0.1O", "0x0a000001", "a.0X7f", "0x", "ftp.example.7"]
        {
            let wrong = read(text).expect_err(text);
            assert!(wrong.what.contains("is no"), "{text}: {wrong:?}");
        }
        let wrong = read("10.0.0.300").expect_err("no address");
        assert_eq!(wrong.what, "\"10.0.0.300\" is no IP address");
    }

    #[test]
    fn what_is_no_name_is_told_what_a_name_is() {
        let (long, label) = (format!("{}.nets", ["a"; 125].join(".")), "a".repeat(64));
        for text in ["ftp_1.example", "a..b", "a-", "-a", ".", "", "a.-b.c", "a b", "é", "a/b", "true", &long, &label]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("ftp_1.example").expect_err("no name").cure.contains("ftp1.example.net"));
        let wrong = read("ftp1.example.net:2121").expect_err("a port");
        assert_eq!(wrong.cure, "ftp1.example.net, and `port: 2121` beside it");
    }
}
