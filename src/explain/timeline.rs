//! What happened, line by line.

use super::case::Case;
use super::words::{opener, told};
use crate::director::{Happening, Mode, Moment, Outcome, concerns};
use crate::ftp::Source;
use crate::time::Time;

/// One line of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it happened, of the daemon's clock.
    pub at: Time,
    /// What, printable.
    pub text: String,
}

/// What happened to the session, and the packets of its client that nobody expected, in order.
pub fn lines(case: &Case<'_>, own: &[Happening]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for one in own {
        match (one.moment, lines.last_mut()) {
            (Moment::Words(words), Some(before)) => {
                let open = before.text.strip_suffix('"').map(str::to_owned);
                let quoted = format!("{:?}", words.text());
                before.text = match open {
                    Some(open) => format!("{open}{}", quoted.trim_start_matches('"')),
                    None => format!("{} {quoted}", before.text),
                };
            }
            (Moment::Over(code), _) if code >= 400 && has_reply(own, one) => {}
            (moment, _) => lines.extend(line(moment).map(|text| Line { at: one.at, text })),
        }
    }
    let strangers = case.strangers.iter().filter(|one| concerns(one, case.address));
    lines.extend(strangers.map(|one| Line { at: one.at, text: format!("unexpected: {}", told(one)) }));
    lines.sort_by_key(|line| line.at);
    lines
}

/// Whether the server's reply stands in a line of its own.
fn has_reply(own: &[Happening], over: &Happening) -> bool {
    own.iter().any(|one| one.at == over.at && matches!(one.moment, Moment::Reply { .. }))
}

fn line(moment: Moment) -> Option<String> {
    Some(match moment {
        Moment::Opened => "the first packet of the control connection".into(),
        Moment::Said(verb) | Moment::Asked(verb) | Moment::Began(verb) => verb.to_string(),
        Moment::Named { code, said, port, address, told } => {
            let at = |address: Option<std::net::Ipv4Addr>, port: u16| {
                address.map_or_else(|| format!("port {port}"), |address| format!("{address}:{port}"))
            };
            let (from, to) = (at(address, said), at(told, port));
            if from == to { format!("{code}: {to}") } else { format!("{code}: {from}, and the client was told {to}") }
        }
        Moment::Called { verb, port, source } => match source {
            Source::Command => format!("{verb}: port {port} of the client"),
            Source::Default => format!("{verb} without PORT or PASV: port {port} of the client"),
            Source::Earlier => format!("{verb}: port {port} of the client, as before"),
        },
        Moment::Reply { verb: Some(verb), code } => format!("{code} to {verb}"),
        Moment::Reply { verb: None, code } => code.to_string(),
        Moment::Words(_) => return None,
        Moment::Over(code) => format!("{code}: the transfer is over"),
        Moment::Ended(mode, Outcome::Used) => format!("{} data connection landed", opener(mode)),
        Moment::Ended(mode, Outcome::Expired) => format!("{} data connection did not come in time", opener(mode)),
        Moment::Ended(mode, Outcome::Superseded) => {
            format!("{} data connection is not waited for any longer", opener(mode))
        }
        Moment::Ended(_, Outcome::Refused) => "refused".into(),
        Moment::Refused(verb, reason) => format!("{verb} opens nothing: {reason}"),
        Moment::Unread(verb, reason) => format!("{verb} was not understood: {reason}"),
        Moment::Undeclared(port) => format!("the server named port {port}, which is not declared"),
        Moment::Crowded => "every port that the client could be told is taken".into(),
        Moment::NoRoom(code) => format!("{code}: no room for the address or port that the client must be told"),
        Moment::Blind(reason) => format!("can no longer be read: {reason}"),
        Moment::Sighted => "can be read again".into(),
        Moment::Limited(limit) => format!("not read: over limits.{limit}"),
        Moment::Landed { mode, port, times } => {
            let whose = if mode == Mode::Passive { "the VIP" } else { "the client" };
            format!("{times} data connection(s) landed, the last at port {port} of {whose}")
        }
        Moment::Closed => "the control connection ended, or is forgotten".into(),
    })
}
