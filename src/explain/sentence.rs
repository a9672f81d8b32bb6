//! Each verdict in a sentence.

use std::net::{IpAddr, SocketAddr};

use super::attempt::Refusal;
use super::case::{Case, named, quoted, seconds};
use super::verdict::Verdict;
use crate::ftp::{RefuseReason, Verb};

/// The verdict in a sentence.
pub fn of(verdict: &Verdict, case: &Case<'_>) -> String {
    let (client, server) = (case.address, case.server());
    match verdict {
        Verdict::NoFailure => "no session with a failure is remembered".into(),
        Verdict::NeverSeen => format!(
            "no control connection of {client} was seen: it does not reach this director, or it was longer ago than is remembered"
        ),
        Verdict::NoServers => {
            let closed: Vec<_> = case.closed.iter().map(|(name, why)| format!("{name} ({why})")).collect();
            let closed = closed.join(", ");
            format!("no control connection of {client} was seen, and no server takes new sessions in {closed}")
        }
        Verdict::NothingAsked => "the client has asked for no data connection".into(),
        Verdict::Fine { landed: 0 } => "nothing failed: no data connection was waited for".into(),
        Verdict::Fine { landed } => format!("nothing failed: {landed} data connection(s) landed on {server}"),
        Verdict::Waiting { waited } => {
            format!("the data connection may still come: it has been expected for {}", seconds(*waited))
        }
        Verdict::Running => {
            format!("the data connection has landed on {server}, and the server has not said that the transfer is over")
        }
        Verdict::Landed => format!(
            "the data connection landed on {server}; what became of it is not seen here, since the server's replies do not \
             pass the director"
        ),
        Verdict::OtherAddress { from, port, sure } => {
            let may = if *sure { "" } else { " (probably this client's)" };
            format!(
                "the data connection to port {port} came from {from}{may}, and the control connection comes from {client}: \
                 only the address of the control connection is let in"
            )
        }
        Verdict::NoSyn { waited } => {
            let (waited, more) = (seconds(*waited), case.incomplete());
            format!("no SYN of {client} came for the data connection within {waited}{more}")
        }
        Verdict::NotRewritten => {
            "the server's reply had no room for the address or port that the client must be told".into()
        }
        Verdict::PortsTaken => format!(
            "no port of {} was free for {client}: as many of its data connections were awaited as there are ports",
            case.ports_at_vip()
        ),
        Verdict::NoReply { waited } => format!("{server} has not named a port within {}", seconds(*waited)),
        Verdict::TooLate { after } => format!(
            "the data connection came {} after it could first come, when it was not expected any more",
            seconds(*after)
        ),
        Verdict::WrongPort { came, named } => {
            format!("the client was told port {named}, and connected to port {came} of {}", case.vip())
        }
        Verdict::OutOfRange { port } => format!(
            "{server} named passive port {port}, outside of its declared passive_ports {}: nothing is opened there",
            case.declared()
        ),
        Verdict::ServerRefused { refusal } => format!("{server} refused{}: {}", named(refusal), quoted(refusal)),
        Verdict::Bounce { verb, reason } => bounce(*verb, *reason, client),
        Verdict::NotUnderstood { verb, reason } => {
            format!("the {verb} could not be understood ({reason}), so nothing was opened for it")
        }
        Verdict::NoCall { waited } => {
            format!("no SYN of {server} came for the data connection within {}", seconds(*waited))
        }
        Verdict::OtherActivePort { port } => format!(
            "{server} called the client from port {port}, and is declared to call from {}: the client's answer is not let in",
            case.calls_from()
        ),
        Verdict::NoAnswer { port } => {
            format!("{server} called {}, and the client's answer never came", end(client, *port))
        }
        Verdict::NoCallOrAnswer { waited } => format!(
            "no SYN-ACK of {client} came within {}: {server} did not call, or the client's answer never came (the server's \
             own packets and replies do not pass the director)",
            seconds(*waited)
        ),
        Verdict::OverLimit { limit } => format!(
            "the client is over limits.{limit}, so its control connection passes without being read{}",
            case.unread()
        ),
        Verdict::ServerDown { why } => format!("{server} is down: {why}"),
        Verdict::Reset { refusal, port } => {
            let port = port.map(|port| format!(" at port {port}")).unwrap_or_default();
            format!("the data connection reached {server}, and was not taken there{port}: {}", said(refusal.as_ref()))
        }
        Verdict::BrokeOff { refusal } => {
            format!("the data connection to {server} was up, and broke off: {}", said(refusal.as_ref()))
        }
        Verdict::Encrypted { landed } => format!(
            "the control connection is under TLS and cannot be read; {landed} data connection(s) of {client} landed on \
             {server}, and none came from elsewhere{}",
            case.incomplete()
        ),
        Verdict::Unreadable { reason } => {
            format!("the control connection cannot be read ({reason}), so no data connection is expected")
        }
    }
}

fn end(client: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| client.to_string(), |port| SocketAddr::new(client, port).to_string())
}

fn said(refusal: Option<&Refusal>) -> String {
    refusal.map_or_else(|| "the server's words are not known".into(), quoted)
}

fn bounce(verb: Verb, reason: RefuseReason, client: IpAddr) -> String {
    match reason {
        RefuseReason::ThirdParty => format!(
            "the {verb} named another host than {client}, where the control connection comes from: it was refused as a bounce"
        ),
        RefuseReason::Family => format!("the {verb} named an address of the other family: it was refused"),
        RefuseReason::LowPort => format!("the {verb} named a port below 1024: it was refused"),
        RefuseReason::EpsvAll => format!("the client had said EPSV ALL, and then {verb}: it was refused"),
        RefuseReason::Impossible => format!("the {verb} named numbers that are no address: it was refused"),
    }
}
