//! What is known of one session, and the parts of the sentences about it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::attempt::{Refusal, Story};
use super::place::Place;
use crate::director::{Stranger, ran_dry};
use crate::lvs::ForwardingMethod;
use crate::time::Time;

/// What is known of one session of a client.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The time of the answer.
    pub now: Time,
    /// The client; `None`: the last failure was asked for, and there was none.
    pub client: Option<IpAddr>,
    /// Its address.
    pub address: IpAddr,
    /// What happened to the session.
    pub story: &'a Story,
    /// Its server; `None`: the configuration no longer has it.
    pub place: Option<&'a Place>,
    /// The data connections that nobody expected since then.
    pub strangers: &'a [Stranger],
    /// Until when some of them are missing.
    pub pushed_out: Option<Time>,
    /// The clusters that take no new sessions, and why.
    pub closed: &'a [(String, String)],
}

impl Case<'_> {
    /// Whether more unexpected data connections came than are known, since the session's first was asked for: more than the kernel
    /// told of, or than were kept.
    fn is_incomplete(&self) -> bool {
        let since = self.story.attempts.first().map_or(Time::ZERO, |attempt| attempt.at);
        let first = self.strangers.iter().position(|one| one.at >= since);
        self.pushed_out.is_some_and(|until| until >= since)
            || ran_dry(first.and_then(|first| self.strangers.get(first..)).unwrap_or_default())
    }

    pub(super) fn server(&self) -> String {
        self.place.map_or_else(
            || "a server that is no longer configured".into(),
            |place| format!("{}/{}", place.cluster, place.server),
        )
    }

    pub(super) fn cluster(&self) -> &str {
        self.place.map_or("?", |place| &place.cluster)
    }

    pub(super) fn vip(&self) -> String {
        self.place.map_or_else(|| "the VIP".into(), |place| place.vip.to_string())
    }

    pub(super) fn declared(&self) -> String {
        self.place.map(|place| place.passive_ports.to_string()).unwrap_or_default()
    }

    pub(super) fn ports_at_vip(&self) -> String {
        self.place.map(|place| place.ports_at_vip().to_string()).unwrap_or_default()
    }

    pub(super) fn has_public_ports(&self) -> bool {
        self.place.is_some_and(|place| place.public_ports.is_some())
    }

    /// The key that says which ports those are.
    pub(super) fn ranges_key(&self) -> &'static str {
        if self.has_public_ports() { "passive.public_ports" } else { "passive_ports" }
    }

    pub(super) fn timeout(&self) -> String {
        self.place.map(|place| seconds(place.timeout)).unwrap_or_default()
    }

    pub(super) fn calls_from(&self) -> String {
        let Some(place) = self.place else { return "?".into() };
        let more = place.active_ports.map(|ports| format!(" or {ports}")).unwrap_or_default();
        format!("{}{more}", place.active_port)
    }

    /// An address that the client was told and cannot reach, as far as that can be known.
    fn told_private(&self) -> Option<Ipv4Addr> {
        let told = self.story.attempts.iter().rev().find_map(|attempt| attempt.named.and_then(|named| named.told))?;
        let IpAddr::V4(client) = self.address else { return None };
        (told.is_private() && !client.is_private()).then_some(told)
    }

    pub(super) fn no_syn(&self) -> String {
        if let Some(told) = self.told_private() {
            return format!(
                "the client was told {told}, which is a private address: name the public one with passive.advertise"
            );
        }
        let port = self.story.attempts.iter().rev().find_map(|attempt| attempt.named).map(|named| named.port);
        let ports = self.ports_at_vip();
        let range = port.map_or_else(|| ports.clone(), |port| port.to_string());
        let look = format!("look for it on this machine: tcpdump -ni any 'host {} and tcp port {range}'", self.address);
        match self.place.is_some_and(Place::sees_replies) {
            true => {
                format!("a firewall on the way, at the client or before the VIP, must let ports {ports} pass; {look}")
            }
            false => format!(
                "the server's 227 must name the VIP {} (vsftpd: pasv_address; it is not seen or rewritten here), and a firewall \
                 on the way must let ports {ports} pass; {}",
                self.vip(),
                look.replace("tcp port ", "tcp portrange ")
            ),
        }
    }

    pub(super) fn incomplete(&self) -> &'static str {
        if self.is_incomplete() {
            " (so many unexpected ones came that not all are known: it may be among them)"
        } else {
            ""
        }
    }

    pub(super) fn unread(&self) -> &'static str {
        match self.place.map(|place| place.forwarding) {
            Some(ForwardingMethod::Nat) => " and its 227 is not rewritten",
            _ => "",
        }
    }
}

/// A duration as people say it.
pub fn seconds(span: Duration) -> String {
    if span < Duration::from_secs(10) {
        format!("{:.1} s", span.as_secs_f64())
    } else {
        format!("{} s", span.as_secs())
    }
}

/// What the server said: `550 "No such file."`.
pub fn quoted(refusal: &Refusal) -> String {
    let Refusal { code, words, .. } = refusal;
    if words.is_empty() { format!("{code} (its words are not kept)") } else { format!("{code} {words:?}") }
}

/// What it refused: ` RETR`.
pub fn named(refusal: &Refusal) -> String {
    refusal.verb.map(|verb| format!(" {verb}")).unwrap_or_default()
}
