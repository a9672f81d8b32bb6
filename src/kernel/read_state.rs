//! What stands in the kernel now, read into the same [`State`] that the configuration is rendered to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::fingerprint::{self, Fingerprint};
use super::ipvs::{Ipvs, ListedService};
use super::nftables::{Element, Elements};
use super::sets::{self, ListedSet};
use super::{Errno, KernelError};
use crate::lvs::{FirewallMark, PortRange, ServiceKey};
use crate::state::sets::{Family, Field, Key, Kind, Name, Set, Value};
use crate::state::{DestinationState, Marks, Service, State};
use crate::steer::Row;

/// Our table, read once.
#[derive(Clone, Debug, Default)]
pub struct TableDump {
    /// The elements of the static sets.
    elements: BTreeMap<Set, BTreeMap<Key, Key>>,
    /// The hashes in `version`.
    pub version: BTreeSet<u32>,
    /// What its rules are; `None` when there is no table, or while the ruleset changes too fast to be listed.
    pub rules: Option<Fingerprint>,
    /// Its sets, also those that we do not declare; empty while the ruleset changes faster than it can be listed.
    pub sets: Vec<ListedSet>,
    /// Whether the table is there.
    pub there: bool,
    /// The number of the last commit before it was read; `None` when there was another meanwhile.
    generation: Option<u32>,
}

/// Reads our table. As long as no program has committed anything, `last` is what stands.
///
/// # Errors
/// When the kernel refuses to list.
pub fn table(elements: &mut Elements, last: Option<TableDump>) -> Result<TableDump, KernelError> {
    let generation = fingerprint::generation(elements)?;
    if let Some(last) = last
        && last.generation == Some(generation)
    {
        return Ok(last);
    }
    let mut table = TableDump { there: elements.table_exists()?, ..TableDump::default() };
    if table.there {
        table.rules = fingerprint::read(elements)?;
        table.sets = match sets::standing(elements) {
            Err(KernelError::Refused { errno: Errno(libc::EINTR), .. }) => Vec::new(),
            listed => listed?,
        };
        let version = dump(elements, Set::once(Name::Version))?;
        table.version = version
            .keys()
            .filter_map(|key| if let [Value::Mark(mark)] = key[..] { Some(mark.0) } else { None })
            .collect();
        for set in Set::all().filter(|set| set.is_static()) {
            let rows = dump(elements, set)?;
            if !rows.is_empty() {
                table.elements.insert(set, rows);
            }
        }
    }
    table.generation = (fingerprint::generation(elements)? == generation).then_some(generation);
    Ok(table)
}

/// The rows that come and go with sessions, and how long each still lives: those of a former process after a start. Rows
/// that do not fit our declaration, and those that end this millisecond, are left out.
///
/// # Errors
/// When the kernel refuses to list.
pub fn dynamic(elements: &mut Elements) -> Result<Vec<(Row, Duration)>, KernelError> {
    let mut rows = Vec::new();
    for set in Set::all().filter(|set| set.is_dynamic()) {
        let listed = listed(elements, set)?;
        rows.extend(listed.iter().filter_map(|element| living(set, element)));
    }
    Ok(rows)
}

fn living(set: Set, element: &Element) -> Option<(Row, Duration)> {
    let (key, value) = row(set, element)?;
    let left = element.expires.filter(|left| !left.is_zero())?;
    Some((Row { set, key, value }, left))
}

fn dump(elements: &mut Elements, set: Set) -> Result<BTreeMap<Key, Key>, KernelError> {
    let dumped = listed(elements, set)?;
    let rows = dumped.iter().filter(|element| !element.interval_end);
    Ok(rows.filter_map(|element| row(set, element)).collect())
}

/// The elements of a set; none where it does not exist.
///
/// # Errors
/// When the kernel refuses to list.
pub fn listed(elements: &mut Elements, set: Set) -> Result<Vec<Element>, KernelError> {
    // A table of another version may lack it; the rules' version differs then, and the set is declared.
    match elements.dump(set.text()) {
        Err(KernelError::Refused { errno, .. }) if errno.0 == libc::ENOENT => Ok(Vec::new()),
        dumped => dumped,
    }
}

/// Our rows: the elements of the static sets, the address services that `owned` names, and the firewall-mark services in our
/// ranges. Other programs' services are returned beside them. `made` are services that are known to be ours: they stay so
/// when another program flushes the table, and `owned` with it.
///
/// # Errors
/// When the kernel refuses to list.
pub fn read(
    ipvs: &mut Ipvs,
    table: &TableDump,
    marks: Marks,
    made: &BTreeSet<ServiceKey>,
) -> Result<(State, Vec<ListedService>), KernelError> {
    let mut state = State { elements: table.elements.clone(), ..State::default() };
    let mut others = Vec::new();
    for listed in ipvs.services()? {
        if made.contains(&listed.service.key) || ours(&state, &listed.service.key, marks) {
            let entries = listed.destinations.into_iter().map(|listed| {
                let connections = listed.active.saturating_add(listed.inactive);
                (listed.destination.address, DestinationState { destination: listed.destination, connections })
            });
            let destinations = entries.collect();
            state.services.insert(listed.service.key, Service { service: listed.service, destinations });
        } else {
            others.push(listed);
        }
    }
    Ok((state, others))
}

