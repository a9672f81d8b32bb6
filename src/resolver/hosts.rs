//! `/etc/hosts`, hosts(5).

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;

use crate::config::Host;
use crate::lvs::is_ipv6;

const FILE: &str = "/etc/hosts";

/// The most of the file that is read, bytes.
const LARGEST: u64 = 4 << 20;

/// The addresses that the file has for a name; none if it cannot be read.
pub fn look_up(host: &Host) -> Vec<IpAddr> {
    let mut bytes = Vec::new();
    match File::open(FILE).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)) {
        Ok(_) => find(&String::from_utf8_lossy(&bytes), host),
        Err(_) => Vec::new(),
    }
}

/// The addresses of the wanted family, the lowest first.
fn find(text: &str, host: &Host) -> Vec<IpAddr> {
    let wanted = host.name.trim_end_matches('.');
    let mut found: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok().filter(|address| is_ipv6(*address) == host.ipv6)?;
            words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(wanted)).then_some(address)
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_its_lines() {
        let text = "127.0.0.1 localhost # ftp1\n10.0.0.12\tFTP1.example.net ftp1\n\n::1 ftp1\n10.0.0.11 ftp1 ftp1\n\
                    10.0.0.13\n10.0.0 ftp1\n  10.0.0.14 ftp12 # 10.0.0.15 ftp1\n";
        let found = |name: &str, ipv6| {
            let found = find(text, &Host { name: name.into(), ipv6 });
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found("ftp1", false), ["10.0.0.11", "10.0.0.12"]);
        assert_eq!(found("ftp1.", true), ["::1"]);
        assert_eq!(found("ftp1.example.net", false), ["10.0.0.12"]);
        assert_eq!(found("ftp", false), [""; 0]);
        assert_eq!(found("10.0.0.13", false), [""; 0]);
    }
}
