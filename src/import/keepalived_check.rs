//! The health checks of keepalived.conf, as far as ours know the same.

use std::time::Duration;

use super::blocks::Statement;
use super::found::{Check, CheckKind, Server, Service};
use super::text::{number, port, seconds, shown};

/// keepalived's default (keepalived.conf(5)).
const DELAY_LOOP: Duration = Duration::from_secs(60);

/// Whether a block of a real server is a health check.
pub(super) fn is_check(keyword: &str) -> bool {
    keyword.ends_with("_CHECK") || matches!(keyword, "HTTP_GET" | "SSL_GET")
}

/// How often, how long, how many times.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    fall: Option<u32>,
}

impl Pace {
    /// Reads one line; others are not for it.
    pub fn read(&mut self, line: &Statement) {
        let argument = line.argument(0);
        match line.keyword() {
            "delay_loop" => self.interval = seconds(argument).or(self.interval),
            "connect_timeout" => self.timeout = seconds(argument).or(self.timeout),
            // keepalived counts the checks behind the first bad one.
            "retry" | "nb_get_retry" => self.fall = number(argument).and_then(|n| n.checked_add(1)).or(self.fall),
            _ => {}
        }
    }

    fn over(&self, default: &Self) -> Self {
        Self {
            interval: self.interval.or(default.interval),
            timeout: self.timeout.or(default.timeout),
            fall: self.fall.or(default.fall),
        }
    }
}

/// What is checked of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked {
    pub pace: Pace,
    kind: CheckKind,
    any: bool,
    port: Option<u16>,
}

impl Checked {
    /// Reads a block like `TCP_CHECK { … }`.
    pub fn read(&mut self, block: &Statement, server: &mut Server) {
        let (place, keyword) = (&block.place, block.keyword());
        self.any = true;
        if keyword == "TCP_CHECK" {
            self.kind = CheckKind::Tcp;
        } else {
            let program = block.inner().iter().find(|line| line.keyword() == "misc_path");
            // The arguments may hold a password, and so may variables before the program.
            let is_program = |word: &&str| !word.contains('=');
            let program = program.and_then(|line| line.argument(0).split_whitespace().find(is_program)).map(shown);
            let what = program.map_or_else(|| shown(keyword), |program| format!("{} ({program})", shown(keyword)));
            server
                .remarks
                .left_out(format!("{place}: {what}: here health checks speak FTP; `kind: transfer` goes furthest."));
        }
        for line in block.inner() {
            match line.keyword() {
                "connect_port" => self.port = port(line.argument(0)).or(self.port),
                "connect_ip" => {
                    let what = shown(line.argument(0));
                    server
                        .remarks
                        .left_out(format!("{}: connect_ip {what}: the server's own address is checked.", line.place));
                }
                "bindto" | "bind_if" | "bind_port" | "fwmark" => {
                    let what = shown(line.keyword());
                    server
                        .remarks
                        .left_out(format!("{}: `{what}`: checks leave as the director's routes say.", line.place));
                }
                _ => self.pace.read(line),
            }
        }
    }
}

/// What is checked of all servers of a service.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// What holds unless a server says another.
    pub pace: Pace,
    first: Option<Checked>,
}

impl Checks {
    /// The checks of a server before anything is read.
    pub fn server(&self) -> Checked {
        Checked::default()
    }

    /// Adds those of a server; ours are the same for all.
    pub fn add(&mut self, checked: Checked, server: &Server, service: &mut Service) {
        service.checked_port = service.checked_port.or(checked.port);
        let own = |checked: &Checked| {
            let pace = checked.pace.over(&self.pace);
            (checked.kind, pace.interval, pace.timeout, pace.fall)
        };
        match &self.first {
            Some(first) if own(first) != own(&checked) => service.remarks.left_out(format!(
                "the health checks of {} differ from those of the first server: here all servers of a cluster are checked alike.",
                server.host
            )),
            Some(_) => {}
            None => self.first = Some(checked),
        }
    }

    /// Puts the checks into the service.
    pub fn finish(self, service: &mut Service) {
        let checked = self.first.unwrap_or_default();
        let pace = checked.pace.over(&self.pace);
        if !checked.any {
            return;
        }
        let Pace { interval, timeout, fall } = pace;
        if interval.is_none() {
            service.remarks.note("delay_loop is not written: 60 s is keepalived's default.");
        }
        let interval = interval.or(Some(DELAY_LOOP));
        service.check = Check { kind: checked.kind, interval, timeout, fall, ..Check::default() };
    }
}
