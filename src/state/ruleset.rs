//! The rules of `table inet ftpdirector`, rendered from `table.nft` (hooks and shared chains), `family.nft` (once a
//! family) and `nat.nft` (with the first NAT cluster).

use std::fmt::Write as _;
use std::time::Duration;

use super::fingerprint::{START, fnv};
use super::sets::{Family, Name, Set};
use crate::lvs::FirewallMark;

/// The table, as nft names it.
pub const TABLE: &str = "inet ftpdirector";

/// The prefix of what the rules log of data connections that nobody expected; that of those that landed is empty.
pub const UNEXPECTED: &[u8] = b"unexpected";

/// The counter of control packets that could not open their pinhole because `open4` or its like was full.
pub const FULL: &str = "doors_full";

/// The four classes of firewall marks: `base + class + index`, 0 ≤ index ≤ 0x3fff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// `kernel.fwmark_base`; its low 18 bits are 0.
    pub base: u32,
}

impl Marks {
    /// The bits that tell the class of one of our marks.
    pub const CLASS: u32 = 0xffff_0000;
    /// The highest index (clear of kube-proxy's 0x4000 and 0x8000, which it sets at priority 100 and above; below it
    /// [`Marks::BEGUN`] uses the first).
    pub const MAX_INDEX: u16 = 0x3fff;
    /// The bit of a queued packet whose connection's SYN came within the last minute.
    pub const BEGUN: u32 = 0x4000;
    /// The bit of a client's packet (NAT) behind which replies need not be held: see [`Marks::read`].
    pub const CALM: u32 = 0x8000;
    const TAG: u32 = 0x1_0000;
    const PERSISTENCE: u32 = 0x2_0000;
    const CONTROL: u32 = 0x3_0000;

    /// The mark that IPVS knows: one firewall-mark service per (cluster, VIP, server).
    #[must_use]
    pub fn data(self, index: u16) -> FirewallMark {
        FirewallMark(self.base | u32::from(index))
    }

    /// The mark of a control packet at POSTROUTING, same index.
    #[must_use]
    pub fn control(self, index: u16) -> FirewallMark {
        FirewallMark(self.base | Self::CONTROL | u32::from(index))
    }

    /// The mark of a control packet at PREROUTING, per (VIP, control port).
    #[must_use]
    pub fn tag(self, index: u16) -> FirewallMark {
        FirewallMark(self.base | Self::TAG | u32::from(index))
    }

    /// The mark of a cluster with persistence, per (cluster, VIP): same index as the tag of its first control port.
    #[must_use]
    pub fn persistence(self, index: u16) -> FirewallMark {
        FirewallMark(self.base | Self::PERSISTENCE | u32::from(index))
    }

    /// The mark that the daemon leaves on a client's packet for the rules behind the queue (NAT). `opens`: it opens the client's
    /// pinhole. `calm`: the replies that follow are told of and not held; otherwise they are held again.
    #[must_use]
    pub fn read(self, index: u16, opens: bool, calm: bool) -> FirewallMark {
        let FirewallMark(mark) = if opens { self.control(index) } else { self.tag(index) };
        FirewallMark(mark | if calm { Self::CALM } else { 0 })
    }

    /// The index of a control mark.
    #[must_use]
    pub fn control_index(self, mark: FirewallMark) -> Option<u16> {
        self.index(mark, Self::CONTROL)
    }

    /// The index of a data mark.
    #[must_use]
    pub fn data_index(self, mark: FirewallMark) -> Option<u16> {
        self.index(mark, 0)
    }

    /// The index of a tag.
    #[must_use]
    pub fn tag_index(self, mark: FirewallMark) -> Option<u16> {
        self.index(mark, Self::TAG)
    }

    /// Whether a firewall-mark service with this mark is ours.
    #[must_use]
    pub fn ours(self, mark: FirewallMark) -> bool {
        [0, Self::PERSISTENCE].iter().any(|&class| self.index(mark, class).is_some())
    }

