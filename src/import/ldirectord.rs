//! ldirectord.cf: `virtual=` with the lines under it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use super::found::{Check, CheckKind, Found, Host, Key, Place, Protocol, Remarks, Server, Service};
use super::text::{LDIRECTORD, host_and_port, number, port, seconds, shown, words};
use crate::lvs::ForwardingMethod;

/// The most servers of one line `real=FIRST->LAST`.
const RANGE: u128 = 1024;
/// When a service has so many servers, no more lines of them are read.
const SERVERS: usize = 16_384;

/// Options of the file as a whole, which a service may have too.
#[derive(Clone, Debug, Default)]
struct Options {
    interval: Option<Duration>,
    /// Of a connection.
    connect: Option<Duration>,
    /// Of a whole conversation.
    negotiate: Option<Duration>,
    failures: Option<u32>,
    fallback: Option<String>,
    fallback6: Option<String>,
    quiescent: Option<bool>,
}

impl Options {
    /// Reads an option that may stand in both places. Returns whether it is one.
    fn read(&mut self, key: &str, value: &str) -> bool {
        match key {
            "checkinterval" => self.interval = seconds(value).or(self.interval),
            "checktimeout" => self.connect = seconds(value).or(self.connect),
            "negotiatetimeout" => self.negotiate = seconds(value).or(self.negotiate),
            "failurecount" => self.failures = number(value).filter(|n| *n > 0).or(self.failures),
            "fallback" => self.fallback = Some(value.to_owned()),
            "fallback6" => self.fallback6 = Some(value.to_owned()),
            "quiescent" => self.quiescent = Some(value == "yes"),
            _ => return false,
        }
        true
    }

    fn over(self, default: &Self) -> Self {
        Self {
            interval: self.interval.or(default.interval),
            connect: self.connect.or(default.connect),
            negotiate: self.negotiate.or(default.negotiate),
            failures: self.failures.or(default.failures),
            fallback: self.fallback.or_else(|| default.fallback.clone()),
            fallback6: self.fallback6.or_else(|| default.fallback6.clone()),
            quiescent: self.quiescent.or(default.quiescent),
        }
    }
}

/// A `virtual=` as it grows.
struct Draft {
    service: Service,
    options: Options,
    checktype: String,
    request: Option<String>,
    login: Option<String>,
    password: Option<Place>,
}

/// What stands before the first blank: in a line that is none the rest may be a password.
fn first_word(key: &str) -> &str {
    key.split_whitespace().next().unwrap_or(key)
}

/// Reads a file.
pub(super) fn read(file: &Rc<str>, text: &str, found: &mut Found) {
    let mut globals = Options::default();
    let mut drafts: Vec<Draft> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = Place { file: Rc::clone(file), line: index + 1 };
        let words = words(line, &LDIRECTORD);
        let Some((key, value)) = assignment(&words) else {
            if !words.is_empty() {
                drafts
                    .last_mut()
                    .map_or(&mut found.remarks, |draft| &mut draft.service.remarks)
                    .left_out(format!("{place}: `{}` is not understood.", shown(first_word(&words[0]))));
            }
            continue;
        };
        let indented = line.starts_with([' ', '\t']);
        if matches!(key.as_str(), "virtual" | "virtual6") {
            drafts.push(begin(&place, &key, &value));
        } else if let Some(draft) = drafts.last_mut().filter(|_| indented) {
            option(draft, &place, &key, &value);
        } else if !globals.read(&key, &value) && !global(&place, &key, found) {
            // Many files have lost their indentation.
            match drafts.last_mut() {
                Some(draft) => option(draft, &place, &key, &value),
                None => found.remarks.left_out(format!("{place}: `{}` is not understood.", shown(first_word(&key)))),
            }
        }
    }
    for draft in drafts {
        if !found.add(finish(draft, &globals)) {
            return;
        }
    }
}

