//! One value → its type, or what is wrong with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::problem::{Wrong, quoted};
use super::tree::{Node, NodeKind};
use crate::lvs::PortRange;

/// A value, or what is wrong with it.
pub(super) type Read<T> = Result<T, Wrong>;

/// The longest duration: what IPVS accepts of a timeout, `INT_MAX / HZ` seconds, in whole days.
const LONGEST: Duration = Duration::from_secs(24 * 86_400);

/// A word, quoted or not.
pub(super) fn text<'n>(node: &'n Node, noun: &str) -> Read<&'n str> {
    match &node.kind {
        NodeKind::Plain(text) | NodeKind::Quoted(text) if !text.is_empty() => Ok(text),
        other => Err(Wrong::new(format!("expected {noun}, found {}", kind(other)), format!("write {noun}"))),
    }
}

/// The kind of value that stands there, in words.
pub(super) fn kind(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Null => "nothing",
        NodeKind::Plain(_) => "a word",
        NodeKind::Quoted(text) if text.is_empty() => "an empty text",
        NodeKind::Quoted(_) => "a text",
        NodeKind::List(_) => "a list",
        NodeKind::Map(_) => "a mapping",
        NodeKind::Refused => "the value refused above",
    }
}

/// A whole number, decimal or `0x`.
pub(super) fn number(node: &Node, noun: &str, allowed: RangeInclusive<u64>) -> Read<u64> {
    let cure = format!("{noun}, {} to {}", allowed.start(), allowed.end());
    let text = match &node.kind {
        NodeKind::Plain(text) => text,
        NodeKind::Quoted(text) if digits(text).is_some() => {
            return Err(Wrong::new(format!("expected a number, found the text {}", quoted(text)), "remove the quotes"));
        }
        NodeKind::Quoted(text) => return Err(Wrong::new(format!("{} is no number", quoted(text)), cure)),
        other => return Err(Wrong::new(format!("expected a number, found {}", kind(other)), cure)),
    };
    match digits(text) {
        Some(number) if allowed.contains(&number) => Ok(number),
        Some(number) => Err(Wrong::new(format!("{number} is out of range"), cure)),
        None => {
            let zero = text.strip_prefix('0').is_some_and(|rest| digits(rest).is_some());
            let negative = text.strip_prefix('-').is_some_and(|rest| digits(rest).is_some());
            let what = match (zero, negative) {
                (true, _) => "starts with 0: octal or decimal?",
                (_, true) => "is negative",
                _ => "is no whole number",
            };
            Err(Wrong::new(format!("{} {what}", quoted(text)), cure))
        }
    }
}

/// A leading zero is refused: YAML 1.1 reads it as octal, YAML 1.2 as decimal.
fn digits(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
        return u64::from_str_radix(hex, 16).ok();
    }
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// A number that fits 16 bits.
pub(super) fn small(node: &Node, noun: &str, allowed: RangeInclusive<u16>) -> Read<u16> {
    let number = number(node, noun, u64::from(*allowed.start())..=u64::from(*allowed.end()))?;
    u16::try_from(number).map_err(|_| Wrong::new(format!("{number} is out of range"), noun))
}

/// A TCP port, 1 to 65535.
pub(super) fn port(node: &Node) -> Read<u16> {
    small(node, "a port", 1..=65535)
}

/// A count or size ≥ 1.
pub(super) fn count(node: &Node) -> Read<u32> {
    let number = number(node, "a number", 1..=u64::from(u32::MAX))?;
    u32::try_from(number).map_err(|_| Wrong::new(format!("{number} is out of range"), "a smaller number"))
}

/// [`count`] as a length.
pub(super) fn size(node: &Node) -> Read<usize> {
    let number = count(node)?;
    usize::try_from(number).map_err(|_| Wrong::new(format!("{number} is out of range"), "a smaller number"))
}

/// One of a closed set of words.
pub(super) fn choice<T: Copy>(node: &Node, noun: &str, words: &[(&str, T)]) -> Read<T> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let text = text(node, &one_of(&names))?;
    let known = words.iter().find(|(name, _)| *name == text);
    known.map(|(_, value)| *value).ok_or_else(|| Wrong::new(format!("unknown {noun} {}", quoted(text)), one_of(&names)))
}

