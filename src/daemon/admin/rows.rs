//! `pinholes` and `sessions`: rows as the kernel lists them, sessions as the packet thread does.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::facts::{Belief, Dump};
use super::traced::fields;
use crate::api::{ExpectationStatus, Pinhole, PinholeList, SessionStatus, Sessions};
use crate::director::{Expected, Filter, Holder, Listed};
use crate::kernel::read_state;
use crate::plan::mark_index;
use crate::state::sets::{Key, Name, Set, Value};
use crate::steer::Placement;

/// The dynamic rows that are wanted, at most `limit`, with the names they lead to and the sessions they are there for.
#[must_use]
pub fn pinholes(
    belief: &Belief,
    dumps: &[Dump],
    holders: Vec<Holder>,
    (wanted, limit): (&Filter, usize),
) -> PinholeList {
    let mut sessions: HashMap<(Set, Key), Vec<SocketAddr>> = HashMap::new();
    for (set, key, client) in holders {
        sessions.entry((set, key)).or_default().push(client);
    }
    let all = dumps.iter().flat_map(|(set, elements)| elements.iter().map(move |element| (*set, element)));
    let mut pinholes = PinholeList { total: 0, matching: Some(0), pinholes: Vec::new() };
    for (set, element) in all {
        let Some((key, value)) = read_state::row(set, element) else { continue };
        pinholes.total = pinholes.total.saturating_add(1);
        let ends = sessions.get(&(set, key.clone())).map(Vec::as_slice).unwrap_or_default();
        if !wants_client(wanted, set, &key, ends) {
            continue;
        }
        let at = names(belief, &key, &value);
        if !wanted.wants_server(at.as_ref().map(|(cluster, server)| (cluster.as_str(), server.as_str()))) {
            continue;
        }
        pinholes.matching = pinholes.matching.map(|matching| matching.saturating_add(1));
        if pinholes.pinholes.len() >= limit {
            continue;
        }
        let (cluster, server) = at.unzip();
        pinholes.pinholes.push(Pinhole {
            set: set.text().to_owned(),
            key: fields(&key),
            value: (!value.is_empty()).then(|| fields(&value)),
            cluster,
            server,
            remaining_seconds: element.expires.map(|expires| expires.as_secs_f64()),
            sessions: sessions.remove(&(set, key)).unwrap_or_default(),
        });
    }
    pinholes
}

/// Whether a row is wanted for its client: that of a session that it is there for, or the one in its key, which may be a network.
fn wants_client(wanted: &Filter, set: Set, key: &[Value], sessions: &[SocketAddr]) -> bool {
    let at = match set.name {
        Name::ActiveNat => 1,
        Name::ActiveTlsNat => 2,
        _ => 0,
    };
    let named =
        key.get(at).is_some_and(|field| matches!(field, Value::Address(client) if wanted.wants_client(*client)));
    named || sessions.iter().any(|client| wanted.wants_client(client.ip()))
}

/// The cluster and server that a row leads to: its mark says so, or else its addresses, where only one fits.
fn names(belief: &Belief, key: &[Value], value: &[Value]) -> Option<(String, String)> {
    let marks = mark_index::marks(&belief.config);
    let all = || key.iter().chain(value);
    let index = all().find_map(|field| match field {
        Value::Mark(mark) => marks.control_index(*mark).or_else(|| marks.data_index(*mark)),
        _ => None,
    });
    let addresses: Vec<IpAddr> =
        all().filter_map(|field| if let Value::Address(address) = field { Some(*address) } else { None }).collect();
    let fits = |placement: &&Placement| match index {
        Some(index) => placement.index == index,
        None => addresses.contains(&placement.address),
    };
    let fitting: Vec<&Placement> = belief.indexes.placements.iter().filter(fits).collect();
    let with_vip: Vec<_> = fitting.iter().filter(|placement| addresses.contains(&placement.vip)).copied().collect();
    let mut found = if with_vip.is_empty() { fitting } else { with_vip }.into_iter().map(|placement| {
        let (cluster, server) = belief.config.at(placement)?;
        Some((cluster.name.clone(), server.name.clone()))
    });
    let first = found.next().flatten()?;
    found.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

/// The packet thread's sessions: how many there are, how many are wanted, and those that are listed.
#[must_use]
pub fn sessions((total, matching): (usize, usize), listed: Vec<Listed>) -> Sessions {
    let [total, matching] = [total, matching].map(|count| u64::try_from(count).unwrap_or(u64::MAX));
    Sessions { total, matching: Some(matching), sessions: listed.into_iter().map(session).collect() }
}

fn session(listed: Listed) -> SessionStatus {
    SessionStatus {
        client: listed.client,
        far_end: listed.far_end,
        cluster: listed.cluster,
        server: listed.server,
        age_seconds: listed.age.as_secs_f64(),
        idle_seconds: listed.idle.as_secs_f64(),
        verb: listed.verb.map(|verb| verb.name().to_owned()),
        pending: listed.pending,
        expectation: listed.expectation.map(expectation),
        blind: listed.blind.map(|reason| reason.name().to_owned()),
    }
}

fn expectation(expected: Expected) -> ExpectationStatus {
    ExpectationStatus {
        mode: expected.mode.name().to_owned(),
        port: expected.port,
        remaining_seconds: expected.remaining.as_secs_f64(),
        used: expected.used,
    }
}
