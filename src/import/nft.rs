//! The rules of nft that set marks, from `nft list ruleset`, a file for `nft -f`, or a script.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::found::{Found, MarkRule, Place};
use super::text::{NFT, Values, definition, number, port, shown, words};
use crate::lvs::PortRange;

/// The most addresses or ports of one set.
const ELEMENTS: usize = 1024;
/// The most words that named sets stand for, in all rules together.
const SPLICED: usize = 100_000;

/// Reads a ruleset.
pub(super) fn read(file: &Rc<str>, text: &str, found: &mut Found) {
    let statements = statements(file, text);
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // A set may stand behind the rule that uses it.
    let mut set = None;
    for (_, words) in &statements {
        match words.as_slice() {
            [kind, name, brace] if kind == "set" && brace == "{" => set = Some(name.clone()),
            [key, sign, rest @ ..] if key == "elements" && sign == "=" => {
                if let Some(name) = set.take() {
                    sets.insert(format!("@{name}"), rest.to_vec());
                }
            }
            _ => {}
        }
    }
    let mut left = SPLICED;
    for (place, mut words) in statements {
        let marks = words.iter().any(|word| word == "mark");
        for at in (0..words.len()).rev().filter(|_| marks) {
            if let Some(elements) = sets.get(&words[at]).filter(|elements| elements.len() <= left) {
                left -= elements.len();
                words.splice(at..=at, elements.iter().cloned());
            }
        }
        rule(&place, &words, found);
    }
}

/// A line, or several while a set in it is open.
fn statements(file: &Rc<str>, text: &str) -> Vec<(Place, Vec<String>)> {
    let (mut values, mut statements) = (Values::default(), Vec::new());
    let (mut open, mut current, mut begun) = (0_usize, Vec::new(), 1);
    for (index, line) in text.lines().enumerate() {
        let line = values.expand(line).into_owned();
        let defined =
            line.trim_start().strip_prefix("define ").map(|rest| rest.replacen(" =", "=", 1).replacen("= ", "=", 1));
        if let Some((name, value)) = defined.as_deref().map(str::trim).and_then(definition) {
            values.set(name, value);
            continue;
        }
        if current.is_empty() {
            begun = index + 1;
        }
        let here = words(&line, &NFT);
        let last = here.len().saturating_sub(1);
        for (at, word) in here.into_iter().enumerate() {
            let place = || Place { file: Rc::clone(file), line: begun };
            match word.as_str() {
                // The brace of a table, chain or set, unless it is that of `elements = {`.
                "{" if at == last && open == 0 && current.last().is_none_or(|before| before != "=") => {
                    current.push(word);
                    statements.push((place(), std::mem::take(&mut current)));
                }
                "}" if open == 0 => statements.push((place(), std::mem::take(&mut current))),
                ";" if open == 0 => statements.push((place(), std::mem::take(&mut current))),
                _ => {
                    match word.as_str() {
                        "{" => open += 1,
                        "}" => open -= 1,
                        _ => {}
                    }
                    current.push(word);
                }
            }
        }
        if open == 0 && !current.is_empty() {
            statements.push((Place { file: Rc::clone(file), line: begun }, std::mem::take(&mut current)));
        }
    }
    statements.retain(|(_, words)| !words.is_empty());
    statements
}

/// Reads one rule, if it sets a mark.
pub(super) fn rule(place: &Place, words: &[String], found: &mut Found) {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let sets = |at: &usize| {
        word(*at) == "mark" && word(at + 1) == "set" && at.checked_sub(1).is_none_or(|before| word(before) != "ct")
    };
    let Some(at) = (0..words.len()).find(sets) else { return };
    let written = format!("the nft rule `{}`", shown(&words.join(" ")));
    let Some(mark) = number(word(at + 2)) else {
        if words.iter().any(|word| matches!(word.as_str(), "21" | "ftp")) {
            found.remarks.left_out(format!("{place}: {written}: its mark is no number."));
        }
        return;
    };
    let mut rule =
        MarkRule { place: place.clone(), written, mark, addresses: Vec::new(), ports: Vec::new(), unread: None };
    let mut udp = false;
    let mut next = 0;
    while next < at {
        let (key, after) = (word(next), word(next + 1));
        if !matches!(key, "daddr" | "dport" | "saddr" | "sport" | "iifname" | "iif" | "l4proto") {
            udp |= key == "udp";
            next += 1;
            continue;
        }
        let negated = after == "!=";
        let (values, end) = operands(words, next + 1 + usize::from(negated || after == "=="));
        let read = match key {
            _ if negated => false,
            "daddr" => networks(&values).map(|networks| rule.addresses.extend(networks)).is_some(),
            "dport" => ranges(&values).map(|ranges| rule.ports.extend(ranges)).is_some(),
            "l4proto" => {
                udp |= !values.contains(&"tcp");
                true
            }
            _ => false,
        };
        if !read && rule.unread.is_none() {
            let sign = if negated { "!= " } else { "" };
            rule.unread = Some(shown(&format!("{key} {sign}{}", values.join(" "))));
        }
        next = end;
    }
    if !udp {
        found.add_mark(rule);
    }
}

/// The value at `begin`, or those of the set that begins there, and where they end.
fn operands(words: &[String], begin: usize) -> (Vec<&str>, usize) {
    let rest = words.get(begin..).unwrap_or_default();
    if rest.first().is_none_or(|word| word != "{") {
        return (rest.iter().take(1).map(String::as_str).collect(), begin + 1);
    }
    let length = rest.iter().position(|word| word == "}").unwrap_or(rest.len());
    let values = rest.iter().take(length).skip(1).map(String::as_str).filter(|word| *word != ",").take(ELEMENTS);
    (values.collect(), begin + length + 1)
}

fn networks(values: &[&str]) -> Option<Vec<IpNet>> {
    let one = |text: &&str| text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse()).ok();
    (!values.is_empty()).then(|| values.iter().map(one).collect::<Option<_>>()).flatten()
}

fn ranges(values: &[&str]) -> Option<Vec<PortRange>> {
    let one = |text: &&str| match text.split_once('-') {
        Some((first, last)) if port(text).is_none() => PortRange::new(port(first)?, port(last)?),
        _ => port(text).and_then(|port| PortRange::new(port, port)),
    };
    (!values.is_empty()).then(|| values.iter().map(one).collect::<Option<_>>()).flatten()
}
