//! A table that another version has made becomes ours: which of its sets are deleted, and which rows ours begin with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::sets::{Key, Kind, Name, Set, Value};
use super::{Rules, TABLE};

/// Elements on one line of nft's input.
const LINE: usize = 500;

/// A row as it goes into a set that was made a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The key of the element.
    pub key: Key,
    /// Its value; empty in a set.
    pub value: Key,
    /// How long it still lives; `None`: for ever. Milliseconds resolution.
    pub left: Option<Duration>,
    /// Packets and bytes, where elements are counted.
    pub counted: (u64, u64),
}

/// What else the transaction does that writes the rules; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// The names of sets that stand and are deleted, with their elements.
    pub gone: Vec<String>,
    /// What is in our sets from the first moment on.
    pub rows: BTreeMap<Set, Vec<Kept>>,
}

impl Rules {
    /// [`Rules::transaction`] for a table with other sets: at no moment there is a packet that finds its row in neither.
    #[must_use]
    pub fn exchange(&self, exchange: &Exchange) -> String {
        let flush = format!("flush table {TABLE}\n");
        let deleted: String = exchange.gone.iter().map(|name| format!("delete set {TABLE} {name}\n")).collect();
        let mut text = self.transaction().replacen(&flush, &(flush.clone() + &deleted), 1);
        for (set, rows) in &exchange.rows {
            for line in rows.chunks(LINE) {
                let elements: Vec<_> = line.iter().map(|row| row.element(*set)).collect();
                let _ = writeln!(text, "add element {TABLE} {set} {{ {} }}", elements.join(", "));
            }
        }
        text
    }
}

impl Kept {
    /// The element as nft reads it.
    fn element(&self, set: Set) -> String {
        let mut text = fields(set, &self.key);
        if let Some(left) = self.left {
            // Zero would mean for ever.
            let _ = write!(text, " timeout {}ms", left.as_millis().max(1));
        }
        if set.name.spec().kind == Kind::Counted {
            let (packets, bytes) = self.counted;
            let _ = write!(text, " counter packets {packets} bytes {bytes}");
        }
        if !self.value.is_empty() {
            let _ = write!(text, " : {}", fields(set, &self.value));
        }
        text
    }
}

fn fields(set: Set, values: &[Value]) -> String {
    let text = |value: &Value| match (set.name, value) {
        // Raw payload is a number to nft.
        (Name::TunnelOpen, Value::Address(IpAddr::V4(address))) => format!("{:#010x}", address.to_bits()),
        (Name::TunnelOpen, Value::Address(IpAddr::V6(address))) => format!("{:#034x}", address.to_bits()),
        (_, value) => value.to_string(),
    };
    values.iter().map(text).collect::<Vec<_>>().join(" . ")
}

/// Whether nft reads `name` as the name of a set; the kernel takes any string.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./\\".contains(&byte);
    name.bytes().all(letters) && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lvs::{FirewallMark, PortRange};
    use crate::state::Marks;
    use crate::state::sets::Family;

    fn rules() -> Rules {
        Rules {
            marks: Marks { base: 0x0f70_0000 },
            queue: 2100,
            nat: false,
            idle: Duration::from_secs(900),
            pinhole_timeouts: vec![(Duration::from_secs(10), vec![])],
            networks: vec![],
            connection_packets: 100,
            client_packets: 5000,
            client_connections: 1000,
        }
    }

    fn address(text: &str) -> Value {
        Value::Address(text.parse().expect("an address"))
    }

    #[test]
    fn nothing_to_exchange_is_the_plain_transaction() {
        assert_eq!(rules().exchange(&Exchange::default()), rules().transaction());
    }

    #[test]
    fn sets_are_deleted_before_ours_are_made_and_rows_come_last() {
        let exact = Set { name: Name::Exact, family: Family::V4 };
        let row = Kept {
            key: vec![address("10.1.0.11"), address("10.0.0.100"), Value::Port(31000)],
            value: vec![Value::Mark(FirewallMark(0x0f70_0001))],
            left: Some(Duration::from_millis(12_345)),
            counted: (0, 0),
        };
        let exchange = Exchange { gone: vec!["exact4".into(), "old".into()], rows: [(exact, vec![row])].into() };
        let text = rules().exchange(&exchange);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"));
        assert!(at("flush table inet ftpdirector\ndelete set inet ftpdirector exact4\n") < at("map exact4 {"));
        assert!(at("delete set inet ftpdirector old\n") < at("map exact4 {"));
        let element =
            "add element inet ftpdirector exact4 { 10.1.0.11 . 10.0.0.100 . 31000 timeout 12345ms : 0x0f700001 }\n";
        assert!(at(element) > at("add element inet ftpdirector version"));
    }

    #[test]
    fn elements_are_written_as_nft_reads_them() {
        let kept = |key, left| Kept { key, value: vec![], left, counted: (3, 180) };
        let mark = Value::Mark(FirewallMark(0x0f73_0001));
        let of = |name, family, row: &Kept| row.element(Set { name, family });
        let pinhole = kept(vec![address("10.1.0.11"), mark], Some(Duration::from_micros(1)));
        assert_eq!(of(Name::TunnelOpen, Family::V4, &pinhole), "0x0a01000b . 0x0f730001 timeout 1ms");
        let pinhole = kept(vec![address("fd00::1"), mark], None);
        assert_eq!(of(Name::TunnelOpen, Family::V6, &pinhole), "0xfd000000000000000000000000000001 . 0x0f730001");
        let landed = kept(vec![mark, address("fd00::1")], None);
        assert_eq!(of(Name::Landed, Family::V6, &landed), "0x0f730001 . fd00::1 counter packets 3 bytes 180");
        let ports = Value::Ports(PortRange::new(31000, 31999).expect("a range"));
        let range = Kept { value: vec![mark], ..kept(vec![address("10.0.0.1"), ports], None) };
        assert_eq!(of(Name::Ranges, Family::V4, &range), "10.0.0.1 . 31000-31999 : 0x0f730001");
    }

    #[test]
    fn what_nft_would_not_read_is_no_name() {
        assert!(is_name("active_tls4") && is_name("_a-b.c"));
        assert!(!is_name("") && !is_name("4") && !is_name("a b") && !is_name("a;delete table inet filter"));
    }
}