/// `true` or `false`.
pub(super) fn yes_or_no(node: &Node) -> Read<bool> {
    choice(node, "answer", &[("true", true), ("false", false)])
}

/// The names as a choice: `nat, dr or tun`.
pub(super) fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A sum of whole `d`, `h`, `m`, `s` and `ms`: `10s`, `1h30m`.
pub(super) fn duration(node: &Node) -> Read<Duration> {
    const CURE: &str = "a number and a unit (ms, s, m, h or d), like 10s, 5m or 1h30m";
    let text = text(node, "a duration like 10s")?;
    if digits(text).is_some() {
        return Err(Wrong::new(
            format!("the duration {} has no unit", quoted(text)),
            format!("{text}s, or another unit (ms, m, h, d)"),
        ));
    }
    let duration = sum(text).ok_or_else(|| Wrong::new(format!("{} is no duration", quoted(text)), CURE))?;
    if duration > LONGEST { Err(Wrong::new(format!("{text} is too long"), "at most 24d")) } else { Ok(duration) }
}

fn sum(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = Some(text.trim()).filter(|text| !text.is_empty())?;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len()));
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(milliseconds)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = after.trim_start_matches(' ');
    }
    Some(total)
}

/// A duration > 0.
pub(super) fn positive(node: &Node) -> Read<Duration> {
    let duration = duration(node)?;
    if duration.is_zero() { Err(Wrong::new("the duration is 0", "more than 0s")) } else { Ok(duration) }
}

/// A duration that the kernel keeps in seconds: whole ones.
pub(super) fn seconds(node: &Node) -> Read<Duration> {
    let duration = duration(node)?;
    if duration.subsec_nanos() == 0 {
        return Ok(duration);
    }
    Err(Wrong::new("a fraction of a second", "whole seconds: the kernel counts this timeout in seconds"))
}

/// Whole seconds, at least one.
pub(super) fn positive_seconds(node: &Node) -> Read<Duration> {
    positive(node).and_then(|_| seconds(node))
}

/// `31000-31999`, or one port.
pub(super) fn range(node: &Node) -> Read<PortRange> {
    const CURE: &str = "FIRST-LAST, ports 1 to 65535, like 31000-31999";
    let text = text(node, "a port range like 31000-31999")?;
    text.parse().map_err(|()| {
        let ends = text
            .split_once('-')
            .and_then(|(a, b)| Some((a.trim().parse::<u16>().ok()?, b.trim().parse::<u16>().ok()?)));
        match ends {
            Some((first, last)) if first > last => {
                Wrong::new(format!("the range {} is backwards", quoted(text)), format!("{last}-{first}"))
            }
            _ => Wrong::new(format!("{} is no port range", quoted(text)), CURE),
        }
    })
}

/// A range of ports that may be opened to clients: none is privileged.
pub(super) fn unprivileged_range(node: &Node) -> Read<PortRange> {
    let (range, allowed) = (range(node)?, PortRange::UNPRIVILEGED);
    if range.first() >= allowed.first() {
        return Ok(range);
    }
    let what = format!("{range} begins below {}: no privileged port is ever opened", allowed.first());
    Err(Wrong::new(what, format!("a range from {} on, the same as in the FTP server", allowed.first())))
}

/// A host's own address: no multicast, loopback, unspecified or broadcast one.
pub(super) fn host(node: &Node, noun: &str) -> Read<IpAddr> {
    let cure = format!("{noun}, like 192.0.2.10 or \"2001:db8::10\"");
    let text = text(node, "an IP address")?;
    let Ok(address) = text.parse::<IpAddr>() else {
        let why = if text.contains('/') {
            " (no prefix length here)"
        } else if text.parse::<SocketAddr>().is_ok() {
            " (no port here)"
        } else {
            ""
        };
        return Err(Wrong::new(format!("{} is no IP address{why}", quoted(text)), cure));
    };
    match unfit(address) {
        Some(sort) => Err(Wrong::new(format!("{address} is {sort} address"), cure)),
        None => Ok(address),
    }
}