    fn index(self, mark: FirewallMark, class: u32) -> Option<u16> {
        let index = u16::try_from(mark.0 & !Self::CLASS).ok()?;
        (mark.0 & Self::CLASS == self.base | class && index <= Self::MAX_INDEX).then_some(index)
    }
}

/// What the rules depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The ranges of firewall marks: `kernel.fwmark_base` and the four classes.
    pub marks: Marks,
    /// The NFQUEUE number; also the NFLOG group of landings.
    pub queue: u16,
    /// Whether any cluster is NAT.
    pub nat: bool,
    /// How long IPVS keeps an idle TCP connection (`ipvsadm -l --timeout`): the pinholes of a TLS session stay as long.
    pub idle: Duration,
    /// How long a pinhole stays open, with the control marks it is for; the first is the default for all others.
    pub pinhole_timeouts: Vec<(Duration, Vec<FirewallMark>)>,
    /// The networks that pinholes are opened for, other than single addresses; each once.
    pub networks: Vec<Network>,
    /// `limits.connection_packets`, packets a second.
    pub connection_packets: u32,
    /// `limits.client_packets`, packets a second.
    pub client_packets: u32,
    /// `limits.client_connections`, connections a second.
    pub client_connections: u32,
}

impl Rules {
    /// One nft transaction that replaces the rules, and keeps chains, sets and elements that are there; only `version` says
    /// from then on what rules these are.
    #[must_use]
    pub fn transaction(&self) -> String {
        let version = Set::once(Name::Version);
        let stamp = self.version();
        format!(
            "add table {TABLE}\nflush table {TABLE}\n{}flush set {TABLE} {version}\nadd element {TABLE} {version} {{ {stamp} }}\n",
            self.table()
        )
    }

    /// The table: sets, then chains.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("table {TABLE} {{\n");
        for set in Set::all() {
            let _ = writeln!(text, "\t{}", set.declaration());
        }
        let _ = writeln!(text, "\tcounter {FULL} {{ }}");
        text.push('\n');
        // nft reads top-down: a chain stands before the rules that jump to it, or anywhere in the same block.
        text.push_str(&self.fill(include_str!("table.nft")));
        for family in [Family::V4, Family::V6] {
            text.push('\n');
            let template = include_str!("family.nft")
                .replace("$through_networks\n", &self.through_networks(family))
                .replace("$blind_networks\n", &self.blind_networks(family));
            text.push_str(&self.fill(&of_family(&template, family)));
        }
        text.push('\n');
        text.push_str(&self.open());
        text.push('\n');
        text.push_str(&self.answer());
        if self.nat {
            text.push('\n');
            text.push_str(&self.fill(include_str!("nat.nft")));
        }
        text.push_str("}\n");
        text
    }

    /// A hash of the table (FNV-1a): other rules, other version.
    #[must_use]
    pub fn version(&self) -> FirewallMark {
        FirewallMark(fnv(START, self.table().as_bytes()))
    }

    fn fill(&self, template: &str) -> String {
        let class = |bits: u32| FirewallMark(self.marks.base | bits).to_string();
        let over = |rate: u32| format!("limit rate over {rate}/second burst {} packets", rate.saturating_mul(2));
        template
            // A bucket is full again after two seconds, as good as forgotten: see `over`.
            .replace("$refilled", "3s")
            // A client that opens one port again and again, and one that opens all of a range: see `landed`.
            .replace("$over_port", "limit rate over 10/second burst 50 packets")
            .replace("$over_landings", "limit rate over 1000/second burst 2000 packets")
            // What nobody expected, of one source and of all: see `tell_unexpected`.
            .replace("$over_stranger", "limit rate over 5/second burst 20 packets")
            .replace("$over_told", "limit rate over 100/second burst 200 packets")
            .replace("$over_connection", &over(self.connection_packets))
            .replace("$over_client", &over(self.client_packets))
            .replace("$over_begins", &over(self.client_connections))
            .replace("$over_slowed", &over((self.client_connections / 20).max(1)))
            .replace("$begun", &FirewallMark(Marks::BEGUN).to_string())
            .replace("$not_begun", &FirewallMark(!Marks::BEGUN).to_string())
            .replace("$idle", &format!("{}s", self.idle.as_secs().max(1)))
            .replace("$calm", &FirewallMark(Marks::CALM).to_string())
            .replace("$bare", &FirewallMark(!(Marks::BEGUN | Marks::CALM)).to_string())
            .replace("$queue", &self.queue.to_string())
            .replace("$replies_log", &reply_group(self.queue).to_string())
            .replace("$log", &self.queue.to_string())
            .replace("$class", &FirewallMark(Marks::CLASS).to_string())
            .replace("$tag", &class(Marks::TAG))
            // A tag of no cluster, unless there are 16,384 of them.
            .replace("$calling", &class(Marks::TAG | u32::from(Marks::MAX_INDEX)))
            .replace("$control", &class(Marks::CONTROL))
            .replace("$data", &class(0))
            // CONTROL's two bits off: a control mark becomes the data mark of the same index.
            .replace("$to_data", &FirewallMark(!Marks::CONTROL).to_string())
    }
}

