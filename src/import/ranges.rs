//! Passive ranges: what is known of them, and proposals for what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::draft::Draft;
use crate::lvs::{ForwardingMethod, PortRange};

/// Ports of a proposed range, where there are enough.
const WIDTH: u16 = 1000;
/// So many ranges of that width fit.
const FEW: usize = 30;
/// Where proposals begin, for a few servers and for many.
const BEGIN: [u16; 2] = [31_000, 10_000];
/// A narrower range is not worth a proposal.
const NARROWEST: u16 = 20;
/// Routers in front of clients take these for other protocols (SERVERS.md).
const READ_BY_ROUTERS: [u16; 4] = [1723, 2000, 5060, 5061];

/// What of the passive ranges is written so that it holds, and what is written as a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passive {
    /// The range of all servers is known and declared; ranges of their own are comments.
    Known(PortRange),
    /// Nothing is declared: the director reads the ports in the replies. Ranges of their own are comments.
    Open,
    /// Every server has a range of its own, a proposal: nothing else would work.
    Own,
}

/// The passive ranges of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    pub passive: Passive,
    /// For each server, by its machine; none where there is no place for it.
    pub proposals: BTreeMap<IpAddr, PortRange>,
    /// Persistence that is kept, seconds; 0: none.
    pub persistence: u32,
}

/// Decides for each cluster. `others` are ports that something else serves at a VIP; a cluster that is not `written` is nobody's
/// neighbour there.
pub(super) fn plan(
    drafts: &[Draft],
    others: &BTreeMap<IpAddr, BTreeSet<u16>>,
    written: impl Fn(usize) -> bool,
) -> Vec<Ranges> {
    let mut holders: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let neighbours = drafts.iter().enumerate().filter(|(index, _)| written(*index)).map(|(_, draft)| draft);
    for vip in neighbours.flat_map(|draft| &draft.vips) {
        *holders.entry(*vip).or_default() += 1;
    }
    let mut taken: BTreeSet<u16> = READ_BY_ROUTERS.into();
    taken.extend(drafts.iter().flat_map(|draft| &draft.ports));
    let fronts = drafts.iter().flat_map(|draft| &draft.vips);
    taken.extend(fronts.filter_map(|vip| others.get(vip)).flatten());
    let known: Vec<PortRange> = drafts.iter().filter_map(|draft| draft.range).collect();
    let proposals = proposals(drafts, &taken, &PortRange::merged(known));
    let one = |draft: &Draft| {
        let alone = draft.vips.iter().all(|vip| holders.get(vip).is_none_or(|holders| *holders == 1));
        // Without a range any unprivileged port is passive: none of them can be a control port.
        let alone = alone && draft.ports.iter().all(|port| *port < PortRange::UNPRIVILEGED.first());
        let (passive, persistence) = decide(draft, alone);
        let machines = draft.servers.iter().map(|server| server.machine);
        let own = machines.filter_map(|machine| Some((machine, *proposals.get(&machine)?))).collect();
        Ranges { passive, proposals: own, persistence }
    };
    drafts.iter().map(one).collect()
}

/// What works with the servers as they are, if anything does.
fn decide(draft: &Draft, alone: bool) -> (Passive, u32) {
    let nat = draft.forwarding == ForwardingMethod::Nat;
    // The service of persistence is a firewall mark, which keeps the port.
    let keeps_port = draft.servers.iter().all(|server| server.port.is_none());
    let persistence = if keeps_port { draft.persistence } else { 0 };
    match draft.range {
        Some(range) if nat || persistence > 0 => (Passive::Known(range), persistence),
        None if nat && alone => (Passive::Open, 0),
        _ => (Passive::Own, 0),
    }
}

/// A range for every machine, none of which meets another.
fn proposals(drafts: &[Draft], taken: &BTreeSet<u16>, known: &[PortRange]) -> BTreeMap<IpAddr, PortRange> {
    let mut proposals = BTreeMap::new();
    let machines = |draft: &Draft| -> Vec<IpAddr> {
        let mut seen = BTreeSet::new();
        draft.servers.iter().map(|server| server.machine).filter(|machine| seen.insert(*machine)).collect()
    };
    for (draft, range) in drafts.iter().filter_map(|draft| Some((draft, draft.range?))) {
        let machines = machines(draft);
        for (machine, slice) in machines.iter().zip(slices(range, machines.len(), taken)) {
            proposals.entry(*machine).or_insert(slice);
        }
    }
    let rest: Vec<IpAddr> = drafts.iter().filter(|draft| draft.range.is_none()).flat_map(machines).collect();
    let mut seen = BTreeSet::new();
    let rest: Vec<IpAddr> =
        rest.into_iter().filter(|machine| !proposals.contains_key(machine) && seen.insert(*machine)).collect();
    for (machine, range) in rest.iter().zip(free(rest.len(), taken, known)) {
        proposals.insert(*machine, range);
    }
    proposals
}