/// Why no client can connect to this address; `None`: it can.
pub(crate) fn unfit(address: IpAddr) -> Option<&'static str> {
    match address {
        a if a.is_unspecified() => Some("the unspecified"),
        a if a.is_loopback() => Some("a loopback"),
        a if a.is_multicast() => Some("a multicast"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast"),
        IpAddr::V4(a) if a.octets()[0] == 0 || a.octets()[0] >= 240 => Some("a reserved"),
        IpAddr::V6(a) if a.to_ipv4_mapped().is_some() => Some("an IPv4-mapped"),
        IpAddr::V6(a) if a.is_unicast_link_local() => Some("a link-local"),
        _ => None,
    }
}

/// An address and a port.
pub(super) fn listen(node: &Node) -> Read<SocketAddr> {
    let text = text(node, "ADDRESS:PORT")?;
    text.parse().map_err(|_| {
        Wrong::new(format!("{} is no ADDRESS:PORT", quoted(text)), "like 127.0.0.1:9786 or \"[::1]:9786\"")
    })
}

/// A control character, or what Unicode calls the end of a line or paragraph.
pub(super) fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A path that begins with `/`, without control characters.
pub(super) fn path(node: &Node) -> Read<PathBuf> {
    let text = text(node, "a path")?;
    if text.starts_with('/') && !text.contains(breaks) {
        return Ok(PathBuf::from(text));
    }
    Err(Wrong::new(format!("{} is no absolute path", quoted(text)), "a path that starts with /"))
}

/// A word of `1..=longest` characters, all `allowed`.
pub(super) fn word(node: &Node, noun: &str, longest: usize, allowed: fn(char) -> bool, cure: &str) -> Read<String> {
    let text = text(node, noun)?;
    if text.chars().count() <= longest && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is not {noun}", quoted(text)), cure))
}

/// The name of a network interface: at most 15 characters (IFNAMSIZ), no `/` and no `:`.
pub(super) fn interface(node: &Node) -> Read<String> {
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':');
    let name = word(node, "an interface name", 15, allowed, "a name that `ip link` shows, like eth0")?;
    if matches!(name.as_str(), "." | "..") {
        return Err(Wrong::new(format!("{name:?} is not an interface name"), "a name that `ip link` shows, like eth0"));
    }
    Ok(name)
}

/// An argument of an FTP command: one line.
pub(super) fn argument(node: &Node) -> Read<String> {
    word(node, "a text of one line", 255, |c| !breaks(c), "at most 255 characters, without line breaks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::{Place, Source};

    fn plain(text: &str) -> Node {
        Node {
            place: Place { line: 1, column: 1, width: 1, source: Source::MAIN },
            kind: NodeKind::Plain(text.to_owned()),
        }
    }

    #[test]
    fn durations_are_sums() {
        let milliseconds = |text| duration(&plain(text)).map(|duration| duration.as_millis()).ok();
        for (text, expected) in [
            ("0s", 0),
            ("1ms", 1),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1m 500ms", 60_500),
            ("1d", 86_400_000),
            ("24d", 2_073_600_000),
            ("010s", 10_000),
        ] {
            assert_eq!(milliseconds(text), Some(expected), "{text}");
        }
        for text in
            ["", " ", "s", "10", "0", "10 s", "1.5s", "-1s", "10S", "5min", "10us", "1e3s", "10s,", "s10", "24d1ms"]
        {
            assert_eq!(milliseconds(text), None, "{text}");
        }
        for text in ["18446744073709551615d", "99999999999999999999s", "9999999999999999999ms9999999999999999999ms"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_are_whole() {
        assert_eq!(seconds(&plain("1500ms500ms")), Ok(Duration::from_secs(2)));
        assert!(seconds(&plain("1500ms")).is_err());
        assert!(positive_seconds(&plain("0s")).is_err());
        assert!(positive_seconds(&plain("1s")).is_ok());
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        let read = |text| number(&plain(text), "a number", 0..=u64::MAX).ok();
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("2121"), Some(2121));
        assert_eq!(read("0x0f700000"), Some(0x0f70_0000));
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        for text in ["021", "+1", "-1", "1.0", "1_000", "0x", "0x+1", "0b1", "0o21", "1e3", "18446744073709551616"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