/// Marks in our ranges, and marks that our table names: `kernel.fwmark_base` may have been another when it was written.
fn ours(state: &State, key: &ServiceKey, marks: Marks) -> bool {
    match key {
        ServiceKey::Mark { mark, ipv6 } => {
            let family = if *ipv6 { Family::V6 } else { Family::V4 };
            let mark = Value::Mark(*mark);
            let counted = state.elements.get(&Set::once(Name::Misdirected));
            let persistent = state.elements.get(&Set { name: Name::Persistent, family });
            matches!(mark, Value::Mark(mark) if marks.ours(mark))
                || counted.is_some_and(|counted| counted.contains_key(&vec![mark]))
                || persistent.is_some_and(|rows| rows.values().any(|value| *value == [mark]))
        }
        ServiceKey::Tcp(address) => {
            let owned = state.elements.get(&Set::of(Name::Owned, address.ip()));
            let key = vec![Value::Address(address.ip()), Value::Port(address.port())];
            owned.is_some_and(|owned| owned.contains_key(&key))
        }
    }
}

/// An element as the kernel's bytes have it; `None` when they do not fit the set's declaration.
#[must_use]
pub fn row(set: Set, element: &Element) -> Option<(Key, Key)> {
    row_with(set, set.name.spec().key, element)
}

/// As [`row`], of a set that was declared with `key` instead of our key.
#[must_use]
pub fn row_with(set: Set, key: &[Field], element: &Element) -> Option<(Key, Key)> {
    let spec = set.name.spec();
    let (declared, mut key) = (key, fields(key, set.family, &element.key)?);
    if spec.kind == Kind::Interval {
        let end = match &element.key_end {
            Some(end) => fields(declared, set.family, end)?,
            None => key.clone(),
        };
        for (first, last) in key.iter_mut().zip(end) {
            *first = match (*first, last) {
                (Value::Port(from), Value::Port(to)) => Value::Ports(PortRange::new(from, to)?),
                // Ranges are compared byte by byte, so that nft turns their marks round.
                (Value::Mark(mark), _) => Value::Mark(FirewallMark(u32::from_be(mark.0))),
                (other, _) => other,
            };
        }
    }
    let value =
        if spec.value.is_empty() { Vec::new() } else { fields(spec.value, set.family, element.data.as_ref()?)? };
    Some((key, value))
}

/// The fields of a concatenation: each padded to 4 bytes; ports big-endian, marks in the host's order (not so beside a range).
fn fields(fields: &[Field], family: Family, mut bytes: &[u8]) -> Option<Key> {
    let mut key = Key::with_capacity(fields.len());
    for field in fields {
        key.push(match (field, family) {
            (Field::Address, Family::V4) => Value::Address(IpAddr::V4(Ipv4Addr::from(take::<4>(&mut bytes)?))),
            (Field::Address, Family::V6) => Value::Address(IpAddr::V6(Ipv6Addr::from(take::<16>(&mut bytes)?))),
            (Field::Port, _) => {
                let port = take::<2>(&mut bytes)?;
                // The last field of a dump may come without its padding.
                bytes = bytes.get(2..).unwrap_or_default();
                Value::Port(u16::from_be_bytes(port))
            }
            (Field::Mark, _) => Value::Mark(FirewallMark(u32::from_ne_bytes(take::<4>(&mut bytes)?))),
        });
    }
    bytes.is_empty().then_some(key)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_comes_back_as_it_was_written() {
        let set = Set { name: Name::Ranges, family: Family::V4 };
        let element = Element {
            key: vec![10, 0, 0, 100, 0x79, 0x18, 0, 0],
            key_end: Some(vec![10, 0, 0, 100, 0x7c, 0xff, 0, 0]),
            data: Some(0x0f73_0001_u32.to_ne_bytes().to_vec()),
            ..Element::default()
        };
        let (key, value) = row(set, &element).expect("a row");
        assert_eq!(key[1].to_string(), "31000-31999");
        assert_eq!(value, [Value::Mark(FirewallMark(0x0f73_0001))]);
    }

    #[test]
    fn a_mark_beside_a_range_is_in_network_order() {
        let element = Element {
            key: vec![0x0f, 0x70, 0, 1, 0x80, 0, 0, 0],
            key_end: Some(vec![0x0f, 0x70, 0, 1, 0xee, 0x47, 0, 0]),
            ..Element::default()
        };
        let (key, _) = row(Set::once(Name::ActiveRanges), &element).expect("a row");
        assert_eq!(key[0], Value::Mark(FirewallMark(0x0f70_0001)));
        assert_eq!(key[1].to_string(), "32768-60999");
    }

    #[test]
    fn bytes_that_do_not_fit_are_no_row() {
        let set = Set { name: Name::Landed, family: Family::V6 };
        for length in 0..20 {
            assert_eq!(row(set, &Element { key: vec![0; length], ..Element::default() }), None, "{length} bytes");
        }
        assert!(row(set, &Element { key: vec![0; 20], ..Element::default() }).is_some());
        assert_eq!(row(set, &Element { key: vec![0; 24], ..Element::default() }), None, "another version's longer key");
    }

    #[test]
    fn a_session_s_row_comes_back_with_what_is_left_of_its_time() {
        let set = Set { name: Name::Exact, family: Family::V4 };
        let element = Element {
            key: vec![10, 0, 0, 1, 10, 0, 0, 100, 0x79, 0x18, 0, 0],
            data: Some(0x0f70_0001_u32.to_ne_bytes().to_vec()),
            timeout: Some(Duration::from_secs(30)),
            expires: Some(Duration::from_secs(12)),
            ..Element::default()
        };
        let (row, left) = living(set, &element).expect("a row");
        assert_eq!((row.key[2], left), (Value::Port(31000), Duration::from_secs(12)));
        assert_eq!(living(set, &Element { expires: Some(Duration::ZERO), ..element.clone() }), None);
        assert_eq!(living(set, &Element { expires: None, ..element }), None);
    }
}
