//! The sets and maps of our table as they are declared in the kernel, whichever version declared them.

use super::KernelError;
use super::abi::nf_tables::{
    NFT_MSG_GETSET, NFT_MSG_NEWSET, NFT_SET_ANONYMOUS, NFT_SET_EVAL, NFT_SET_MAP, NFT_SET_TIMEOUT, NFTA_SET_DATA_TYPE,
    NFTA_SET_DESC, NFTA_SET_DESC_SIZE, NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE, NFTA_SET_NAME, NFTA_SET_TABLE,
};
use super::abi::nfnetlink::{NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NLM_F_DUMP, NLM_F_REQUEST};
use super::netlink::{NFGENMSG_LEN, Writer, attributes, be32, messages, text_of};
use super::nftables::{Elements, TABLE};
use crate::state::sets::{Family, Field, Kind, Name, Set};

const SUBSYS: u16 = NFNL_SUBSYS_NFTABLES << 8;

/// A set or map that stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedSet {
    /// The name of the set, like `open4`.
    pub name: String,
    /// nft's number for the type of its key.
    pub key: u32,
    /// nft's number for the type of its value; 0 in a set.
    pub value: u32,
    /// Flags of the set: `NFT_SET_…` of linux/netfilter/nf_tables.h.
    pub flags: u32,
    /// How many elements it may have; 0: no limit.
    pub size: u32,
}

/// Every set and map of our table but those inside rules, `nft list sets table inet ftpdirector`.
///
/// # Errors
/// As `Elements::dump`.
pub fn standing(elements: &mut Elements) -> Result<Vec<ListedSet>, KernelError> {
    let mut request = Writer::default();
    let seq = elements.next_seq();
    let message = request.begin(SUBSYS | NFT_MSG_GETSET, NLM_F_REQUEST | NLM_F_DUMP, seq);
    request.nfgenmsg(NFPROTO_INET, 0);
    request.string(NFTA_SET_TABLE, TABLE);
    request.end(message);
    elements.list(&format!("nft list sets table inet {TABLE}"), seq, request.as_bytes(), parse)
}

fn parse(datagram: &[u8]) -> Vec<ListedSet> {
    let bodies = messages(datagram)
        .filter(|message| message.kind == SUBSYS | NFT_MSG_NEWSET)
        .filter_map(|message| datagram.get(message.body)?.get(NFGENMSG_LEN..));
    bodies.filter_map(set).collect()
}

fn set(body: &[u8]) -> Option<ListedSet> {
    let find = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload);
    let number = |wanted| find(wanted).and_then(be32).unwrap_or_default();
    let ours = text_of(find(NFTA_SET_TABLE)?) == TABLE;
    let flags = number(NFTA_SET_FLAGS);
    let description = find(NFTA_SET_DESC).unwrap_or_default();
    let size = attributes(description).find(|(kind, _)| *kind == NFTA_SET_DESC_SIZE).and_then(|(_, size)| be32(size));
    let standing = ListedSet {
        name: text_of(find(NFTA_SET_NAME)?),
        key: number(NFTA_SET_KEY_TYPE),
        value: number(NFTA_SET_DATA_TYPE),
        flags,
        size: size.unwrap_or_default(),
    };
    (ours && flags & NFT_SET_ANONYMOUS == 0).then_some(standing)
}

impl ListedSet {
    /// Whether its elements mean what those of `set` mean.
    #[must_use]
    pub fn like(&self, set: Set) -> bool {
        let spec = set.name.spec();
        self.name == set.text()
            && self.key == type_of(spec.key, AddressType::of(set))
            && self.value == type_of(spec.value, AddressType::of(set))
    }

