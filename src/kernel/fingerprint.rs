//! The rules of our table as the kernel lists them, to notice when someone else changes them.
//!
//! nft's own events would say more (which process), but a listener makes the kernel build a message for each element of each
//! commit, our pinholes' too. The generation number says the same for one question a second: nothing was committed.

use std::collections::BTreeMap;

use super::abi::nf_tables::{
    NFT_MSG_GETCHAIN, NFT_MSG_GETGEN, NFT_MSG_GETRULE, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWGEN,
    NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE, NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_POLICY, NFTA_CHAIN_TABLE,
    NFTA_CHAIN_TYPE, NFTA_GEN_ID, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE, NFTA_TABLE_FLAGS,
    NFTA_TABLE_NAME,
};
use super::abi::nfnetlink::{NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFPROTO_UNSPEC, NLM_F_DUMP, NLM_F_REQUEST};
use super::netlink::{NFGENMSG_LEN, Writer, attributes, be32, messages, text_of};
use super::nftables::{Elements, TABLE};
use super::{Errno, KernelError};
use crate::state::fingerprint::{START, fnv};

const SUBSYS: u16 = NFNL_SUBSYS_NFTABLES << 8;

/// One chain: its hook and policy, and its rules, as hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ChainFingerprint {
    hook: u32,
    rules: Vec<u32>,
}

/// What the rules of our table are, without what changes when the same rules are written again (handles).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    flags: u32,
    chains: BTreeMap<String, ChainFingerprint>,
}

/// The number of the last commit to the ruleset, anybody's.
///
/// # Errors
/// What the kernel said.
pub fn generation(elements: &mut Elements) -> Result<u32, KernelError> {
    let mut request = Writer::default();
    let seq = elements.next_seq();
    let message = request.begin(SUBSYS | NFT_MSG_GETGEN, NLM_F_REQUEST, seq);
    request.nfgenmsg(NFPROTO_UNSPEC, 0);
    request.end(message);
    let tried = "asking nf_tables for its generation";
    let found = elements.ask(tried, seq, request.as_bytes(), |datagram| {
        bodies(datagram, NFT_MSG_NEWGEN).find_map(|body| be32(attribute(body, NFTA_GEN_ID)?))
    })?;
    found.ok_or_else(|| KernelError::Garbled { tried: tried.into(), why: "no NFTA_GEN_ID".into() })
}

