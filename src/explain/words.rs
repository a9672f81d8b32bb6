//! The parts of the sentences.

use std::net::SocketAddr;

use super::attempt::{Asking, Attempt};
use super::case::{Case, quoted, seconds};
use super::verdict::Verdict;
use crate::director::{Mode, Outcome, Stranger, StrangerKind};
use crate::lvs::ForwardingMethod;

/// The data connection that was expected.
pub fn expected(case: &Case<'_>, attempt: &Attempt) -> Option<String> {
    let place = case.place?;
    let at_most = seconds(place.timeout);
    Some(match (attempt.asking, attempt.named) {
        (Asking::Passive(_), Some(named)) => {
            let to = SocketAddr::new(place.vip, named.port);
            format!("a SYN from {} to {to}, within {at_most}", case.address)
        }
        (Asking::Passive(_), None) if !place.sees_replies() => {
            let (vip, ports) = (place.vip, place.ports_at_vip());
            format!("a SYN from {} to {vip}, a port of {ports}, within {at_most}", case.address)
        }
        (Asking::Active(_, port, _), _) => {
            let to = SocketAddr::new(case.address, port);
            match place.forwarding {
                ForwardingMethod::Nat => format!("a SYN from {} ({}) to {to}", place.address, place.server),
                _ => format!(
                    "the SYN-ACK of {to} to port {} of {}: its answer to {}",
                    case.calls_from(),
                    place.vip,
                    place.server
                ),
            }
        }
        _ => return None,
    })
}

/// What came instead.
pub fn came(case: &Case<'_>, attempt: &Attempt, verdict: &Verdict) -> String {
    if let Some(stranger) = stranger(case, verdict) {
        return told(stranger);
    }
    if let Some(landed) = attempt.landed {
        let after = seconds(landed.since(attempt.since()));
        let reply = attempt.refusal.as_ref().map(|refusal| format!(", then {}", quoted(refusal))).unwrap_or_default();
        return format!("the data connection, after {after}{reply}");
    }
    if let Some(refusal) = &attempt.refusal {
        return quoted(refusal);
    }
    let waited = attempt.until().or(case.story.closed).unwrap_or(case.now).since(attempt.since());
    let why = match attempt.ended {
        Some((_, Outcome::Superseded)) => ", until the client went on without it",
        _ => "",
    };
    format!("nothing, for {}{why}", seconds(waited))
}

fn stranger<'a>(case: &'a Case<'_>, verdict: &Verdict) -> Option<&'a Stranger> {
    case.strangers.iter().rev().find(|one| match verdict {
        Verdict::OtherAddress { from, port, .. } => one.source.ip() == *from && one.destination.port() == *port,
        Verdict::WrongPort { came, .. } => one.source.ip() == case.address && one.destination.port() == *came,
        Verdict::OtherActivePort { port } => one.source.ip() == case.address && one.destination.port() == *port,
        Verdict::TooLate { .. } => crate::director::concerns(one, case.address),
        _ => false,
    })
}

/// A packet that nobody expected.
pub fn told(one: &Stranger) -> String {
    let what = if one.kind == StrangerKind::Answer { "a SYN-ACK" } else { "a SYN" };
    format!("{what} from {} to {}", one.source, one.destination)
}

/// Which end opens the data connection.
pub const fn opener(mode: Mode) -> &'static str {
    match mode {
        Mode::Passive => "the client's",
        Mode::Active => "the server's",
    }
}
