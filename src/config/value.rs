//! One value → its type, or what is wrong with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::problem::{Wrong, quoted};
use super::spelling::{elsewhere, nearest};
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
        NodeKind::Plain(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => "a number",
        NodeKind::Plain(_) => "a word",
        NodeKind::Quoted(text) if text.is_empty() => "an empty text",
        NodeKind::Quoted(_) => "a text",
        NodeKind::List(_) => "a list",
        NodeKind::Map(_) => "a mapping",
        NodeKind::Refused => "the value refused above",
    }
}

/// What to write at `path`, where a mapping should stand and `found` does.
pub(super) fn instead(found: &NodeKind, path: &str) -> String {
    let unspaced = |text: &str| {
        let key = text.split_once(':').map_or("", |(key, _)| key);
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    match found {
        NodeKind::Plain(text) if unspaced(text) => "a space after the colon".to_owned(),
        NodeKind::Plain(text) if path.contains("real_servers[") && text.parse::<IpAddr>().is_ok() => {
            format!("`address: {text}`")
        }
        NodeKind::Plain(text) if path.ends_with("passive") && text.parse::<PortRange>().is_ok() => {
            format!("`ports: {text}`, in a line of its own")
        }
        NodeKind::Plain(text) if text.len() <= 60 && first_key(path).is_some() => {
            format!("`{}: {text}`, in a line of its own", first_key(path).unwrap_or_default())
        }
        _ if path.is_empty() => "`clusters:` in the first line, and the clusters below it".to_owned(),
        _ => "`key: value` lines".to_owned(),
    }
}

/// The key that a single word at `path` is meant for.
fn first_key(path: &str) -> Option<&'static str> {
    match path.rsplit('.').next()? {
        "health_check" => Some("kind"),
        "log" => Some("level"),
        "metrics" => Some("listen"),
        _ => None,
    }
}

/// What to write where a list should stand and `found` does.
pub(super) fn list_of(found: &NodeKind) -> String {
    let short = |text: &&String| text.len() <= 60 && !text.contains(['[', ']', '{', '}', '#', '"']);
    let plain = match found {
        NodeKind::Plain(text) => Some(text).filter(short),
        NodeKind::Map(_) => return "`- ` before the first key of each: `- name: …`".to_owned(),
        _ => None,
    };
    plain.map_or_else(
        || "a list: `[a, b]`, or lines that start with `- `".to_owned(),
        |text| format!("a list: `[{text}]`, or lines that start with `- `"),
    )
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
            let cure =
                scaled(text).filter(|_| noun.ends_with("bytes")).map_or(cure, |bytes| format!("written {bytes} here"));
            Err(Wrong::new(format!("{} {what}", quoted(text)), cure))
        }
    }
}

/// A number of bytes with a unit: `64M`, `64 MiB`.
fn scaled(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit.trim().trim_end_matches(['b', 'B']).trim_end_matches('i') {
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
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
    known
        .map(|(_, value)| *value)
        .ok_or_else(|| Wrong::new(format!("unknown {noun} {}", quoted(text)), meant(text, &names)))
}

/// What to write instead of a word that is none of `names`.
fn meant(text: &str, names: &[&str]) -> String {
    let all = one_of(names);
    match (elsewhere(text, names), nearest(text, names)) {
        (Some(ours), _) => format!("written {ours} here ({all})"),
        (None, Some(near)) => format!("did you mean {near}? ({all})"),
        (None, None) => all,
    }
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
    let duration = sum(text).ok_or_else(|| {
        let ours = units(text).filter(|ours| sum(ours).is_some());
        let cure = ours.map_or_else(|| CURE.to_owned(), |ours| format!("written {ours} here"));
        Wrong::new(format!("{} is no duration", quoted(text)), cure)
    })?;
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

/// A duration with other names for its units, with ours.
fn units(text: &str) -> Option<String> {
    const NAMES: [(&str, &[&str]); 5] = [
        ("ms", &["ms", "msec", "msecs", "millis", "milliseconds"]),
        ("s", &["s", "sec", "secs", "second", "seconds"]),
        ("m", &["m", "min", "mins", "minute", "minutes"]),
        ("h", &["h", "hr", "hrs", "hour", "hours"]),
        ("d", &["d", "day", "days"]),
    ];
    let text = text.to_ascii_lowercase();
    let mut ours = String::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let after = after.trim_start();
        let (name, after) = after.split_at(after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len()));
        let (unit, _) = NAMES.iter().find(|(_, names)| names.contains(&name))?;
        ours.push_str(number);
        ours.push_str(unit);
        rest = after.trim_start();
    }
    Some(ours)
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
    text.parse().map_err(|()| match ends(text) {
        Some((first, last)) if first > last => {
            Wrong::new(format!("the range {} is backwards", quoted(text)), format!("{last}-{first}"))
        }
        Some((first, last)) if first > 0 => {
            Wrong::new(format!("{} is no port range", quoted(text)), format!("written {first}-{last} here"))
        }
        _ => Wrong::new(format!("{} is no port range", quoted(text)), CURE),
    })
}

