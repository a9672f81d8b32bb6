//! Events as lines.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;

use super::interface::{Ends, Format, Summary};
use crate::director::Mode;
use crate::ftp::{Event, Source};
use crate::lvs::ForwardingMethod;

pub(super) struct Report<'a, W: Write + ?Sized> {
    format: Format,
    out: &'a mut W,
}

/// One JSON line; `event` first names the kind.
#[derive(Serialize)]
struct Line<'a> {
    session: String,
    #[serde(flatten)]
    told: Told<'a>,
}

/// An event under the names that users script against.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Command {
        verb: &'a str,
    },
    Reply {
        code: u16,
    },
    Expect {
        mode: &'static str,
        verb: &'a str,
        address: IpAddr,
        port: Option<u16>,
    },
    Transfer {
        verb: &'a str,
    },
    Cancel {
        reason: &'a str,
    },
    Rewrite {
        from: String,
        to: String,
    },
    NoRoom {
        code: u16,
    },
    Refuse {
        verb: &'a str,
        reason: &'a str,
    },
    Blind {
        reason: &'a str,
    },
    Sighted,
    Unparsed {
        #[serde(skip_serializing_if = "Option::is_none")]
        verb: Option<&'a str>,
        code: Option<u16>,
        reason: &'a str,
    },
    End,
}

impl<'a, W: Write + ?Sized> Report<'a, W> {
    pub(super) const fn new(format: Format, out: &'a mut W) -> Self {
        Self { format, out }
    }

    pub(super) fn event(&mut self, ends: Ends, forwarding: ForwardingMethod, event: &Event) -> io::Result<()> {
        let Some(told) = tell(ends, forwarding, event) else { return Ok(()) };
        let session = format!("{}>{}", ends.client, ends.server);
        match self.format {
            Format::Json => {
                serde_json::to_writer(&mut *self.out, &Line { session, told })?;
                self.out.write_all(b"\n")
            }
            Format::Text => writeln!(self.out, "{session} {}", text(&told)),
        }
    }

    pub(super) fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        match self.format {
            Format::Json => Ok(()),
            Format::Text => writeln!(self.out, "{summary}"),
        }
    }
}

fn tell(ends: Ends, forwarding: ForwardingMethod, event: &Event) -> Option<Told<'static>> {
    let told = match *event {
        Event::Command { verb } => Told::Command { verb: verb.name() },
        Event::Reply { code } => Told::Reply { code },
        Event::ExpectActive { verb, address, source: Source::Command | Source::Default } => Told::Expect {
            mode: Mode::Active.name(),
            verb: verb.name(),
            address: address.ip(),
            port: Some(address.port()),
        },
        // where replies are seen the expectation comes with the reply
        Event::AskPassive { .. } if forwarding == ForwardingMethod::Nat => return None,
        Event::AskPassive { verb } => {
            Told::Expect { mode: Mode::Passive.name(), verb: verb.name(), address: ends.server.ip(), port: None }
        }
        Event::ExpectPassive { verb, port, .. } => {
            Told::Expect { mode: Mode::Passive.name(), verb: verb.name(), address: ends.server.ip(), port: Some(port) }
        }
        Event::Transfer { verb } => Told::Transfer { verb: verb.name() },
        Event::Cancel { reason } => Told::Cancel { reason: reason.name() },
        Event::Refuse { verb, reason } => Told::Refuse { verb: verb.name(), reason: reason.name() },
        Event::Rewrite { from, to, .. } => Told::Rewrite { from: from.to_string(), to: to.to_string() },
        Event::NoRoom { code } => Told::NoRoom { code },
        Event::Blind { reason } => Told::Blind { reason: reason.name() },
        Event::Sighted => Told::Sighted,
        Event::UnparsedCommand { verb, reason } => {
            Told::Unparsed { verb: Some(verb.name()), code: None, reason: reason.name() }
        }
        Event::UnparsedReply { code, reason } => {
            Told::Unparsed { verb: None, code: Some(code).filter(|code| *code > 0), reason: reason.name() }
        }
        Event::End => Told::End,
    };
    Some(told)
}

fn text(told: &Told<'_>) -> String {
    match told {
        Told::Command { verb } => format!("command {verb}"),
        Told::Reply { code } => format!("reply {code}"),
        Told::Expect { mode, verb, address, port } => {
            let port = port.map_or_else(|| "any port".to_owned(), |port| format!("port {port}"));
            format!("expect {mode} data connection to {address} {port} ({verb})")
        }
        Told::Transfer { verb } => format!("transfer {verb}"),
        Told::Cancel { reason } => format!("cancel: {reason}"),
        Told::Rewrite { from, to } => format!("rewrite {from} to {to}"),
        Told::NoRoom { code } => format!("no room to rewrite {code}"),
        Told::Refuse { verb, reason } => format!("refuse {verb}: {reason}"),
        Told::Blind { reason } => format!("blind: {reason}"),
        Told::Sighted => "sighted".to_owned(),
        Told::Unparsed { verb, code, reason } => {
            let what = verb.map(str::to_owned).or_else(|| code.map(|code| code.to_string()));
            format!("unparsed {}: {reason}", what.unwrap_or_else(|| "reply".to_owned()))
        }
        Told::End => "end".to_owned(),
    }
}
