//! Piranha's lvs.cf: `virtual NAME { … }` with its `server NAME { … }`.

use std::rc::Rc;

use super::blocks::{self, Statement};
use super::found::{CheckKind, Found, Host, ImportError, Key, Protocol, Remarks, Server, Service};
use super::text::{PIRANHA, number, port, shown};
use crate::lvs::ForwardingMethod;

/// Options of the file as a whole.
struct Globals {
    forwarding: ForwardingMethod,
    /// Whether there are two directors.
    pair: bool,
    /// The address that the servers' default routes lead to, with its interface.
    router: Option<String>,
}

/// Reads a file.
///
/// # Errors
/// It is nested too deep.
pub(super) fn read(file: &Rc<str>, text: &str, found: &mut Found) -> Result<(), ImportError> {
    let statements = blocks::plain(file, text, &PIRANHA, &mut found.remarks)?;
    let globals = globals(&statements, found);
    for statement in &statements {
        match statement.keyword() {
            "virtual" if statement.children.is_some() => virtual_server(statement, &globals, found),
            "failover" => {
                let (place, name) = (&statement.place, shown(statement.argument(0)));
                found.remarks.note(format!("{place}: failover {name} is no virtual service: left alone."));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `KEY = VALUE …` → key and the words behind the sign. The sign may touch both.
fn assignment(statement: &Statement) -> (String, Vec<String>) {
    let line = statement.words.join(" ");
    let (key, value) = line.split_once('=').unwrap_or((&line, ""));
    (key.trim().to_ascii_lowercase(), value.split_whitespace().map(str::to_owned).collect())
}

fn globals(statements: &[Statement], found: &mut Found) -> Globals {
    let mut globals = Globals { forwarding: ForwardingMethod::Nat, pair: false, router: None };
    let mut named = false;
    for statement in statements.iter().filter(|statement| statement.children.is_none()) {
        let (key, values) = assignment(statement);
        let value = values.first().map_or("", String::as_str);
        match key.as_str() {
            "network" => {
                named = true;
                globals.forwarding = match value {
                    "direct" => ForwardingMethod::Dr,
                    "tunnel" => ForwardingMethod::Tun,
                    _ => ForwardingMethod::Nat,
                };
            }
            "backup_active" => globals.pair = value == "1",
            "nat_router" => globals.router = Some(values.join(" on ")),
            "service" if value == "fos" => {
                let place = &statement.place;
                found
                    .remarks
                    .note(format!("{place}: service = fos: Piranha did not run the virtual services of this file."));
            }
            _ => {}
        }
    }
    if !named {
        found.remarks.guess("lvs.cf has no `network =`: nat is taken.");
    }
    globals
}

fn virtual_server(statement: &Statement, globals: &Globals, found: &mut Found) {
    let (place, name) = (statement.place.clone(), statement.argument(0));
    let written = format!("virtual {} {{ … }}", shown(name));
    let mut service = Service::new(place, written, Key::Place(Host::Name(String::new()), 0), "wlc");
    service.name = Some(name.to_owned());
    let (mut address, mut own_port, mut mark) = (None, 80, None);
    let (mut active, mut sends, mut expects) = (true, false, String::new());
    for line in statement.inner() {
        if line.keyword() == "server" {
            server(line, globals.forwarding, &mut service);
            continue;
        }
        let (key, values) = assignment(line);
        let value = values.first().map_or("", String::as_str);
        match key.as_str() {
            "active" => active = value != "0",
            "address" => {
                address = Some(Host::read(value));
                // `eth0:1` is an alias of eth0.
                service.interface = values.get(1).map(|name| name.split(':').next().unwrap_or_default().to_owned());
            }
            "port" => own_port = port(value).unwrap_or(own_port),
            "fwmark" => mark = number(value).filter(|mark| *mark != 0),
            "protocol" if value == "udp" => service.protocol = Protocol::Udp,
            "persistent" => service.persistence = number(value).unwrap_or(0),
            "scheduler" => service.scheduler = value.to_ascii_lowercase(),
            "sorry_server" => service.sorry = Some((Host::read(value), None)),
            "send" => sends = true,
            "expect" => expects = values.join(" "),
            _ => setting(line, &key, &mut service),
        }
    }
    check(sends, &expects, &mut service);
    ways(globals, &mut service);
    service.key = match (mark, address) {
        (Some(mark), address) => {
            service.beside = address.map(|host| (host, own_port));
            Key::Mark { mark, ipv6: false }
        }
        (None, Some(host)) => Key::Place(host, own_port),
        (None, None) => {
            let (place, written) = (&service.place, &service.written);
            return found.remarks.left_out(format!("{place}: {written}: it has no address."));
        }
    };
    if active {
        found.add(service);
    } else {
        let (place, written) = (&service.place, &service.written);
        found.remarks.left_out(format!("{place}: {written}: it is switched off (active = 0)."));
    }
}

/// A line of a virtual server that has nothing to stand for it.
fn setting(line: &Statement, key: &str, service: &mut Service) {
    let place = &line.place;
    match key {
        "vip_nmask" | "use_regex" | "protocol" => {}
        "timeout" | "reentry" => service.remarks.left_out(
            "timeout and reentry of nanny: by `health_check` a server is down after `fall` bad checks, and up after `rise` good ones.",
        ),
        "pmask" => service.remarks.left_out(format!(
            "{place}: `pmask` of persistence: data connections are found by client and port."
        )),
        "send_program" => service.remarks.left_out(format!(
            "{place}: `send_program`: here health checks speak FTP; `kind: transfer` goes furthest."
        )),
        "load_monitor" => service.remarks.left_out(format!("{place}: `load_monitor`: weights do not follow the load.")),
        "quiesce_server" => service.remarks.left_out(format!("{place}: `quiesce_server`: a server that comes back gets its share at once, unless `slow_start: 60s` is written (with weights like 100).")),
        _ => service.remarks.left_out(format!("{place}: `{}` is not understood.", shown(key))),
    }
}

/// What nanny sent and expected.
fn check(sends: bool, expects: &str, service: &mut Service) {
    let banner = expects.contains("220") || expects.to_ascii_lowercase().contains("ftp");
    service.check.kind = if banner { CheckKind::Banner } else { CheckKind::Tcp };
    if !banner && (sends || !expects.is_empty()) {
        service
            .remarks
            .left_out("`send` and `expect` of nanny: the connection alone is checked; `kind: banner` waits for a 220.");
    }
}

/// What pulse did beside IPVS.
fn ways(globals: &Globals, service: &mut Service) {
    if let Some(router) = globals.router.as_ref().filter(|_| globals.forwarding == ForwardingMethod::Nat) {
        service.remarks.note(format!(
            "the servers' default routes lead to {}, which pulse put there: something else has to do so when pulse is gone.",
            shown(router)
        ));
    }
    if globals.pair {
        service.interface = None;
        service.remarks.note(
            "pulse moved the VIP between two directors: when it is gone, keepalived can do so (/usr/share/doc/ftpdirector/examples/keepalived/README.md). `vip_interface` stays null.",
        );
    }
}

fn server(line: &Statement, forwarding: ForwardingMethod, service: &mut Service) {
    let name = line.argument(0);
    let mut server = Server {
        name: Some(name.to_owned()),
        host: Host::Name(String::new()),
        port: None,
        weight: 1,
        max_sessions: None,
        forwarding,
        remarks: Remarks::default(),
    };
    let mut active = true;
    for inner in line.inner() {
        let (key, values) = assignment(inner);
        let value = values.first().map_or("", String::as_str);
        match key.as_str() {
            "address" => server.host = Host::read(value),
            "port" => server.port = port(value),
            "weight" => server.weight = number(value).unwrap_or(1),
            "active" => active = value != "0",
            _ => server.remarks.left_out(format!("{}: `{}` is not understood.", inner.place, shown(&key))),
        }
    }
    if !active {
        server.weight = 0;
        server.remarks.note("lvs.cf has it switched off (active = 0).");
    }
    service.servers.push(server);
}
