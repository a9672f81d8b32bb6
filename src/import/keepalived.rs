//! keepalived.conf: `virtual_server` and `virtual_server_group`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use ipnet::IpNet;

use super::blocks::{self, Statement};
use super::found::{
    Found, Host, ImportError, Includes, Key, NO_LOWER_THRESHOLD, Protocol, Remarks, SERVICES, Server, Service,
};
use super::keepalived_check::{Checks, is_check};
use super::text::{number, port, shown};
use crate::lvs::ForwardingMethod;

/// The most addresses of one line of a group.
const RANGE: usize = 256;

/// Reads a file with those that it includes.
pub(super) fn read(file: &Rc<str>, text: &str, includes: &Includes<'_>, found: &mut Found) -> Result<(), ImportError> {
    let statements = blocks::keepalived(file, text, includes, &mut found.remarks)?;
    let mut groups: BTreeMap<&str, &Statement> = BTreeMap::new();
    for statement in statements.iter().filter(|statement| statement.keyword() == "virtual_server_group") {
        groups.insert(statement.argument(0), statement);
    }
    for statement in &statements {
        if let Some(only) = &statement.only {
            if statement.keyword().starts_with("virtual_server") {
                let (place, what) = (&statement.place, shown(&statement.words.join(" ")));
                found.remarks.left_out(format!("{place}: {what}: it holds on the director `{only}` only."));
            }
            continue;
        }
        match statement.keyword() {
            "virtual_server" => virtual_server(statement, &groups, found),
            "vrrp_instance" => moved(statement, found),
            "global_defs" => globals(statement, found),
            "net_namespace" | "net_namespace_ipvs" => {
                let name = shown(statement.argument(0));
                let place = &statement.place;
                found.remarks.note(format!(
                    "{place}: keepalived works in the network namespace `{name}`; ftpdirector has to run in the one that has IPVS."
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The addresses that VRRP moves from director to director.
fn moved(instance: &Statement, found: &mut Found) {
    let blocks = instance.inner().iter().filter(|block| block.keyword().starts_with("virtual_ipaddress"));
    for line in blocks.flat_map(Statement::inner) {
        let address = line.keyword().split('/').next().unwrap_or_default();
        if let Ok(address) = address.parse() {
            found.moved.push(address);
        }
    }
}

fn globals(block: &Statement, found: &mut Found) {
    for line in block.inner() {
        let (place, keyword) = (&line.place, line.keyword());
        match keyword {
            "lvs_flush" | "lvs_flush_on_stop" | "lvs_flush_onstop" => {
                found
                    .delete
                    .note(format!("{place}: `{keyword}`, or keepalived removes the services of ftpdirector too"));
            }
            "nftables_ipvs" => {
                found.remarks.note(format!(
                    "{place}: with `nftables_ipvs` keepalived sets marks of its own; ours are other ones."
                ));
            }
            "lvs_timeouts" => found.remarks.left_out(format!(
                "{place}: `lvs_timeouts`: keepalived goes on setting them; `kernel.timeouts` is the same key here."
            )),
            "net_namespace_ipvs" => {
                let name = shown(line.argument(0));
                found
                    .remarks
                    .note(format!("{place}: IPVS is in the network namespace `{name}`: run ftpdirector there."));
            }
            _ => {}
        }
    }
}

/// One service for each address of it.
fn virtual_server(statement: &Statement, groups: &BTreeMap<&str, &Statement>, found: &mut Found) {
    if found.is_full() {
        return;
    }
    let (first, second) = (statement.argument(0), statement.argument(1));
    let written = format!("virtual_server {} {{ … }}", shown(&statement.words[1..].join(" ")));
    let mut service = Service::new(statement.place.clone(), written, Key::Mark { mark: 0, ipv6: false }, "wlc");
    let ipv6 = settings(statement, &mut service);
    let keys: Vec<Key> = match first {
        "fwmark" => mark(second, ipv6).into_iter().collect(),
        "group" => {
            service.name = Some(second.to_owned());
            let Some(group) = groups.get(second) else {
                let place = &statement.place;
                found.remarks.left_out(format!("{place}: there is no virtual_server_group {}.", shown(second)));
                return;
            };
            service.written = format!("{}, with the virtual_server_group of {}", service.written, group.place);
            let mut keys = Vec::new();
            for line in group.inner() {
                keys.extend(members(line, ipv6, &mut service));
                if keys.len() > SERVICES {
                    break;
                }
            }
            keys
        }
        _ => place(first, second, statement, &mut service),
    };
    if keys.is_empty() {
        let (place, written) = (&service.place, &service.written);
        found.remarks.left_out(format!("{place}: {written}: no address and no mark could be read."));
    }
    for key in keys {
        if !found.add(Service { key, ..service.clone() }) {
            return;
        }
    }
}

fn mark(text: &str, ipv6: bool) -> Option<Key> {
    number(text).map(|mark| Key::Mark { mark, ipv6 })
}

/// `virtual_server ADDRESS [PORT]`
fn place(first: &str, second: &str, statement: &Statement, service: &mut Service) -> Vec<Key> {
    if first.is_empty() {
        return Vec::new();
    }
    let port = if second.is_empty() { Some(0) } else { port(second) };
    let Some(port) = port else {
        service.remarks.left_out(format!("{}: {} is no port.", statement.place, shown(second)));
        return Vec::new();
    };
    vec![Key::Place(Host::read(first), port)]
}

/// A line of a group: `ADDRESS [PORT]`, `FIRST-LAST [PORT]`, `NETWORK/LENGTH [PORT]` or `fwmark MARK [inet6]`.
fn members(line: &Statement, ipv6: bool, service: &mut Service) -> Vec<Key> {
    let (place, written) = (&line.place, shown(&line.words.join(" ")));
    if let Some(only) = &line.only {
        service.remarks.left_out(format!("{place}: {written} holds on the director `{only}` only."));
        return Vec::new();
    }
    if line.keyword() == "fwmark" {
        return mark(line.argument(0), ipv6 || line.argument(1) == "inet6").into_iter().collect();
    }
    let port = if line.words.len() < 2 { Some(0) } else { port(line.argument(0)) };
    let (Some(addresses), Some(port)) = (range(line.keyword()), port) else {
        service.remarks.left_out(format!("{place}: {written}: no address, or more than {RANGE}."));
        return Vec::new();
    };
    addresses.into_iter().map(|address| Key::Place(Host::Address(address), port)).collect()
}

/// The addresses of `192.0.2.1`, `192.0.2.1-10`, `192.0.2.1-192.0.2.10`, `192.0.2.8/29` or their like in IPv6 (`-a` is
/// hexadecimal there); `None` if there are too many.
fn range(text: &str) -> Option<Vec<IpAddr>> {
    if let Ok(network) = text.parse::<IpNet>() {
        let hosts: Vec<IpAddr> = network.hosts().take(RANGE + 1).collect();
        return (hosts.len() <= RANGE).then_some(hosts);
    }
    let Some((first, last)) = text.split_once('-') else { return Some(vec![text.parse().ok()?]) };
    let first: IpAddr = first.parse().ok()?;
    match first {
        IpAddr::V4(first) => {
            let end = |text: &str| {
                text.parse::<u8>().ok().map(|byte| {
                    let [a, b, c, _] = first.octets();
                    Ipv4Addr::new(a, b, c, byte)
                })
            };
            let last = last.parse::<Ipv4Addr>().ok().or_else(|| end(last))?;
            let count = usize::try_from(last.to_bits().checked_sub(first.to_bits())?).ok()?;
            (count < RANGE)
                .then(|| (first.to_bits()..=last.to_bits()).map(|bits| Ipv4Addr::from(bits).into()).collect())
        }
        IpAddr::V6(first) => {
            let end = |text: &str| {
                u16::from_str_radix(text, 16)
                    .ok()
                    .map(|part| Ipv6Addr::from((first.to_bits() & !0xffff) | u128::from(part)))
            };
            let last = last.parse::<Ipv6Addr>().ok().or_else(|| end(last))?;
            let count = usize::try_from(last.to_bits().checked_sub(first.to_bits())?).ok()?;
            (count < RANGE)
                .then(|| (first.to_bits()..=last.to_bits()).map(|bits| Ipv6Addr::from(bits).into()).collect())
        }
    }
}

/// Reads the lines of a `virtual_server`. Returns whether it is of IPv6.
fn settings(statement: &Statement, service: &mut Service) -> bool {
    let (mut ipv6, mut forwarding, mut weight) = (false, ForwardingMethod::Nat, 1);
    let mut checks = Checks::default();
    let inner = || statement.inner().iter().filter(|line| line.only.is_none());
    // What holds for the servers stands before or behind them.
    for line in inner() {
        match line.keyword() {
            "lb_kind" | "lvs_method" => forwarding = method(line, service).unwrap_or(forwarding),
            "weight" => weight = number(line.argument(0)).unwrap_or(weight),
            "ip_family" => ipv6 = line.argument(0) == "inet6",
            "delay_loop" | "connect_timeout" | "retry" | "nb_get_retry" => checks.pace.read(line),
            _ => {}
        }
    }
    if !inner().any(|line| matches!(line.keyword(), "lb_kind" | "lvs_method")) {
        service.remarks.note("lb_kind is not written: NAT is keepalived's default.");
    }
    for line in statement.inner() {
        let place = &line.place;
        if let Some(only) = &line.only {
            let what = shown(line.keyword());
            service.remarks.left_out(format!("{place}: `{what}`: it holds on the director `{only}` only."));
        } else if line.keyword() == "real_server" {
            real_server(line, forwarding, weight, &mut checks, service);
        } else {
            setting(line, service);
        }
    }
    checks.finish(service);
    ipv6
}

/// `NAT`, `DR` or `TUN [type …]`
fn method(line: &Statement, service: &mut Service) -> Option<ForwardingMethod> {
    let kind = line.argument(0).to_ascii_uppercase();
    let place = &line.place;
    if line.argument(1) == "type" && line.argument(2) != "ipip" {
        let what = shown(line.argument(2));
        service
            .remarks
            .left_out(format!("{place}: tunnels of type {what}: here they are IP in IP, on the servers too."));
    }
    match kind.as_str() {
        "NAT" => Some(ForwardingMethod::Nat),
        "DR" => Some(ForwardingMethod::Dr),
        "TUN" => Some(ForwardingMethod::Tun),
        _ => {
            service.remarks.guess(format!(
                "{place}: `{}` is no forwarding method; NAT, keepalived's default, is taken.",
                shown(&kind)
            ));
            None
        }
    }
}

/// A line of a `virtual_server` that is not about one server.
fn setting(line: &Statement, service: &mut Service) {
    let (place, keyword, argument) = (&line.place, line.keyword(), line.argument(0));
    match keyword {
        "lb_algo" | "lvs_sched" => service.scheduler = argument.to_ascii_lowercase(),
        "persistence_timeout" if argument.is_empty() => service.persistence = 360,
        "persistence_timeout" => service.persistence = number(argument).unwrap_or(0),
        "protocol" => {
            service.protocol = match argument.to_ascii_uppercase().as_str() {
                "UDP" => Protocol::Udp,
                "SCTP" => Protocol::Sctp,
                _ => Protocol::Tcp,
            }
        }
        "sorry_server" => service.sorry = Some((Host::read(argument), port(line.argument(1)))),
        "lb_kind" | "lvs_method" | "weight" | "ip_family" | "delay_loop" | "connect_timeout" | "retry"
        | "nb_get_retry" => {}
        "inhibit_on_failure" => {
            service.remarks.note(format!(
                "{place}: inhibit_on_failure is always so here: a failed server keeps its live sessions."
            ));
        }
        _ => match reason(keyword) {
            Some(why) => service.remarks.left_out(format!("{place}: `{keyword}`: {why}.")),
            None => service.remarks.left_out(format!("{place}: `{}` is not understood.", shown(keyword))),
        },
    }
}

/// Why a known keyword has nothing to stand for it.
fn reason(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "quorum" | "hysteresis" | "quorum_up" | "quorum_down" => {
            "there is no quorum; while every server is down, `sorry_server` or `no_servers` decides"
        }
        "persistence_granularity" => {
            "data connections are found by client and port; there is no netmask of persistence"
        }
        "persistence_engine" => "it is for SIP",
        "delay_before_retry" | "warmup" => "checks follow each other at `interval`",
        "alpha" | "omega" | "ha_suspend" => "there is no such mode",
        "hashed" | "ops" | "flag-1" | "flag-2" | "flag-3" | "sh-port" | "sh-fallback" | "mh-port" | "mh-fallback" => {
            "flags of the scheduler are not set"
        }
        "sorry_server_inhibit" | "sorry_server_lvs_method" => "the sorry server is used like the servers are",
        "notify_up" | "notify_down" | "smtp_alert" => {
            "nobody is called or written to; Prometheus alerts tell (/usr/share/doc/ftpdirector/examples/prometheus/alerts.yaml)"
        }
        "uthreshold" => "it is a key of one real server: `max_sessions`",
        "lthreshold" => NO_LOWER_THRESHOLD,
        "virtualhost" | "snmp_name" => "it is not about FTP",
        "nat_mask" | "net_mask" => "keepalived itself ignores it",
        _ => return None,
    })
}

fn real_server(
    line: &Statement,
    forwarding: ForwardingMethod,
    weight: u32,
    checks: &mut Checks,
    service: &mut Service,
) {
    let mut server = Server {
        name: None,
        host: Host::read(line.argument(0)),
        port: port(line.argument(1)).filter(|port| *port != 0),
        weight,
        max_sessions: None,
        forwarding,
        remarks: Remarks::default(),
    };
    let mut checked = checks.server();
    for inner in line.inner() {
        let (place, keyword) = (&inner.place, inner.keyword());
        if let Some(only) = &inner.only {
            server.remarks.left_out(format!("{place}: `{}`: it holds on the director `{only}` only.", shown(keyword)));
            continue;
        }
        match keyword {
            "weight" => match number(inner.argument(0)) {
                Some(number) => server.weight = number,
                None => server
                    .remarks
                    .guess(format!("{place}: {} is no weight; {weight} is taken.", shown(inner.argument(0)))),
            },
            "uthreshold" => match number(inner.argument(0)) {
                Some(sessions) => server.max_sessions = Some(sessions),
                None => server
                    .remarks
                    .left_out(format!("{place}: `uthreshold`: {} is no number.", shown(inner.argument(0)))),
            },
            "lvs_method" | "lb_kind" => server.forwarding = method(inner, service).unwrap_or(forwarding),
            "delay_loop" | "connect_timeout" | "retry" | "nb_get_retry" => checked.pace.read(inner),
            "inhibit_on_failure" => {
                service.remarks.note("inhibit_on_failure is always so here: a failed server keeps its live sessions.");
            }
            _ if is_check(keyword) => checked.read(inner, &mut server),
            _ => match reason(keyword) {
                Some(why) => service.remarks.left_out(format!("`{keyword}` of real servers: {why}.")),
                None => server.remarks.left_out(format!("{place}: `{}` is not understood.", shown(keyword))),
            },
        }
    }
    checks.add(checked, &server, service);
    service.servers.push(server);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_addresses() {
        let of = |text: &str| {
            let addresses = range(text)?;
            let (first, last) = (addresses.first()?, addresses.last()?);
            Some(format!("{} {first} {last}", addresses.len()))
        };
        assert_eq!(of("192.0.2.7").as_deref(), Some("1 192.0.2.7 192.0.2.7"));
        assert_eq!(of("192.0.2.3-10").as_deref(), Some("8 192.0.2.3 192.0.2.10"));
        assert_eq!(of("192.0.2.250-192.0.3.5").as_deref(), Some("12 192.0.2.250 192.0.3.5"));
        assert_eq!(of("2001:db8::2-9").as_deref(), Some("8 2001:db8::2 2001:db8::9"));
        assert_eq!(of("192.0.2.8/29").as_deref(), Some("6 192.0.2.9 192.0.2.14"));
        for text in
            ["10.0.0.0/8", "10.0.0.1-10.9.0.0", "192.0.2.9-3", "x", "", "::-ffff", "0.0.0.0-255.255.255.255", "::/0"]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
