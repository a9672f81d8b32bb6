//! How commands spell an address: PORT (RFC 959), EPRT (RFC 2428), LPRT (RFC 1639).
//!
//! A command that comes in pieces is judged as early as its text allows, because only the piece at hand can be
//! overwritten: see [`host`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::UnparsedReason;
use super::line::trim_blanks;
use super::numbers::{List, Then, decimal, octets, port};
use super::verb::ActiveForm;

/// The host that a possibly unfinished argument names, once no further byte can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// The address that the command names.
    Address(IpAddr),
    /// A spelling that some server's resolver would take for a host, but not a plain address: `10.200`, `012.0.0.1`, a name.
    Obscure,
}

/// The host that `argument` names, if that is settled.
pub(super) fn host(form: ActiveForm, argument: &[u8]) -> Option<Host> {
    match form {
        ActiveForm::Port => Commas::read(argument).host(0, 4),
        ActiveForm::Long => {
            let list = Commas::read(argument);
            match list.settled() {
                [4, 4, ..] => list.host(2, 4),
                [6, 16, ..] => list.host(2, 16),
                _ => None,
            }
        }
        ActiveForm::Extended => Bars::read(argument)?.host(),
    }
}

/// Whether the port is settled to be below 1024.
pub(super) fn is_low(form: ActiveForm, argument: &[u8]) -> bool {
    const HIGH_BYTE: u32 = 1024 / 256;
    match form {
        ActiveForm::Port => Commas::read(argument).settled().get(4).is_some_and(|high| *high < HIGH_BYTE),
        ActiveForm::Long => {
            let list = Commas::read(argument);
            let high = match list.settled() {
                [4, 4, _, _, _, _, 2, high, ..]
                | [6, 16, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, 2, high, ..] => Some(*high),
                _ => None,
            };
            high.is_some_and(|high| high < HIGH_BYTE)
        }
        ActiveForm::Extended => Bars::read(argument).and_then(|bars| bars.port).is_some_and(|port| port < 1024),
    }
}

/// Whether a number is settled to be one that has no place there, so that a lenient server would take it modulo 2⁸ or
/// 2¹⁶ for another: 256 for 0, -246 for 10.
pub(super) fn wraps(form: ActiveForm, argument: &[u8]) -> bool {
    match form {
        ActiveForm::Port | ActiveForm::Long => Commas::read(argument).wraps(),
        ActiveForm::Extended => Bars::read(argument).is_some_and(|bars| bars.wraps()),
    }
}

/// The address of a complete argument.
pub(super) fn parse(form: ActiveForm, argument: &[u8]) -> Result<SocketAddr, UnparsedReason> {
    match form {
        ActiveForm::Port => Commas::read(argument).port_argument(),
        ActiveForm::Long => Commas::read(argument).long_argument(),
        ActiveForm::Extended => extended(argument),
    }
}

/// A list of at most 21 numbers, the longest that LPRT has.
struct Commas {
    values: [u32; 21],
    /// How many there are.
    count: usize,
    /// How many of them are followed by a comma.
    settled: usize,
    /// Whether nothing but blanks follows the list.
    clean: bool,
    /// Whether a negative number does.
    negative: bool,
}

impl Commas {
    fn read(text: &[u8]) -> Self {
        let mut out = Self { values: [0; 21], count: 0, settled: 0, clean: true, negative: false };
        let mut list = List::new(text, 0);
        for slot in &mut out.values {
            let Some(number) = list.next() else { break };
            *slot = number.value;
            out.count = out.count.saturating_add(1);
            match number.then {
                Then::Comma => out.settled = out.settled.saturating_add(1),
                Then::Other => out.clean = false,
                Then::Nothing => {}
            }
        }
        // a comma with nothing behind it, or a 22nd number
        out.clean &= out.settled < out.count && list.end() == text.len();
        out.negative = is_negative(text.get(list.end()..).unwrap_or(&[]));
        out
    }

    /// More digits make no number smaller.
    fn wraps(&self) -> bool {
        self.negative || self.all().iter().any(|number| *number > 255)
    }

    fn settled(&self) -> &[u32] {
        self.values.get(..self.settled).unwrap_or(&[])
    }

    fn all(&self) -> &[u32] {
        self.values.get(..self.count).unwrap_or(&[])
    }

    fn host(&self, from: usize, length: usize) -> Option<Host> {
        let bytes = self.settled().get(from..from.saturating_add(length))?;
        address(bytes).map(Host::Address)
    }

    fn port_argument(&self) -> Result<SocketAddr, UnparsedReason> {
        match self.all() {
            [host @ .., high, low] if host.len() == 4 && self.clean => socket(host, &[*high, *low]),
            _ => Err(UnparsedReason::Malformed),
        }
    }

