//! What becomes of a packet on its way through the chains of a hook. Where a rule cannot be decided both ways are
//! thought of, and the result is "not proved".

use serde_json::Value;

use super::extension::{Extension, extension};
use super::{Base, Chain, Holds, PacketClass, Rule, RulePlace, Ruleset};

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketFate {
    /// It passes every chain.
    Passes,
    /// This rule or policy drops it.
    Dropped(RulePlace),
    /// One of these may drop it.
    Unproved(Vec<RulePlace>),
}

/// What a rule on the way does to a packet, beside letting it pass or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Where the rule stands.
    pub place: RulePlace,
    /// Whether the packet meets it.
    pub meets: Holds,
    /// The statement, as nft's JSON has it.
    pub statement: Value,
}

/// How a packet fares in all chains on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Walked {
    /// What becomes of it.
    pub fate: PacketFate,
    /// `notrack`, `ct helper` and `mangle` statements on the way.
    pub effects: Vec<Effect>,
}

/// How a chain ends.
enum ChainEnd {
    Passed,
    Accepted,
    Dropped(RulePlace),
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    packet: &'a PacketClass,
    /// A rule that we cannot decide may have accepted it, in the base chain that is being walked.
    maybe_accepted: bool,
    suspects: Vec<RulePlace>,
    effects: Vec<Effect>,
}

/// Jumps deeper than this are not followed; the kernel allows 16.
const DEPTH: usize = 16;

/// Sends a packet through the filter and route chains of a hook that `stands` picks.
pub fn walk(ruleset: &Ruleset, packet: &PacketClass, hook: &str, stands: impl Fn(&Base) -> bool) -> Walked {
    let family = if packet.ipv6 { "ip6" } else { "ip" };
    let mut chains: Vec<(&Base, &Chain)> = ruleset
        .chains
        .iter()
        .filter(|chain| chain.family == "inet" || chain.family == family)
        .filter_map(|chain| Some((chain.base.as_ref()?, chain)))
        .filter(|(base, _)| base.hook == hook && base.kind != "nat" && stands(base))
        .collect();
    chains.sort_by_key(|(base, _)| base.priority);
    // Conntrack looks at a packet at -200 of these two hooks.
    let early = PacketClass { state: "", ..packet.clone() };
    let mut walk = Walk { ruleset, packet, maybe_accepted: false, suspects: Vec::new(), effects: Vec::new() };
    for (base, chain) in chains {
        walk.maybe_accepted = false;
        let tracked = base.priority > -200 || !matches!(hook, "prerouting" | "output");
        walk.packet = if tracked { packet } else { &early };
        let dropped = match walk.chain(chain, 0) {
            ChainEnd::Dropped(place) => Some(place),
            ChainEnd::Passed if base.drops => Some(chain.place(None)),
            _ => None,
        };
        match dropped {
            Some(place) if walk.maybe_accepted => walk.suspects.push(place),
            Some(place) => return Walked { fate: PacketFate::Dropped(place), effects: walk.effects },
            None => {}
        }
    }
    let fate = if walk.suspects.is_empty() { PacketFate::Passes } else { PacketFate::Unproved(walk.suspects) };
    Walked { fate, effects: walk.effects }
}

impl Walk<'_> {
    fn chain(&mut self, chain: &Chain, depth: usize) -> ChainEnd {
        for rule in &chain.rules {
            if let Some(end) = self.rule(chain, rule, depth) {
                return end;
            }
        }
        ChainEnd::Passed
    }

    /// How the walk through this chain ends here, if it does.
    fn rule(&mut self, chain: &Chain, rule: &Rule, depth: usize) -> Option<ChainEnd> {
        let mut meets = Holds::Yes;
        for expression in &rule.expressions {
            let Some((name, body)) = expression.as_object().and_then(|object| object.iter().next()) else { continue };
            match name.as_str() {
                "match" => meets = meets.min(self.packet.holds(body, chain, self.ruleset)),
                "limit" | "quota" | "ct count" | "connlimit" => meets = meets.min(Holds::Some),
                "xt" => match extension(rule, body, self.packet) {
                    Extension::Match(answer) => meets = meets.min(answer),
                    Extension::Verdict(name) => return self.verdict(chain, rule, (name, body), (meets, depth)),
                    Extension::Effect(statement, answer) => {
                        self.effects.push(Effect {
                            place: chain.place(Some(rule)),
                            meets: meets.min(answer),
                            statement,
                        });
                    }
                    Extension::Nothing => {}
                },
                "notrack" | "ct helper" | "mangle" => {
                    let (place, statement) = (chain.place(Some(rule)), expression.clone());
                    self.effects.push(Effect { place, meets, statement });
                }
                "vmap" => {
                    if let Some(end) = self.verdict_map(chain, rule, body, (meets, depth)) {
                        return Some(end);
                    }
                }
                "accept" | "drop" | "reject" | "return" | "jump" | "goto" | "queue" | "tproxy" => {
                    return self.verdict(chain, rule, (name, body), (meets, depth));
                }
                _ => {}
            }
            if meets == Holds::No {
                return None;
            }
        }
        None
    }

    fn verdict_map(&mut self, chain: &Chain, rule: &Rule, body: &Value, at: (Holds, usize)) -> Option<ChainEnd> {
        let (meets, depth) = at;
        let data = match body["data"].as_str() {
            Some(name) => self.ruleset.set(chain, name.trim_start_matches('@')).map(<[Value]>::to_vec),
            None => body["data"]["set"].as_array().cloned(),
        };
        for pair in data.unwrap_or_default() {
            let (Some(key), Some(verdict)) = (pair.get(0), pair.get(1).and_then(Value::as_object)) else { continue };
            let key = Value::Array(vec![key.clone()]);
            let meets = meets.min(self.packet.one_of(&body["key"], &key, chain, self.ruleset));
            if let Some((name, body)) = verdict.iter().next()
                && let Some(end) = self.verdict(chain, rule, (name, body), (meets, depth))
            {
                return Some(end);
            }
        }
        None
    }

    fn verdict(
        &mut self,
        chain: &Chain,
        rule: &Rule,
        (name, body): (&str, &Value),
        at: (Holds, usize),
    ) -> Option<ChainEnd> {
        let (meets, depth) = at;
        if meets == Holds::No {
            return None;
        }
        let end = match name {
            "accept" => ChainEnd::Accepted,
            "drop" | "reject" => ChainEnd::Dropped(chain.place(Some(rule))),
            "return" => ChainEnd::Passed,
            "jump" | "goto" if depth < DEPTH => {
                let target = body["target"].as_str().unwrap_or_default();
                let target = self.ruleset.sibling(chain, target)?;
                match self.chain(target, depth + 1) {
                    ChainEnd::Passed if name == "jump" => return None,
                    end => end,
                }
            }
            // Another program decides.
            _ => {
                self.suspects.push(chain.place(Some(rule)));
                ChainEnd::Accepted
            }
        };
        match (meets, end) {
            (Holds::Yes, end) => return Some(end),
            // A drop that is meant for some clients is meant.
            (Holds::Some, ChainEnd::Dropped(_)) => {}
            (_, ChainEnd::Dropped(place)) => self.suspects.push(place),
            // Later rules may not be reached.
            (_, ChainEnd::Accepted | ChainEnd::Passed) => self.maybe_accepted = true,
        }
        None
    }
}
