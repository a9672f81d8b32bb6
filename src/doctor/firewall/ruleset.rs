//! `nft -j list ruleset` as chains of rules; the rules' own expressions stay JSON.

use std::collections::BTreeMap;

use serde_json::Value;

/// Chains, sets and maps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruleset {
    /// In the order of the listing.
    pub chains: Vec<Chain>,
    /// Elements of the named sets and maps: family, table, name.
    pub sets: BTreeMap<(String, String, String), Vec<Value>>,
    /// Conntrack helpers that objects name: family, table, name → type.
    pub helpers: BTreeMap<(String, String, String), String>,
}

/// A chain of a table, base chain or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// `inet`, `ip`, `ip6`, …
    pub family: String,
    /// Name of its table.
    pub table: String,
    /// The name of the chain.
    pub name: String,
    /// The hook and priority of a base chain; `None`: other chains jump to it.
    pub base: Option<Base>,
    /// Its rules, in the order in which packets meet them.
    pub rules: Vec<Rule>,
}

/// The hook, priority and policy of a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// nft's name of the hook: `prerouting`, `input`, `forward`, `output`, `postrouting`.
    pub hook: String,
    /// Priority of the chain: at one hook lower ones come first.
    pub priority: i64,
    /// Whether the policy of the chain is drop.
    pub drops: bool,
}

/// A rule of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// nft's number of the rule (`nft -a`), unique in its table.
    pub handle: u64,
    /// Its matches and statements, as nft's JSON has them.
    pub expressions: Vec<Value>,
    /// As `nft list` shows it.
    pub text: String,
}

/// A rule, or a chain's policy, as a person finds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RulePlace {
    /// Family, table and chain: `inet filter input`.
    pub chain: String,
    /// nft's number of the rule; `None`: the chain's policy.
    pub handle: Option<u64>,
    /// The rule as nft prints it.
    pub text: String,
}

impl std::fmt::Display for RulePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.handle {
            Some(handle) => write!(f, "nft chain {}: {} # handle {handle}", self.chain, self.text),
            None => write!(f, "nft chain {}: policy drop", self.chain),
        }
    }
}

impl RulePlace {
    /// Whether iptables-nft made the chain: then the cure is written in iptables words.
    pub fn iptables(&self) -> Option<(&'static str, &str, &str)> {
        let mut words = self.chain.split(' ');
        let (family, table, chain) = (words.next()?, words.next()?, words.next()?);
        let command = match family {
            "ip" => "iptables",
            "ip6" => "ip6tables",
            _ => return None,
        };
        let built_in = ["INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"].contains(&chain);
        (built_in && ["filter", "mangle", "raw", "security"].contains(&table)).then_some((command, table, chain))
    }
}

impl Chain {
    /// Where a rule stands; without a rule, where the chain's policy stands.
    pub fn place(&self, rule: Option<&Rule>) -> RulePlace {
        RulePlace {
            chain: format!("{} {} {}", self.family, self.table, self.name),
            handle: rule.map(|rule| rule.handle),
            text: rule.map(|rule| rule.text.clone()).unwrap_or_default(),
        }
    }
}

impl Ruleset {
    /// Adds what `nft -j list …` and the matching `nft -a list …` say.
    pub fn add(&mut self, json: &Value, text: &str) {
        let texts = texts(text);
        let objects = json.get("nftables").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for object in objects {
            let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) else { continue };
            match kind.as_str() {
                "chain" => self.chains.push(chain(body)),
                "set" | "map" => {
                    let elements = body.get("elem").and_then(Value::as_array).cloned().unwrap_or_default();
                    self.sets.insert(name(body), elements);
                }
                "ct helper" => {
                    self.helpers.insert(name(body), word(body, "type"));
                }
                "rule" => self.rule(body, &texts),
                _ => {}
            }
        }
    }

    fn rule(&mut self, body: &Value, texts: &BTreeMap<(String, u64), String>) {
        let handle = body.get("handle").and_then(Value::as_u64).unwrap_or_default();
        let expressions = body.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
        let (family, table, name) = (word(body, "family"), word(body, "table"), word(body, "chain"));
        let text = texts
            .get(&(format!("{family} {table}"), handle))
            .cloned()
            .unwrap_or_else(|| expressions.iter().map(Value::to_string).collect::<Vec<_>>().join(" "));
        let text = with_extensions(text, &expressions);
        let chain = self.chains.iter_mut().find(|c| c.family == family && c.table == table && c.name == name);
        if let Some(chain) = chain {
            chain.rules.push(Rule { handle, expressions, text });
        }
    }

    /// A chain of the same table.
    pub fn sibling(&self, chain: &Chain, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|c| c.family == chain.family && c.table == chain.table && c.name == name)
    }

    /// The elements of a named set of the same table.
    pub fn set(&self, chain: &Chain, name: &str) -> Option<&[Value]> {
        self.sets.get(&(chain.family.clone(), chain.table.clone(), name.to_owned())).map(Vec::as_slice)
    }
}

/// nft leaves out an iptables extension that it cannot translate: the text alone would mislead.
fn with_extensions(text: String, expressions: &[Value]) -> String {
    let named = expressions.iter().filter_map(|expression| {
        let xt = expression.get("xt")?;
        let (kind, name) = (xt["type"].as_str().unwrap_or("extension"), xt["name"].as_str().unwrap_or("unknown"));
        (name != "comment").then(|| format!(" [iptables {kind} {name}]"))
    });
    text + &named.collect::<String>()
}

fn word(body: &Value, key: &str) -> String {
    body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn name(body: &Value) -> (String, String, String) {
    (word(body, "family"), word(body, "table"), word(body, "name"))
}

fn chain(body: &Value) -> Chain {
    let base = body.get("hook").is_some().then(|| Base {
        kind: word(body, "type"),
        hook: word(body, "hook"),
        priority: body.get("prio").and_then(Value::as_i64).unwrap_or_default(),
        drops: word(body, "policy") == "drop",
    });
    let (family, table, name) = (word(body, "family"), word(body, "table"), word(body, "name"));
    Chain { family, table, name, base, rules: Vec::new() }
}

/// The rules' texts of `nft -a list …` by table and handle.
fn texts(listing: &str) -> BTreeMap<(String, u64), String> {
    let mut texts = BTreeMap::new();
    let mut table = String::new();
    for line in listing.lines() {
        let Some((text, handle)) = line.rsplit_once(" # handle ") else { continue };
        if let Some(words) = line.strip_prefix("table ") {
            table = words.split(" {").next().unwrap_or_default().to_owned();
        } else if let Ok(handle) = handle.trim().parse()
            // Two tabs: a rule, not a chain or a set, which have numbers of their own.
            && text.starts_with("\t\t")
        {
            texts.insert((table.clone(), handle), text.trim().to_owned());
        }
    }
    texts
}