    fn long_argument(&self) -> Result<SocketAddr, UnparsedReason> {
        match self.all() {
            [4, 4, host @ .., 2, high, low] if host.len() == 4 && self.clean => socket(host, &[*high, *low]),
            [6, 16, host @ .., 2, high, low] if host.len() == 16 && self.clean => socket(host, &[*high, *low]),
            _ => Err(UnparsedReason::Malformed),
        }
    }
}

/// 4 or 16 numbers as an address.
pub(super) fn address(bytes: &[u32]) -> Option<IpAddr> {
    let v4 = || octets::<4>(bytes).map(|b| IpAddr::V4(Ipv4Addr::from(b)));
    let v6 = || octets::<16>(bytes).map(|b| IpAddr::V6(Ipv6Addr::from(b)));
    v4().or_else(v6)
}

/// Host and port numbers as an address; none of them wraps.
fn socket(host: &[u32], port_bytes: &[u32]) -> Result<SocketAddr, UnparsedReason> {
    let ends = address(host).zip(port(port_bytes));
    ends.map(|(ip, port)| SocketAddr::new(ip, port)).ok_or(UnparsedReason::Impossible)
}

/// `<d><net-prt><d><net-addr><d><tcp-port><d>` (RFC 2428 §2), as far as it has come.
struct Bars<'a> {
    family: &'a [u8],
    host: &'a [u8],
    /// The port, once its closing delimiter is there.
    port: Option<u32>,
    /// The port's text, as far as it has come.
    port_text: &'a [u8],
}

impl<'a> Bars<'a> {
    /// `None` until the host's closing delimiter is there.
    fn read(argument: &'a [u8]) -> Option<Self> {
        let (delimiter, rest) = argument.split_first()?;
        let mut fields = rest.split(|b| b == delimiter);
        let (family, host, port) = (fields.next()?, fields.next()?, fields.next()?);
        let port_text = unsigned(trim_blanks(port));
        let port = fields.next().is_some().then(|| decimal_only(port_text)).flatten();
        Some(Self { family: trim_blanks(family), host: trim_blanks(host), port, port_text })
    }

    fn wraps(&self) -> bool {
        let high = decimal_only(self.port_text).is_some_and(|port| port > u32::from(u16::MAX));
        has_impossible_octet(self.host) || is_negative(self.port_text) || high
    }

    fn host(&self) -> Option<Host> {
        match ip(self.host) {
            Some(ip) => Some(Host::Address(ip)),
            None if self.host.is_empty() || has_impossible_octet(self.host) => None,
            None => Some(Host::Obscure),
        }
    }
}

fn extended(argument: &[u8]) -> Result<SocketAddr, UnparsedReason> {
    let bars = Bars::read(argument).ok_or(UnparsedReason::Malformed)?;
    let Some(ip) = ip(bars.host) else {
        let impossible = has_impossible_octet(bars.host);
        return Err(if impossible { UnparsedReason::Impossible } else { UnparsedReason::Malformed });
    };
    let family: &[u8] = if ip.is_ipv4() { b"1" } else { b"2" };
    if bars.family != family {
        return Err(UnparsedReason::Malformed);
    }
    // the last delimiter is missing now and then
    let delimiter = argument.first().copied().unwrap_or(b'|');
    let text = argument.splitn(4, |b| *b == delimiter).nth(3).unwrap_or(&[]);
    let mut fields = text.splitn(2, |b| *b == delimiter);
    let (digits, rest) = (fields.next().unwrap_or(&[]), fields.next().unwrap_or(&[]));
    let port = decimal_only(unsigned(trim_blanks(digits)))
        .filter(|_| trim_blanks(rest).is_empty())
        .ok_or(UnparsedReason::Malformed)?;
    match u16::try_from(port) {
        Ok(port) if port != 0 => Ok(SocketAddr::new(ip, port)),
        _ => Err(UnparsedReason::Impossible),
    }
}

fn ip(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Four plain decimal numbers with dots, one of them above 255: no resolver takes that for a host.
fn has_impossible_octet(text: &[u8]) -> bool {
    let mut count = 0_usize;
    let mut above = false;
    for part in text.split(|b| *b == b'.') {
        count = count.saturating_add(1);
        match decimal_only(part) {
            Some(number) if part.first() != Some(&b'0') || part.len() == 1 => above |= number > 255,
            _ => return false,
        }
    }
    count == 4 && above
}

fn is_negative(text: &[u8]) -> bool {
    matches!(text, [b'-', digit, ..] if digit.is_ascii_digit())
}

/// Without a plus, which strtol(3) and scanf(3) take.
fn unsigned(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"+").unwrap_or(text)
}

fn decimal_only(text: &[u8]) -> Option<u32> {
    let text = trim_blanks(text);
    (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then(|| decimal(text))
}

#[cfg(test)]
mod tests;
