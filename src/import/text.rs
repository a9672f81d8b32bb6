//! Words, numbers and comments: what the formats have in common.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The longest piece of a file that is repeated in a comment or a message, characters.
const SHOWN: usize = 120;
/// The longest line after `$NAME` was replaced in it, bytes; what would be longer stays as it is written.
const EXPANDED: usize = 16 << 10;
/// When so many bytes of lines were made by replacing, nothing more is replaced.
const SPENT: usize = 4 << 20;
/// The most replacements in one line.
const REPLACEMENTS: usize = 200;

/// How a format divides a line into words.
pub(super) struct Syntax {
    /// What begins a comment.
    pub comments: &'static str,
    /// Whether a comment begins inside of a word too.
    pub anywhere: bool,
    /// Characters that are words of their own.
    pub alone: &'static str,
}

/// keepalived.conf.
pub(super) const KEEPALIVED: Syntax = Syntax { comments: "#!", anywhere: true, alone: "{}" };
/// Piranha's lvs.cf.
pub(super) const PIRANHA: Syntax = Syntax { comments: "#", anywhere: true, alone: "{}" };
/// ldirectord.cf.
pub(super) const LDIRECTORD: Syntax = Syntax { comments: "#", anywhere: true, alone: "" };
/// Shell scripts, and the files of ipvsadm and iptables.
pub(super) const SHELL: Syntax = Syntax { comments: "#", anywhere: false, alone: ";&|" };
/// nft.
pub(super) const NFT: Syntax = Syntax { comments: "#", anywhere: true, alone: "{},;" };

/// The words of a line, without quotes and comments. A quote that is never closed holds the rest of the line.
pub(super) fn words(line: &str, syntax: &Syntax) -> Vec<String> {
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut quote = None;
    let mut rest = line.chars().peekable();
    while let Some(next) = rest.next() {
        match quote {
            Some(open) if next == open => quote = None,
            Some('"') if next == '\\' => word.get_or_insert_default().extend(rest.next()),
            Some(_) => word.get_or_insert_default().push(next),
            None if matches!(next, '"' | '\'') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            None if syntax.comments.contains(next) && (syntax.anywhere || word.is_none()) => break,
            None if next.is_whitespace() => words.extend(word.take()),
            // `${NAME}` is one word.
            None if next == '$' && rest.peek() == Some(&'{') => {
                let name = word.get_or_insert_default();
                name.push('$');
                for inside in rest.by_ref() {
                    name.push(inside);
                    if inside == '}' {
                        break;
                    }
                }
            }
            None if syntax.alone.contains(next) => {
                words.extend(word.take());
                words.push(next.to_string());
            }
            None => word.get_or_insert_default().push(next),
        }
    }
    words.extend(word);
    words
}

/// What `$NAME` and `${NAME}` stand for.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: BTreeMap<String, String>,
    /// Bytes of lines in which something was replaced.
    spent: usize,
}

impl Values {
    /// Defines a name, for the lines behind.
    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    /// A line with its names replaced, and the names in their values.
    pub fn expand<'l>(&mut self, line: &'l str) -> Cow<'l, str> {
        if self.values.is_empty() || !line.contains('$') || self.spent > SPENT {
            return Cow::Borrowed(line);
        }
        let mut text = line.to_owned();
        let mut from = 0;
        for _ in 0..REPLACEMENTS {
            let Some(at) = text.get(from..).and_then(|rest| rest.find('$')).map(|found| from + found) else { break };
            let (name, end) = reference(&text, at);
            match self.values.get(name) {
                Some(value) if text.len() + value.len() <= EXPANDED => text.replace_range(at..end, value),
                _ => from = at + 1,
            }
        }
        self.spent += text.len();
        Cow::Owned(text)
    }
}

/// The name that begins at the `$` at `at`, and where what names it ends.
fn reference(text: &str, at: usize) -> (&str, usize) {
    let behind = &text[at + 1..];
    let (inner, braced) = behind.strip_prefix('{').map_or((behind, false), |inner| (inner, true));
    let length = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
    let end = at + 1 + usize::from(braced) + length;
    let closed = braced && text[end..].starts_with('}');
    if braced && !closed { ("", end) } else { (&inner[..length], end + usize::from(closed)) }
}

