//! Firewall marks: ours, in other hands.

use serde_json::Value;

use super::super::firewall::Chain;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::lvs::ForwardingMethod;
use crate::state::Marks;

/// Others' rules that use or overwrite our marks, and routing that looks at them.
pub fn marks(facts: &Facts) -> Vec<Finding> {
    let Some(config) = &facts.config else { return Vec::new() };
    let marks = Marks { base: config.kernel.fwmark_base };
    let mut findings: Vec<Finding> = facts
        .ruleset
        .chains
        .iter()
        .flat_map(|chain| {
            chain.rules.iter().filter_map(move |rule| {
                let used = rule.expressions.iter().any(|expression| uses(expression, marks));
                let overwrites = rule.expressions.iter().any(sets_mark) && after_ours(chain);
                let place = chain.place(Some(rule));
                if used {
                    return Some(
                        Finding::note("another rule uses a firewall mark of our ranges")
                            .seen(place.to_string())
                            .means(
                                "packets of that rule are taken for data connections of ours, or the other way round",
                            )
                            .cure("move one of the two: `kernel.fwmark_base` in the file, or the mark in that rule"),
                    );
                }
                overwrites.then(|| {
                    Finding::warning("a rule after ours sets the firewall mark, and may overwrite ours")
                .seen(place.to_string())
                .means("where it matches FTP's packets IPVS sends data connections to no server, or to a wrong one")
                .cure("let the rule match other packets only, or move the chain before priority -95 of prerouting")
                })
            })
        })
        .collect();
    findings.extend(rerouting(facts));
    let policies =
        facts.policies.iter().filter(|policy| policy.mark.is_some_and(|(mark, mask)| touches(mark, mask, marks)));
    findings.extend(policies.map(|policy| {
        Finding::note("a routing rule matches bits of our firewall marks")
            .seen(format!("ip rule: {}", policy.text))
            .means("packets of ours may be routed by that rule's table instead of the main one")
            .cure("move one of the two: `kernel.fwmark_base` in the file, or the rule's mark")
    }));
    findings
}

/// `type route` chains at output that set marks: the kernel routes the packet again, and in DR its destination is
/// still the VIP (`ip_route_me_harder`).
fn rerouting(facts: &Facts) -> impl Iterator<Item = Finding> {
    let dr = facts.clusters().iter().any(|cluster| cluster.forwarding == ForwardingMethod::Dr);
    let chains = facts.ruleset.chains.iter().filter(move |chain| {
        dr && chain.base.as_ref().is_some_and(|base| base.kind == "route" && base.hook == "output")
    });
    chains.flat_map(|chain| chain.rules.iter().filter(|rule| rule.expressions.iter().any(sets_mark)).map(|rule| {
        Finding::warning("a rule at output changes the mark, and so the route, of packets")
            .seen(chain.place(Some(rule)).to_string())
            .means("DR packets that it matches are routed again, to the VIP: into the director instead of to the server")
            .cure("let the rule match only packets of this machine itself, for example `meta skuid …` or `ip daddr != VIP`")
    }))
}

/// Whether a chain runs between our marking (prerouting, -95) and IPVS (input, 99).
fn after_ours(chain: &Chain) -> bool {
    chain.base.as_ref().is_some_and(|base| match base.hook.as_str() {
        "prerouting" => base.priority >= -95 && base.kind != "nat",
        "input" => base.priority < 99,
        _ => false,
    })
}

/// `meta mark set …`, unless it keeps the bits that it does not mean.
fn sets_mark(expression: &Value) -> bool {
    let mangle = &expression["mangle"];
    mangle["key"]["meta"]["key"] == "mark" && mangle["value"].get("|").is_none()
}

/// Whether a statement compares the mark with, or sets it to, a value of our ranges.
fn uses(expression: &Value, marks: Marks) -> bool {
    let is_mark = |value: &Value| value["meta"]["key"] == "mark" || value["ct"]["key"] == "mark";
    let ours = |value: &Value| {
        value.as_u64().and_then(|mark| u32::try_from(mark).ok()).is_some_and(|mark| touches(mark, u32::MAX, marks))
    };
    let mangle = &expression["mangle"];
    let matched = &expression["match"];
    is_mark(&mangle["key"]) && ours(&mangle["value"])
        || is_mark(&matched["left"]) && (ours(&matched["right"]) || ours(&matched["right"]["prefix"]["addr"]))
}

/// Whether some mark of ours (four classes, 14 bits of index) could equal `mark` under `mask`.
const fn touches(mark: u32, mask: u32, marks: Marks) -> bool {
    const FREE: u32 = 0x3_0000 | Marks::MAX_INDEX as u32;
    let fixed = mask & !FREE;
    // A mask of index bits alone would match us by chance only where it asks for a bit.
    mask != 0 && (marks.base & fixed) == (mark & fixed) && (fixed & marks.base != 0 || mark & mask != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_ours_are_told_from_others() {
        let marks = Marks { base: 0x0f70_0000 };
        for (mark, mask, expected) in [
            (0x0f70_0001, u32::MAX, true),
            (0x0f73_3fff, u32::MAX, true),
            (0x0f70_4000, u32::MAX, false),
            (0x0f74_0000, u32::MAX, false),
            (0x4000, 0x4000, false),
            (0x1, 0xffff, true),
            (0x0ff0_0000, 0x0ff0_0000, false),
            (0x0f00_0000, 0x0f00_0000, true),
        ] {
            assert_eq!(touches(mark, mask, marks), expected, "{mark:#x}/{mask:#x}");
        }
    }
}