/// A range cut into as many slices, without the ports that are taken.
fn slices(range: PortRange, count: usize, taken: &BTreeSet<u16>) -> Vec<PortRange> {
    let (first, last) = (u32::from(range.first()), u32::from(range.last()));
    let Some(exact) = u32::try_from(count).ok().and_then(|count| (last - first + 1).checked_div(count)) else {
        return Vec::new();
    };
    if exact < u32::from(NARROWEST) {
        return Vec::new();
    }
    let round = if exact >= 2000 {
        1000
    } else if exact >= 200 {
        100
    } else {
        1
    };
    let width = exact / round * round;
    let slice = |index: usize| {
        let begin = first + u32::try_from(index).ok()? * width;
        let end = if index + 1 == count { last } else { begin + width - 1 };
        trimmed(PortRange::new(u16::try_from(begin).ok()?, u16::try_from(end).ok()?)?, taken)
    };
    // All or none: a range that is missing shifts the others to the wrong server.
    (0..count).map(slice).collect::<Option<_>>().unwrap_or_default()
}

/// The longest piece of a range between ports that are taken.
fn trimmed(range: PortRange, taken: &BTreeSet<u16>) -> Option<PortRange> {
    let mut begin = range.first();
    let mut longest: Option<PortRange> = None;
    let length = |range: &PortRange| range.last() - range.first();
    let mut keep = |first: u16, last: u16| {
        let piece = PortRange::new(first, last);
        if piece.as_ref().map(length) > longest.as_ref().map(length) {
            longest = piece;
        }
    };
    for &port in taken.range(range.first()..=range.last()) {
        keep(begin, port.saturating_sub(1));
        begin = port.saturating_add(1);
    }
    keep(begin, range.last());
    longest.filter(|range| length(range) >= NARROWEST - 1)
}

/// Ranges that nobody has, for so many servers.
fn free(count: usize, taken: &BTreeSet<u16>, known: &[PortRange]) -> Vec<PortRange> {
    let [begin, begin_of_many] = BEGIN;
    let (mut next, width) = if count <= FEW {
        (begin, WIDTH)
    } else {
        let room = usize::from(u16::MAX - begin_of_many) / count;
        (begin_of_many, u16::try_from(room).unwrap_or(WIDTH).min(WIDTH))
    };
    let mut ranges = Vec::new();
    while ranges.len() < count && width >= NARROWEST {
        let Some(range) = next.checked_add(width - 1).and_then(|last| PortRange::new(next, last)) else { break };
        let port = taken.range(range.first()..=range.last()).next_back().copied();
        let held = known.iter().find(|known| known.overlaps(range)).map(|known| known.last());
        let Some(after) = port.max(held).unwrap_or(range.last()).checked_add(1) else { break };
        if port.is_none() && held.is_none() {
            ranges.push(range);
            next = after;
        } else {
            // Round numbers are easier to remember.
            let Some(round) = after.checked_next_multiple_of(if width == WIDTH { WIDTH } else { 1 }) else { break };
            next = round;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ranges: &[PortRange]) -> String {
        ranges.iter().map(PortRange::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn slices_are_round_and_disjoint() {
        let range = |text: &str| text.parse::<PortRange>().expect("a range");
        assert_eq!(shown(&slices(range("10000-20000"), 3, &BTreeSet::new())), "10000-12999 13000-15999 16000-20000");
        assert_eq!(shown(&slices(range("40000-40099"), 2, &BTreeSet::new())), "40000-40049 40050-40099");
        assert_eq!(shown(&slices(range("5000-5199"), 1, &READ_BY_ROUTERS.into())), "5062-5199");
        assert_eq!(shown(&slices(range("40000-40009"), 2, &BTreeSet::new())), "");
        assert_eq!(shown(&slices(range("40000-40009"), 0, &BTreeSet::new())), "");
        assert_eq!(shown(&slices(range("1024-65535"), 1, &BTreeSet::new())), "1024-65535");
    }

    #[test]
    fn free_ranges_avoid_what_is_taken() {
        let known = ["34000-35999".parse().expect("a range")];
        assert_eq!(shown(&free(3, &[32_500].into(), &known)), "31000-31999 33000-33999 36000-36999");
        let many = free(100, &BTreeSet::new(), &[]);
        assert_eq!((many.len(), shown(&many[..2])), (100, "10000-10554 10555-11109".to_owned()));
        assert!(free(100_000, &BTreeSet::new(), &[]).is_empty());
        assert_eq!(free(2000, &BTreeSet::new(), &[]).len(), 2000);
    }
}