/// `key=value`, with blanks around the sign or without, and words behind.
fn assignment(words: &[String]) -> Option<(String, String)> {
    let line = words.join(" ");
    let (key, value) = line.split_once('=')?;
    Some((key.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

/// An option that concerns ldirectord alone. Returns whether it is one.
fn global(place: &Place, key: &str, found: &mut Found) -> bool {
    match key {
        "autoreload" | "logfile" | "supervised" | "fork" | "cleanstop" | "checkcount" | "maintenancedir" => true,
        "callback" | "execute" => {
            found.remarks.left_out(format!("{place}: `{key}`: ftpdirector calls no program."));
            true
        }
        "emailalert" | "emailalertfrom" | "emailalertfreq" | "emailalertstatus" | "smtp" => {
            found.remarks.left_out(format!(
                "{place}: mail: Prometheus alerts tell (/usr/share/doc/ftpdirector/examples/prometheus/alerts.yaml)."
            ));
            true
        }
        _ => false,
    }
}

fn begin(place: &Place, key: &str, value: &str) -> Draft {
    let ipv6 = key == "virtual6";
    let written = format!("{key}={} and the lines under it", shown(value));
    let found = match number(value) {
        Some(mark) => Key::Mark { mark, ipv6 },
        None => {
            let (host, behind) = host_and_port(value);
            Key::Place(Host::read(host), behind.and_then(port).unwrap_or(0))
        }
    };
    Draft {
        service: Service::new(place.clone(), written, found, "wrr"),
        options: Options::default(),
        checktype: "negotiate".to_owned(),
        request: None,
        login: None,
        password: None,
    }
}

/// One line under a `virtual=`.
fn option(draft: &mut Draft, place: &Place, key: &str, value: &str) {
    if draft.options.read(key, value) {
        return;
    }
    let service = &mut draft.service;
    match key {
        "real" | "real6" => real(service, place, value),
        "scheduler" => service.scheduler = value.to_ascii_lowercase(),
        "persistent" => service.persistence = number(value).unwrap_or(0),
        "protocol" => {
            service.protocol = match value {
                "udp" => Protocol::Udp,
                "sctp" => Protocol::Sctp,
                _ => Protocol::Tcp,
            }
        }
        "service" if matches!(value, "ftp" | "ftps") => service.says_ftp = Some(format!("service={value}")),
        "service" | "virtualhost" | "database" | "httpmethod" | "load" | "secret" => {}
        "checktype" => draft.checktype = value.to_ascii_lowercase(),
        "checkport" => service.checked_port = port(value),
        "request" => draft.request = Some(value.to_owned()),
        "login" => draft.login = Some(value.to_owned()),
        "passwd" => draft.password = Some(place.clone()),
        "receive" => {
            service.remarks.left_out(format!("{place}: `receive`: what a check receives is counted, not compared."));
        }
        "netmask" => {
            service
                .remarks
                .left_out(format!("{place}: `netmask` of persistence: data connections are found by client and port."));
        }
        "checkcommand" | "fallbackcommand" | "monitorfile" | "ops" => {
            service.remarks.left_out(format!("{place}: `{key}`: ftpdirector has nothing like it."));
        }
        _ => {
            let mut ignored = Found::default();
            if !global(place, key, &mut ignored) {
                service.remarks.left_out(format!("{place}: `{}` is not understood.", shown(first_word(key))));
            }
            service.remarks.take(&ignored.remarks);
        }
    }
}

/// `HOST[:PORT] gate|masq|ipip [WEIGHT] ["REQUEST", "RECEIVE"]`, where `FIRST->LAST` stands for several hosts.
fn real(service: &mut Service, place: &Place, value: &str) {
    let mut words = value.split_whitespace();
    let hosts = words.next().unwrap_or_default();
    let mut forwarding = None;
    let mut weight = 1;
    for word in words {
        match (word, number(word)) {
            ("gate", _) => forwarding = Some(ForwardingMethod::Dr),
            ("masq", _) => forwarding = Some(ForwardingMethod::Nat),
            ("ipip", _) => forwarding = Some(ForwardingMethod::Tun),
            (_, Some(number)) => weight = number,
            _ => {
                let what = "what stands behind the method and the weight of a real server, its own request";
                service.remarks.left_out(format!("{place}: {what}: here all servers of a cluster are checked alike."));
                break;
            }
        }
    }
    if forwarding.is_none() {
        service.remarks.note(format!("{place}: no method is written: gate is ldirectord's default."));
    }
    let forwarding = forwarding.unwrap_or(ForwardingMethod::Dr);
    let (hosts, port) = hosts_and_port(hosts);
    let Some(hosts) = hosts else {
        service.remarks.left_out(format!("{place}: real={}: more than {RANGE} servers, or none.", shown(value)));
        return;
    };
    if service.servers.len() > SERVERS {
        return service.remarks.left_out(format!("{place}: more than {SERVERS} servers."));
    }
    for host in hosts {
        let (name, max_sessions, remarks) = (None, None, Remarks::default());
        service.servers.push(Server { name, host, port, weight, max_sessions, forwarding, remarks });
    }
}

fn hosts_and_port(text: &str) -> (Option<Vec<Host>>, Option<u16>) {
    let Some((first, last)) = text.split_once("->") else {
        let (host, behind) = host_and_port(text);
        let host = (!host.is_empty()).then(|| vec![Host::read(host)]);
        return (host, behind.and_then(port));
    };
    let (first, own) = host_and_port(first);
    let (last, behind) = host_and_port(last);
    let port = behind.or(own).and_then(port);
    let addresses = match (first.parse(), last.parse()) {
        (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) => {
            between(first.to_bits().into(), last.to_bits().into(), |bits| {
                u32::try_from(bits).ok().map(|bits| Ipv4Addr::from(bits).into())
            })
        }
        (Ok(IpAddr::V6(first)), Ok(IpAddr::V6(last))) => {
            between(first.to_bits(), last.to_bits(), |bits| Some(Ipv6Addr::from(bits).into()))
        }
        // `sql01->sql03`
        _ => Some(vec![Host::Name(shown(text))]),
    };
    (addresses, port)
}

fn between(first: u128, last: u128, address: impl Fn(u128) -> Option<IpAddr>) -> Option<Vec<Host>> {
    let count = last.checked_sub(first)?;
    (count < RANGE).then(|| (first..=last).filter_map(address).map(Host::Address).collect())
}

/// Puts together what stands in several lines.
fn finish(draft: Draft, globals: &Options) -> Service {
    let Draft { mut service, options, checktype, request, login, password } = draft;
    let options = options.over(globals);
    let ipv6 = match &service.key {
        Key::Place(Host::Address(address), _) => address.is_ipv6(),
        Key::Mark { ipv6, .. } => *ipv6,
        Key::Place(..) => false,
    };
    if let Some(fallback) = if ipv6 { &options.fallback6 } else { &options.fallback } {
        let (host, behind) = host_and_port(fallback.split_whitespace().next().unwrap_or_default());
        service.sorry = Some((Host::read(host), behind.and_then(port)));
    }
    if options.quiescent == Some(false) {
        service
            .remarks
            .note("quiescent=no cut the sessions of a failed server; here they go on, as with quiescent=yes.");
    }
    let ftp = matches!(&service.key, Key::Place(_, 21)) || service.says_ftp.is_some();
    let mut check = Check { interval: options.interval, fall: options.failures, ..Check::default() };
    match checktype.as_str() {
        "off" | "on" => check.kind = CheckKind::Off,
        "connect" => {
            check.kind = CheckKind::Tcp;
            check.timeout = options.connect;
        }
        "ping" | "external" | "external-perl" => {
            service.remarks.left_out(format!(
                "checktype={checktype}: here health checks speak FTP; `kind: transfer` goes furthest."
            ));
        }
        _ => {
            if checktype != "negotiate" {
                let what = shown(&checktype);
                service
                    .remarks
                    .left_out(format!("checktype={what}: here every check goes equally far, as with negotiate."));
            }
            check.timeout = options.negotiate.or(options.connect);
            check.user = login.filter(|user| user != "anonymous" && user != "ftp");
            if check.user.is_none()
                && let Some(place) = &password
            {
                let what = "without a `user` the checks send `ftpdirector@`, or what stands in `password_file`";
                service.remarks.left_out(format!("{place}: `passwd`: {what}."));
            }
            check.password = password.filter(|_| check.user.is_some());
            check.kind = if request.is_some() { CheckKind::Transfer } else { CheckKind::Login };
            check.path = request
                .filter(|path| !path.is_empty())
                .map(|path| if path.starts_with('/') { path } else { format!("/{path}") });
        }
    }
    if ftp {
        service.check = check;
    }
    service
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_servers_in_one_line() {
        let of = |text: &str| {
            let (hosts, port) = hosts_and_port(text);
            let hosts = hosts?;
            Some(format!("{} {} {} {port:?}", hosts.len(), hosts.first()?, hosts.last()?))
        };
        assert_eq!(of("192.0.2.2->192.0.2.7:21").as_deref(), Some("6 192.0.2.2 192.0.2.7 Some(21)"));
        assert_eq!(of("192.0.2.2:21").as_deref(), Some("1 192.0.2.2 192.0.2.2 Some(21)"));
        assert_eq!(of("[2001:db8::2]->[2001:db8::4]:21").as_deref(), Some("3 2001:db8::2 2001:db8::4 Some(21)"));
        assert_eq!(of("sql01->sql03:21").as_deref(), Some("1 sql01->sql03:21 sql01->sql03:21 Some(21)"));
        for text in ["", "192.0.2.9->192.0.2.1", "10.0.0.0->10.255.0.0", "::->ffff::"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