/// `NAME=VALUE`, a definition.
pub(super) fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let first = name.chars().next()?;
    let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !first.is_ascii_digit();
    fits.then_some((name, value))
}

/// A piece of a file as it may stand in a comment: one line, printable, not long.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.trim().chars().map(printable).take(SHOWN).collect();
    if text.trim().chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// YAML forbids most control characters in comments too; the others would mislead who reads them.
pub(super) fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '?',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '?',
        c => c,
    }
}

/// A TCP port by number, or by the names that `ipvsadm -S` writes without `-n`.
pub(super) fn port(text: &str) -> Option<u16> {
    match text {
        "ftp" => Some(21),
        "ftp-data" => Some(20),
        "ftps" => Some(990),
        "http" => Some(80),
        "https" => Some(443),
        _ => text.parse().ok(),
    }
}

/// A whole number, decimal or `0x`.
pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Seconds, whole or not: `3`, `2.5`. At most a day, in milliseconds.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    let allowed = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && (0.0..=86_400.0).contains(&seconds);
    let duration = allowed.then(|| Duration::from_secs_f64(seconds))?;
    Some(Duration::from_millis(u64::try_from(duration.as_millis()).ok()?))
}

/// A duration as our file writes it: `5s`, `2500ms`.
pub(super) fn written(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

/// `HOST:PORT`, `HOST`, `[IPV6]:PORT` or `IPV6` → host and port as they are written.
pub(super) fn host_and_port(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (host, rest.strip_prefix(':').filter(|port| !port.is_empty()));
    }
    if text.parse::<IpAddr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host.trim_end_matches(':'), Some(port).filter(|port| !port.is_empty())),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_quotes_and_comments() {
        let of = |line: &str, syntax: &Syntax| words(line, syntax).join("|");
        assert_eq!(of("a  \"b c\" d'e f' ! rest", &KEEPALIVED), "a|b c|de f");
        assert_eq!(of("TCP_CHECK {connect_timeout 3}", &KEEPALIVED), "TCP_CHECK|{|connect_timeout|3|}");
        assert_eq!(of("x ${A}b{", &KEEPALIVED), "x|${A}b|{");
        assert_eq!(of("-A ! -d a#b;x # c", &SHELL), "-A|!|-d|a#b|;|x");
        assert_eq!(of("say \"a \\\" b\" \"open # x", &SHELL), "say|a \" b|open # x");
        assert_eq!(of("", &SHELL), "");
        assert_eq!(of("\"\"", &SHELL), "");
        assert_eq!(words("\"\"", &SHELL).len(), 1);
    }

    #[test]
    fn names_stand_for_their_values() {
        let mut values = Values::default();
        for (name, value) in [("A", "10.${B}"), ("B", "0.0"), ("LOOP", "${LOOP}${LOOP}")] {
            values.set(name, value);
        }
        assert_eq!(values.expand("${A}.1 $A $NONE ${NONE} $ ${"), "10.0.0.1 10.0.0 $NONE ${NONE} $ ${");
        assert!(values.expand("$LOOP").len() <= EXPANDED);
    }

    #[test]
    fn hosts_and_ports() {
        for (text, expected) in [
            ("192.0.2.10:21", ("192.0.2.10", Some("21"))),
            ("192.0.2.10", ("192.0.2.10", None)),
            ("[2001:db8::10]:21", ("2001:db8::10", Some("21"))),
            ("[2001:db8::10]", ("2001:db8::10", None)),
            ("2001:db8::10", ("2001:db8::10", None)),
            ("ftp.example.net:ftp", ("ftp.example.net", Some("ftp"))),
            ("ftp.example.net:", ("ftp.example.net", None)),
        ] {
            assert_eq!(host_and_port(text), expected, "{text}");
        }
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        let of = |text: &str| seconds(text).map(written);
        assert_eq!(of("3").as_deref(), Some("3s"));
        assert_eq!(of("2.5").as_deref(), Some("2500ms"));
        for text in ["", ".", "-1", "1e3", "inf", "nan", "99999999999999999999", "3s"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
