//! The arguments of ipvsadm(8).

use std::collections::BTreeMap;

use super::found::{Found, Host, Key, NO_LOWER_THRESHOLD, Place, Protocol, Remarks, Server, Service};
use super::text::{host_and_port, number, port, shown};
use crate::lvs::ForwardingMethod;

/// The services so far, by what they are known by.
#[derive(Debug, Default)]
pub(super) struct Ipvsadm {
    services: BTreeMap<String, usize>,
}

/// What the options of a line say.
#[derive(Debug, Default)]
struct Line {
    command: char,
    /// The letter of the option (`t`, `u`, `f`, …) and its argument.
    service: Option<(char, String)>,
    ipv6: bool,
    scheduler: Option<String>,
    persistence: Option<u32>,
    server: Option<String>,
    forwarding: Option<ForwardingMethod>,
    weight: Option<u32>,
    /// The upper threshold; 0: none.
    sessions: Option<u32>,
    left_out: Vec<String>,
}

impl Ipvsadm {
    /// Reads the arguments of one call.
    pub fn command(&mut self, place: &Place, words: &[String], found: &mut Found) {
        let line = options(words);
        let Some((kind, name)) = line.service.clone() else { return };
        let key = format!("{kind}{name}{}", if line.ipv6 { " -6" } else { "" });
        match line.command {
            'A' | 'E' => self.service(place, key, line, found),
            'a' | 'e' => match self.services.get(&key) {
                Some(&index) => server(index, place, line, found),
                None => {
                    let what = shown(&name);
                    found
                        .remarks
                        .left_out(format!("{place}: a real server of {what}, a service that was not added before it."));
                }
            },
            _ => {}
        }
    }