    /// Whether the set is declared as `set`, whose rows come and go with sessions: the kernel takes that declaration again.
    #[must_use]
    pub fn is_declared(&self, set: Set) -> bool {
        let spec = set.name.spec();
        let map = if spec.value.is_empty() { 0 } else { NFT_SET_MAP };
        let flags = match spec.kind {
            Kind::Timeout => NFT_SET_TIMEOUT | map,
            Kind::Dynamic => NFT_SET_TIMEOUT | NFT_SET_EVAL | map,
            _ => return false,
        };
        self.like(set) && self.flags == flags && set.declaration().contains(&format!(" size {};", self.size))
    }

    /// Whether it is `set` with `key` instead of our key.
    #[must_use]
    pub fn like_with(&self, set: Set, key: &[Field]) -> bool {
        self.key == type_of(key, AddressType::of(set))
            && self.value == type_of(set.name.spec().value, AddressType::of(set))
    }
}

/// How a set holds addresses.
#[derive(Clone, Copy)]
enum AddressType {
    V4,
    V6,
    /// As numbers: raw payload.
    Raw,
}

impl AddressType {
    fn of(set: Set) -> Self {
        match (set.name, set.family) {
            (Name::TunnelOpen, _) => Self::Raw,
            (_, Family::V4) => Self::V4,
            (_, Family::V6) => Self::V6,
        }
    }
}

/// nft's number for a concatenation: 6 bits a field (`enum datatypes` in its datatype.h; users' tables depend on it).
fn type_of(fields: &[Field], addresses: AddressType) -> u32 {
    let number = |field: &Field| match (field, addresses) {
        (Field::Address, AddressType::V4) => 7,
        (Field::Address, AddressType::V6) => 8,
        (Field::Address, AddressType::Raw) => 4,
        (Field::Port, _) => 13,
        (Field::Mark, _) => 19,
    };
    fields.iter().fold(0, |all, field| all << 6 | number(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(table: &str, flags: u32, name: &str, key: u32) -> Vec<u8> {
        let mut out = Writer::default();
        let message = out.begin(SUBSYS | NFT_MSG_NEWSET, 0, 1);
        out.nfgenmsg(NFPROTO_INET, 0);
        out.string(NFTA_SET_TABLE, table);
        out.string(NFTA_SET_NAME, name);
        out.attribute(NFTA_SET_FLAGS, &flags.to_be_bytes());
        out.attribute(NFTA_SET_KEY_TYPE, &key.to_be_bytes());
        out.end(message);
        out.as_bytes().to_vec()
    }

    #[test]
    fn our_named_sets_are_listed_and_damage_does_not_panic() {
        let open = listed(TABLE, 0x10, "open4", 7 << 6 | 19);
        let all = [open, listed(TABLE, NFT_SET_ANONYMOUS, "__set0", 19), listed("docker", 0, "open4", 19)].concat();
        let found = parse(&all);
        assert_eq!(found, [ListedSet { name: "open4".into(), key: 467, flags: 0x10, ..ListedSet::default() }]);
        assert!(found[0].like(Set { name: Name::Open, family: Family::V4 }));
        assert!(!found[0].like(Set { name: Name::TunnelOpen, family: Family::V4 }));
        (0..all.len()).for_each(|at| drop(parse(&all[..at])));
    }

    #[test]
    fn the_same_bytes_of_another_type_are_another_set() {
        let standing = |key| ListedSet { name: "vips4".into(), key, ..ListedSet::default() };
        let set = Set { name: Name::Vips, family: Family::V4 };
        assert!(standing(7).like(set));
        assert!(!standing(19).like(set), "a mark has four bytes too");
    }

    #[test]
    fn what_is_declared_as_ours_may_stay() {
        let set = Set { name: Name::Exact, family: Family::V4 };
        let ours = ListedSet { name: "exact4".into(), key: 0x071cd, value: 19, flags: 0x18, size: 1_048_576 };
        assert!(ours.is_declared(set));
        let others = [ListedSet { flags: 0x38, ..ours.clone() }, ListedSet { size: 65_536, ..ours.clone() }];
        assert!(others.iter().all(|other| other.like(set) && !other.is_declared(set)));
        assert!(!ListedSet { key: 0x071d3, ..ours }.is_declared(set));
    }
}
