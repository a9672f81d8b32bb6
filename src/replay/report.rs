//! Events as lines of text or JSON.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::interface::{Endpoints, ReportFormat, Summary};
use crate::director::Mode;
use crate::ftp::{Event, Source};
use crate::lvs::ForwardingMethod;

pub(super) struct Printer<'a, W: Write + ?Sized> {
    format: ReportFormat,
    out: &'a mut W,
}

/// One JSON line; `event` first names the kind.
#[derive(Serialize)]
struct SessionLine<'a> {
    session: String,
    #[serde(flatten)]
    told: EventLine<'a>,
    /// `null` for what the capture's end brought to light.
    frame: Option<u64>,
    seconds: Option<f64>,
}

/// The frame that let something be known, counted as Wireshark does.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// From 1.
    pub frame: u64,
    /// Time since the first frame of the capture; milliseconds resolution.
    pub after: Duration,
}

/// An event under the names that users script against.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum EventLine<'a> {
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

impl<'a, W: Write + ?Sized> Printer<'a, W> {
    pub(super) const fn new(format: ReportFormat, out: &'a mut W) -> Self {
        Self { format, out }
    }

    /// `at`: `None` for what the capture's end brought to light.
    pub(super) fn event(
        &mut self,
        at: Option<At>,
        (ends, forwarding): (Endpoints, ForwardingMethod),
        event: &Event,
    ) -> io::Result<()> {
        if let Event::ExpectActive { verb, source: Source::Earlier, .. } = *event {
            // The server calls one of two ports.
            let default = Event::ExpectActive { verb, address: ends.client, source: Source::Default };
            self.event(at, (ends, forwarding), &default)?;
        }
        let Some(told) = tell(ends, forwarding, event) else { return Ok(()) };
        let session = format!("{}>{}", ends.client, ends.server);
        match self.format {
            ReportFormat::Json => {
                let (frame, seconds) = (at.map(|at| at.frame), at.map(|at| at.after.as_secs_f64()));
                serde_json::to_writer(&mut *self.out, &SessionLine { session, told, frame, seconds })?;
                self.out.write_all(b"\n")
            }
            ReportFormat::Text => {
                let [frame, seconds] = match at {
                    Some(At { frame, after }) => [frame.to_string(), format!("{:.3}", after.as_secs_f64())],
                    None => ["end", ""].map(str::to_owned),
                };
                writeln!(self.out, "{frame:>6} {seconds:>9} {session} {}", text(&told))
            }
        }
    }

    pub(super) fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        match self.format {
            ReportFormat::Json => Ok(()),
            ReportFormat::Text => writeln!(self.out, "{summary}"),
        }
    }
}

fn tell(ends: Endpoints, forwarding: ForwardingMethod, event: &Event) -> Option<EventLine<'static>> {
    let told = match *event {
        Event::Command { verb } => EventLine::Command { verb: verb.name() },
        Event::Reply { code } => EventLine::Reply { code },
        Event::ExpectActive { verb, address, .. } => EventLine::Expect {
            mode: Mode::Active.name(),
            verb: verb.name(),
            address: address.ip(),
            port: Some(address.port()),
        },
        // where replies are seen the expectation comes with the reply
        Event::AskPassive { .. } if forwarding == ForwardingMethod::Nat => return None,
        Event::AskPassive { verb } => {
            EventLine::Expect { mode: Mode::Passive.name(), verb: verb.name(), address: ends.server.ip(), port: None }
        }
        Event::ExpectPassive { verb, port, .. } => EventLine::Expect {
            mode: Mode::Passive.name(),
            verb: verb.name(),
            address: ends.server.ip(),
            port: Some(port),
        },
        Event::Transfer { verb, .. } => EventLine::Transfer { verb: verb.name() },
        // the reply says it
        Event::TransferOver { .. } => return None,
        Event::Cancel { reason } => EventLine::Cancel { reason: reason.name() },
        Event::Refuse { verb, reason } => EventLine::Refuse { verb: verb.name(), reason: reason.name() },
        Event::Rewrite { from, to, .. } => EventLine::Rewrite { from: from.to_string(), to: to.to_string() },
        Event::NoRoom { code } => EventLine::NoRoom { code },
        Event::Blind { reason } => EventLine::Blind { reason: reason.name() },
        Event::Sighted => EventLine::Sighted,
        Event::UnparsedCommand { verb, reason } => {
            EventLine::Unparsed { verb: Some(verb.name()), code: None, reason: reason.name() }
        }
        Event::UnparsedReply { code, reason } => {
            EventLine::Unparsed { verb: None, code: Some(code).filter(|code| *code > 0), reason: reason.name() }
        }
        Event::End => EventLine::End,
    };
    Some(told)
}

fn text(told: &EventLine<'_>) -> String {
    match told {
        EventLine::Command { verb } => format!("command {verb}"),
        EventLine::Reply { code } => format!("reply {code}"),
        EventLine::Expect { mode, verb, address, port } => {
            let port = port.map_or_else(|| "any port".to_owned(), |port| format!("port {port}"));
            format!("expect {mode} data connection to {address} {port} ({verb})")
        }
        EventLine::Transfer { verb } => format!("transfer {verb}"),
        EventLine::Cancel { reason } => format!("cancel: {reason}"),
        EventLine::Rewrite { from, to } => format!("rewrite {from} to {to}"),
        EventLine::NoRoom { code } => format!("no room to rewrite {code}"),
        EventLine::Refuse { verb, reason } => format!("refuse {verb}: {reason}"),
        EventLine::Blind { reason } => format!("blind: {reason}"),
        EventLine::Sighted => "sighted".to_owned(),
        EventLine::Unparsed { verb, code, reason } => {
            let what = verb.map(str::to_owned).or_else(|| code.map(|code| code.to_string()));
            format!("unparsed {}: {reason}", what.unwrap_or_else(|| "reply".to_owned()))
        }
        EventLine::End => "end".to_owned(),
    }
}