/// The rules that stand; `None` when there is no table, or while the ruleset changes faster than it can be listed.
///
/// # Errors
/// What the kernel said.
pub fn read(elements: &mut Elements) -> Result<Option<Fingerprint>, KernelError> {
    let lists = |elements: &mut Elements| {
        let mut print = Fingerprint { flags: flags(elements)?, ..Fingerprint::default() };
        for (name, hook) in list(elements, NFT_MSG_GETCHAIN, parse_chains)? {
            print.chains.insert(name, ChainFingerprint { hook, rules: Vec::new() });
        }
        for (name, rule) in list(elements, NFT_MSG_GETRULE, parse_rules)? {
            print.chains.entry(name).or_default().rules.push(rule);
        }
        Ok(print)
    };
    match lists(elements) {
        Ok(print) => Ok(Some(print)),
        Err(KernelError::Refused { errno: Errno(libc::EINTR) | Errno::ENOENT, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Fingerprint {
    /// A hash of all of it.
    #[must_use]
    pub fn hash(&self) -> u32 {
        let mut hash = fnv(START, &self.flags.to_ne_bytes());
        for (name, chain) in &self.chains {
            hash = fnv(fnv(fnv(hash, name.as_bytes()), &[0]), &chain.hook.to_ne_bytes());
            hash = chain.rules.iter().fold(hash, |hash, rule| fnv(hash, &rule.to_ne_bytes()));
        }
        hash
    }

    /// What is different in `now`, in words, chain by chain.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut words = Vec::new();
        if self.flags != now.flags {
            words.push(format!("the table's flags are {:#x}, not {:#x}", now.flags, self.flags));
        }
        for (name, chain) in &self.chains {
            match now.chains.get(name) {
                None => words.push(format!("chain {name} is gone")),
                Some(other) if other.hook != chain.hook => {
                    words.push(format!("chain {name} has another hook or policy"))
                }
                Some(other) if other.rules.len() != chain.rules.len() => {
                    words.push(format!("chain {name} has {} rules, not {}", other.rules.len(), chain.rules.len()));
                }
                Some(other) if other != chain => words.push(format!("chain {name} has other rules")),
                Some(_) => {}
            }
        }
        let others = now.chains.keys().filter(|name| !self.chains.contains_key(*name));
        // The kernel drops what waits in a queue when any hook of its namespace goes.
        let hooked = "(one with a hook: control packets that wait are dropped then; TCP repeats them)";
        let word = |name| format!("chain {name} is not ours: nft delete chain inet {TABLE} {name} {hooked}");
        words.extend(others.map(word));
        words
    }
}

/// `table inet ftpdirector { flags dormant; }` switches every chain off.
fn flags(elements: &mut Elements) -> Result<u32, KernelError> {
    let mut request = Writer::default();
    let seq = elements.next_seq();
    let message = request.begin(SUBSYS | NFT_MSG_GETTABLE, NLM_F_REQUEST, seq);
    request.nfgenmsg(NFPROTO_INET, 0);
    request.string(NFTA_TABLE_NAME, TABLE);
    request.end(message);
    let found = elements.ask(&format!("nft list table inet {TABLE}"), seq, request.as_bytes(), |datagram| {
        bodies(datagram, NFT_MSG_NEWTABLE).find_map(|body| be32(attribute(body, NFTA_TABLE_FLAGS)?))
    })?;
    Ok(found.unwrap_or_default())
}

fn list<T>(elements: &mut Elements, kind: u16, parse: fn(&[u8]) -> Vec<T>) -> Result<Vec<T>, KernelError> {
    let mut request = Writer::default();
    let seq = elements.next_seq();
    let message = request.begin(SUBSYS | kind, NLM_F_REQUEST | NLM_F_DUMP, seq);
    request.nfgenmsg(NFPROTO_INET, 0);
    if kind == NFT_MSG_GETRULE {
        request.string(NFTA_RULE_TABLE, TABLE);
    }
    request.end(message);
    elements.list(&format!("nft list table inet {TABLE}"), seq, request.as_bytes(), parse)
}

/// Name, and a hash of hook, priority, type and policy, of the chains of our table. (A dump of chains is of every table of
/// the family.)
fn parse_chains(datagram: &[u8]) -> Vec<(String, u32)> {
    let ours = bodies(datagram, NFT_MSG_NEWCHAIN)
        .filter(|body| attribute(body, NFTA_CHAIN_TABLE).is_some_and(|name| text_of(name) == TABLE));
    ours.filter_map(|body| {
        let parts = [NFTA_CHAIN_HOOK, NFTA_CHAIN_TYPE, NFTA_CHAIN_POLICY];
        let hash = parts.iter().fold(START, |hash, &part| fnv(hash, attribute(body, part).unwrap_or_default()));
        Some((text_of(attribute(body, NFTA_CHAIN_NAME)?), hash))
    })
    .collect()
}

/// Chain, and a hash of the expressions, of each rule, in their order.
fn parse_rules(datagram: &[u8]) -> Vec<(String, u32)> {
    let rule = |body| {
        let expressions = attribute(body, NFTA_RULE_EXPRESSIONS).unwrap_or_default();
        Some((text_of(attribute(body, NFTA_RULE_CHAIN)?), fnv(START, expressions)))
    };
    bodies(datagram, NFT_MSG_NEWRULE).filter_map(rule).collect()
}

fn bodies(datagram: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    messages(datagram)
        .filter(move |message| message.kind == SUBSYS | kind)
        .filter_map(|message| datagram.get(message.body)?.get(NFGENMSG_LEN..))
}

fn attribute(body: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(chains: &[(&str, u32, &[u32])]) -> Fingerprint {
        let chain = |&(name, hook, rules): &(&str, u32, &[u32])| {
            (name.to_owned(), ChainFingerprint { hook, rules: rules.to_vec() })
        };
        Fingerprint { flags: 0, chains: chains.iter().map(chain).collect() }
    }

    #[test]
    fn what_is_different_is_said_chain_by_chain() {
        let ours = print(&[("control", 0, &[1, 2]), ("forward", 7, &[3, 4]), ("guard", 8, &[5]), ("open", 0, &[6])]);
        let now = print(&[("control", 0, &[]), ("evil", 1, &[9]), ("forward", 7, &[4, 3]), ("guard", 9, &[5])]);
        assert_eq!(
            ours.differences(&now),
            [
                "chain control has 0 rules, not 2",
                "chain forward has other rules",
                "chain guard has another hook or policy",
                "chain open is gone",
                "chain evil is not ours: nft delete chain inet ftpdirector evil (one with a hook: control packets that wait are \
                 dropped then; TCP repeats them)",
            ]
        );
        assert_ne!(ours.hash(), now.hash());
        assert_eq!(ours.differences(&ours), [""; 0]);
        let dormant = Fingerprint { flags: 1, ..ours.clone() };
        assert_ne!(ours.hash(), dormant.hash());
        assert_eq!(ours.differences(&dormant), ["the table's flags are 0x1, not 0x0"]);
    }

    #[test]
    fn lists_are_read_and_damage_does_not_panic() {
        let mut out = Writer::default();
        for (kind, table, chain) in [
            (NFT_MSG_NEWCHAIN, TABLE, "guard"),
            (NFT_MSG_NEWCHAIN, "docker", "guard"),
            (NFT_MSG_NEWRULE, TABLE, "open"),
        ] {
            let message = out.begin(SUBSYS | kind, 0, 1);
            out.nfgenmsg(NFPROTO_INET, 0);
            out.string(NFTA_CHAIN_TABLE, table);
            out.string(if kind == NFT_MSG_NEWRULE { NFTA_RULE_CHAIN } else { NFTA_CHAIN_NAME }, chain);
            out.attribute(NFTA_RULE_EXPRESSIONS, &[1, 2, 3, 4]);
            out.end(message);
        }
        let bytes = out.as_bytes();
        assert_eq!(parse_chains(bytes).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["guard"]);
        assert_eq!(parse_rules(bytes), [("open".to_owned(), fnv(START, &[1, 2, 3, 4]))]);
        for at in 0..bytes.len() {
            parse_chains(&bytes[..at]);
            parse_rules(&bytes[..at]);
        }
    }
}
