//! The formats of other programs, known by a line. `import` reads all of them.

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// keepalived.conf(5).
    Keepalived,
    /// ldirectord.cf.
    Ldirectord,
    /// Piranha's lvs.cf(5).
    Piranha,
    /// `ipvsadm -S -n`, or a script that calls ipvsadm.
    Ipvsadm,
    /// `nft list ruleset`, or a file for `nft -f`.
    Nft,
    /// `iptables-save`, or a script that calls iptables.
    Iptables,
}

impl Format {
    /// Every one, by the name that the command line has for it.
    pub const NAMED: [(&'static str, Self); 6] = [
        ("keepalived", Self::Keepalived),
        ("ldirectord", Self::Ldirectord),
        ("piranha", Self::Piranha),
        ("ipvsadm", Self::Ipvsadm),
        ("nft", Self::Nft),
        ("iptables", Self::Iptables),
    ];

    /// What such a file is called, after "this looks like".
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Keepalived => "a keepalived.conf",
            Self::Ldirectord => "an ldirectord.cf",
            Self::Piranha => "an lvs.cf",
            Self::Ipvsadm => "rules of ipvsadm",
            Self::Nft => "rules of nft",
            Self::Iptables => "rules of iptables",
        }
    }
}

/// More lines than this are not looked at.
const LOOKED_AT: usize = 20_000;

/// The blocks of keepalived.conf that no other format has.
const KEEPALIVED: [&str; 12] = [
    "virtual_server",
    "virtual_server_group",
    "global_defs",
    "vrrp_instance",
    "vrrp_sync_group",
    "vrrp_script",
    "vrrp_track_process",
    "static_ipaddress",
    "static_routes",
    "net_namespace",
    "bfd_instance",
    "track_file",
];
/// Global options of ldirectord.cf.
const LDIRECTORD: [&str; 12] = [
    "virtual",
    "virtual6",
    "checktimeout",
    "negotiatetimeout",
    "checkinterval",
    "checkcount",
    "failurecount",
    "autoreload",
    "quiescent",
    "fallback",
    "emailalert",
    "callback",
];
/// Options of ipvsadm that stand behind `-A` or `-a`.
const SERVICES: [&str; 7] = ["-t", "-u", "-f", "--tcp-service", "--udp-service", "--fwmark-service", "--sctp-service"];

/// The format of a text, and the index of the line that gives it away; `None`: none that is known.
#[must_use]
pub fn by_sight(text: &str) -> Option<(usize, Format)> {
    text.lines().take(LOOKED_AT).enumerate().find_map(|(index, text)| Some((index, line(text)?)))
}

/// The format that a line gives away.
fn line(line: &str) -> Option<Format> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    let (second, third) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let program = first.rsplit('/').next().unwrap_or(first);
    let key = first.split('=').next().unwrap_or(first);
    let assigns = first.contains('=') || second.starts_with('=');
    // `@main virtual_server …`
    let keyword = if first.starts_with('@') { second } else { first };
    if KEEPALIVED.contains(&keyword.trim_end_matches('{')) && !assigns {
        return Some(Format::Keepalived);
    }
    match key {
        "serial_no" | "primary" | "backup_active" | "rsh_command" | "reservation_conflict_action" if assigns => {
            return Some(Format::Piranha);
        }
        "service" if assigns && line.trim_end().ends_with("lvs") => return Some(Format::Piranha),
        "virtual" if !assigns && line.trim_end().ends_with('{') => return Some(Format::Piranha),
        _ if assigns && LDIRECTORD.contains(&key) => return Some(Format::Ldirectord),
        _ => {}
    }
    let called = if matches!(program, "sudo" | "exec") { second.rsplit('/').next().unwrap_or(second) } else { program };
    match called {
        "ipvsadm" | "ip_vs_ftp" => return Some(Format::Ipvsadm),
        "modprobe" | "options" if line.contains("ip_vs") => return Some(Format::Ipvsadm),
        "iptables" | "ip6tables" => return Some(Format::Iptables),
        "nft" => return Some(Format::Nft),
        _ => {}
    }
    match first {
        "-A" | "-a" | "--add-service" | "--add-server" if SERVICES.contains(&second) => Some(Format::Ipvsadm),
        "-At" | "-Au" | "-Af" | "-at" | "-au" | "-af" => Some(Format::Ipvsadm),
        "*mangle" | "*nat" | "*filter" | "*raw" => Some(Format::Iptables),
        "-A" | "-I" if !second.starts_with('-') && third.starts_with(['-', '!']) => Some(Format::Iptables),
        "table" if matches!(second, "ip" | "ip6" | "inet" | "bridge" | "netdev" | "arp") => Some(Format::Nft),
        "#!/usr/sbin/nft" | "#!/sbin/nft" | "define" => Some(Format::Nft),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_known_by_sight() {
        for (text, expected) in [
            ("! Configuration\n\nglobal_defs {\n", Some(Format::Keepalived)),
            ("@main virtual_server 192.0.2.10 21 {", Some(Format::Keepalived)),
            ("virtual_server{", Some(Format::Keepalived)),
            ("# x\nchecktimeout = 3\nvirtual=192.0.2.10:21", Some(Format::Ldirectord)),
            ("virtual = 1\n  real=10.0.0.1 gate", Some(Format::Ldirectord)),
            ("serial_no = 25\nprimary = 192.0.2.1\n", Some(Format::Piranha)),
            ("virtual ftp {\n", Some(Format::Piranha)),
            ("-A -t 192.0.2.10:21 -s wlc\n", Some(Format::Ipvsadm)),
            ("#!/bin/sh\nVIP=192.0.2.10\n/sbin/ipvsadm -C\n", Some(Format::Ipvsadm)),
            ("sudo ipvsadm -At 192.0.2.10:21\n", Some(Format::Ipvsadm)),
            ("# Generated by iptables-save\n*mangle\n", Some(Format::Iptables)),
            ("-A PREROUTING -d 192.0.2.10/32 -j MARK --set-mark 1", Some(Format::Iptables)),
            ("table inet lvs {\n", Some(Format::Nft)),
            ("nft add rule ip mangle prerouting tcp dport 21 meta mark set 1\n", Some(Format::Nft)),
            ("clusters:\n  - name: a\n", None),
            ("IP Virtual Server version 1.2.1\n", None),
            ("the virtual server is fine\n", None),
            ("", None),
        ] {
            assert_eq!(by_sight(text).map(|(_, format)| format), expected, "{text}");
        }
    }
}