    fn service(&mut self, place: &Place, key: String, line: Line, found: &mut Found) {
        let Some((kind, name)) = &line.service else { return };
        let option = format!("-{kind} {}{}", shown(name), if line.ipv6 { " -6" } else { "" });
        let known = match *kind {
            'f' => number(name).map(|mark| Key::Mark { mark, ipv6: line.ipv6 }),
            _ => {
                let (host, behind) = host_and_port(name);
                Some(Key::Place(Host::read(host), behind.and_then(port).unwrap_or(0)))
            }
        };
        let Some(known) = known else {
            return found.remarks.left_out(format!("{place}: {option}: this is no mark."));
        };
        if let Some(service) = self.services.get(&key).and_then(|&index| found.services.get_mut(index)) {
            service.scheduler = line.scheduler.unwrap_or_else(|| service.scheduler.clone());
            service.persistence = line.persistence.unwrap_or(service.persistence);
            return;
        }
        let mut service = Service::new(place.clone(), format!("ipvsadm -D {option}"), known, "wlc");
        service.protocol = match *kind {
            'u' => Protocol::Udp,
            'S' => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        service.scheduler = line.scheduler.unwrap_or(service.scheduler);
        service.persistence = line.persistence.unwrap_or(0);
        for what in line.left_out {
            service.remarks.left_out(format!("{place}: {what}."));
        }
        let before = found.services.len();
        found.add(service);
        if found.services.len() > before {
            self.services.insert(key, before);
        }
    }
}

fn server(index: usize, place: &Place, line: Line, found: &mut Found) {
    let Some(name) = &line.server else { return };
    let (host, behind) = host_and_port(name);
    let host = Host::read(host);
    let Some(service) = found.services.get_mut(index) else { return };
    if line.command == 'e'
        && let Some(known) = service.servers.iter_mut().find(|server| server.host == host)
    {
        known.weight = line.weight.unwrap_or(known.weight);
        known.forwarding = line.forwarding.unwrap_or(known.forwarding);
        known.max_sessions = line.sessions.or(known.max_sessions);
        return;
    }
    if line.forwarding.is_none() {
        service.remarks.note(format!("{place}: no method is written: -g (direct routing) is ipvsadm's default."));
    }
    let mut remarks = Remarks::default();
    for what in &line.left_out {
        remarks.left_out(format!("{place}: {what}."));
    }
    let server = Server {
        name: None,
        host,
        port: behind.and_then(port).filter(|port| *port != 0),
        weight: line.weight.unwrap_or(1),
        max_sessions: line.sessions,
        forwarding: line.forwarding.unwrap_or(ForwardingMethod::Dr),
        remarks,
    };
    found.add_server(index, server);
}

/// Short options without an argument of their own, which may stand together: `-At`.
const TOGETHER: &str = "AEaetufrgimnsw";

/// One option for each word, and its argument in a word of its own.
fn separate(words: &[String]) -> Vec<String> {
    let mut separate = Vec::new();
    for word in words {
        let letters = word.strip_prefix('-').unwrap_or_default();
        if let Some((option, argument)) = word.split_once('=').filter(|_| word.starts_with("--")) {
            separate.extend([option.to_owned(), argument.to_owned()]);
        } else if letters.len() > 1 && letters.chars().all(|letter| TOGETHER.contains(letter)) {
            separate.extend(letters.chars().map(|letter| format!("-{letter}")));
        } else {
            separate.push(word.clone());
        }
    }
    separate
}

fn options(words: &[String]) -> Line {
    let words = separate(words);
    let mut words = words.iter().map(String::as_str).peekable();
    let mut line = Line::default();
    while let Some(word) = words.next() {
        match word {
            "-A" | "--add-service" => line.command = 'A',
            "-E" | "--edit-service" => line.command = 'E',
            "-a" | "--add-server" => line.command = 'a',
            "-e" | "--edit-server" => line.command = 'e',
            "-D" | "-d" | "-C" | "--delete-service" | "--delete-server" | "--clear" => line.command = 'D',
            "-t" | "--tcp-service" => line.service = words.next().map(|name| ('t', name.to_owned())),
            "-u" | "--udp-service" => line.service = words.next().map(|name| ('u', name.to_owned())),
            "-f" | "--fwmark-service" => line.service = words.next().map(|name| ('f', name.to_owned())),
            "--sctp-service" => line.service = words.next().map(|name| ('S', name.to_owned())),
            "-6" | "--ipv6" => line.ipv6 = true,
            "-s" | "--scheduler" => line.scheduler = words.next().map(str::to_ascii_lowercase),
            // Without a time it is five minutes.
            "-p" | "--persistent" => {
                let time = words.next_if(|word| !word.starts_with('-')).and_then(number);
                line.persistence = Some(time.unwrap_or(300));
            }
            "-r" | "--real-server" => line.server = words.next().map(str::to_owned),
            "-g" | "--gatewaying" => line.forwarding = Some(ForwardingMethod::Dr),
            "-m" | "--masquerading" => line.forwarding = Some(ForwardingMethod::Nat),
            "-i" | "--ipip" => line.forwarding = Some(ForwardingMethod::Tun),
            "-w" | "--weight" => line.weight = words.next().and_then(number),
            "-M" | "--netmask" => {
                words.next();
                line.left_out
                    .push("the netmask of persistence: data connections are found by client and port".to_owned());
            }
            "-b" | "--sched-flags" => {
                words.next();
                line.left_out.push("flags of the scheduler are not set".to_owned());
            }
            "-x" | "--u-threshold" => match words.next().map(|word| (number(word), word)) {
                Some((None, word)) => line.left_out.push(format!("`-x {}`: it is no number", shown(word))),
                sessions => line.sessions = sessions.and_then(|(sessions, _)| sessions),
            },
            "-y" | "--l-threshold" => {
                let threshold = words.next();
                if threshold.is_some_and(|threshold| threshold != "0") {
                    line.left_out.push(format!("`{word}`: {NO_LOWER_THRESHOLD}"));
                }
            }
            "--pe" | "--tun-port" => {
                words.next();
            }
            "--tun-type" => {
                if let Some(kind) = words.next().filter(|kind| *kind != "ipip") {
                    let what = "here they are IP in IP, on the servers too";
                    line.left_out.push(format!("tunnels of type {}: {what}", shown(kind)));
                }
            }
            _ => {}
        }
    }
    line
}