/// The ends of a range in any spelling: iptables has `31000:31999`, ProFTPD `31000 31999`.
fn ends(text: &str) -> Option<(u16, u16)> {
    let (first, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let last =
        rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '\u{2013}' | ':' | ',' | ';' | '.'));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// A range of ports that may be opened to clients: none is privileged.
pub(super) fn unprivileged_range(node: &Node) -> Read<PortRange> {
    from_1024(node, ", the same as in the FTP server")
}

/// As [`unprivileged_range`], of ports that no FTP server has.
pub(super) fn public_range(node: &Node) -> Read<PortRange> {
    from_1024(node, "")
}

fn from_1024(node: &Node, like: &str) -> Read<PortRange> {
    let (range, allowed) = (range(node)?, PortRange::UNPRIVILEGED);
    if range.first() >= allowed.first() {
        return Ok(range);
    }
    let what = format!("{range} begins below {}: no privileged port is ever opened", allowed.first());
    Err(Wrong::new(what, format!("a range from {} on{like}", allowed.first())))
}

/// A host's own address: no multicast, loopback, unspecified or broadcast one.
pub(super) fn host(node: &Node, noun: &str) -> Read<IpAddr> {
    let cure = format!("{noun}, like 192.0.2.10 or \"2001:db8::10\"");
    let text = match &node.kind {
        NodeKind::List(_) => {
            return Err(Wrong::new("expected an IP address, found a list", "one address, without brackets"));
        }
        _ => text(node, "an IP address")?,
    };
    let Ok(address) = text.parse::<IpAddr>() else {
        let (why, cure) = no_address(text).unwrap_or_else(|| (String::new(), cure));
        return Err(Wrong::new(format!("{} is no IP address{why}", quoted(text)), cure));
    };
    match unfit(address) {
        Some(sort) => Err(Wrong::new(format!("{address} is {sort} address"), cure)),
        None => Ok(address),
    }
}

/// What more than an address, or what else, a text is, and what to write.
fn no_address(text: &str) -> Option<(String, String)> {
    if let Some(Ok(address)) = text.split_once('/').map(|(address, _)| address.parse::<IpAddr>()) {
        return Some((" (no prefix length here)".to_owned(), address.to_string()));
    }
    if let Ok(place) = text.parse::<SocketAddr>() {
        return Some((" (no port here)".to_owned(), place.ip().to_string()));
    }
    if let Some(Ok(address)) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::parse::<IpAddr>)
    {
        return Some((" (no brackets here)".to_owned(), format!("\"{address}\"")));
    }
    is_name(text)
        .then(|| (" (names are not looked up)".to_owned(), format!("the address, which `getent hosts {text}` shows")))
}

/// Whether a text looks like the name of a host.
pub(super) fn is_name(text: &str) -> bool {
    let named = text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    named && text.starts_with(|c: char| c.is_ascii_alphabetic())
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
    text.parse().map_err(|_| Wrong::new(format!("{} is no ADDRESS:PORT", quoted(text)), place_meant(text)))
}

/// What to write instead of a text that is no ADDRESS:PORT.
fn place_meant(text: &str) -> String {
    const CURE: &str = "like 127.0.0.1:9786 or \"[::1]:9786\"";
    let alone = |address| format!("the port too: \"{}\"", SocketAddr::new(address, 9786));
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let Ok(port) = port.parse::<u16>() else {
        return text.parse().map_or_else(|_| CURE.to_owned(), alone);
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match (host, host.parse::<IpAddr>(), text.parse::<IpAddr>()) {
        ("" | "*", ..) => format!(
            "\"0.0.0.0:{port}\" for all addresses, \"[::]:{port}\" for those of IPv6 too, 127.0.0.1:{port} for this machine alone"
        ),
        ("localhost", ..) => format!("127.0.0.1:{port}"),
        (_, Ok(address), _) => format!("\"{}\"", SocketAddr::new(address, port)),
        // The end of an IPv6 address looks like a port.
        (_, Err(_), Ok(address)) => alone(address),
        _ => format!("an address, not a name: {CURE}"),
    }
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