/// The NFLOG group of replies that are not held, beside that of landings: the other of a pair of numbers.
#[must_use]
pub const fn reply_group(queue: u16) -> u16 {
    queue ^ 1
}

fn of_family(template: &str, family: Family) -> String {
    let (ip, suffix, raw_saddr, network) = match family {
        Family::V4 => ("ip", "4", "@nh,96,32", ""),
        Family::V6 => ("ip6", "6", "@nh,64,128", " & ffff:ffff:ffff:ffff::"),
    };
    let client = |address: &str| format!("{ip} {address}{network}");
    let template = template.replace("$raw_saddr", raw_saddr).replace("$client_daddr", &client("daddr"));
    let template = template.replace("$client_saddr", &client("saddr"));
    template.replace("$ip", ip).replace("$4", suffix)
}

/// A length of network that pinholes are opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// The family of its addresses.
    pub family: Family,
    /// The length of the prefix: less than 32 (IPv4) or 128 (IPv6).
    pub length: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let ten = (Duration::from_secs(10), vec![]);
        let thirty = (Duration::from_secs(30), vec![FirewallMark(0x0f73_0001)]);
        Rules {
            marks: Marks { base: 0x0f70_0000 },
            queue: 2100,
            nat: true,
            idle: Duration::from_secs(900),
            pinhole_timeouts: vec![ten, thirty],
            networks: vec![Network { family: Family::V4, length: 24 }, Network { family: Family::V6, length: 0 }],
            connection_packets: 100,
            client_packets: 5000,
            client_connections: 1000,
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        assert!(!rules().table().contains('$'), "{}", rules().table());
    }

    #[test]
    fn what_is_unexpected_is_logged_under_its_prefix() {
        let prefix = std::str::from_utf8(UNEXPECTED).expect("text");
        assert!(rules().table().contains(&format!("log prefix \"{prefix}\" group 2100 snaplen 128")));
    }

    #[test]
    fn the_version_follows_the_rules() {
        let other = Rules { queue: 2101, ..rules() };
        assert_ne!(rules().version(), other.version());
        assert_eq!(rules().version(), rules().version());
    }

    #[test]
    fn marks_know_their_class() {
        let marks = Marks { base: 0x0f70_0000 };
        assert_eq!(marks.control(7), FirewallMark(0x0f73_0007));
        assert_eq!(marks.control_index(FirewallMark(0x0f73_0007)), Some(7));
        assert_eq!(marks.control_index(FirewallMark(0x0f70_0007)), None);
        assert_eq!(marks.data_index(FirewallMark(0x0f70_4000)), None);
        assert!(marks.ours(marks.data(1)) && !marks.ours(marks.control(1)));
    }

    #[test]
    fn more_timeouts_come_before_the_default() {
        let table = rules().table();
        let at = |text: &str| table.find(text).expect(text);
        assert!(at("timeout 30000ms") < at("update @open4 { ip saddr . meta mark timeout 10000ms }"));
    }
}
