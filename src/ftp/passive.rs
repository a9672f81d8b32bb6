//! How replies spell the address that the client shall connect to: 227 (RFC 959), 228 (RFC 1639), 229 (RFC 2428),
//! each with the liberties that servers take.

use std::net::IpAddr;
use std::ops::Range;

use super::UnparsedReason;
use super::address::address;
use super::numbers::{List, Number, Then, decimal, port};

/// The length of a code with what follows it.
pub(super) const CODE: usize = 4;

/// Whether a reply of this code names a port.
pub(super) const fn is_passive(code: u16) -> bool {
    matches!(code, 227..=229)
}

/// The port that the line of a 227 or 229 names, without its end; the address is never believed.
pub(crate) fn named_port(code: u16, line: &[u8]) -> Option<u16> {
    match parse(code, line, CODE, More::No) {
        LineProgress::Done(spelling) => Some(spelling.port),
        _ => None,
    }
}

/// Where and how a line names an address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    /// The address and where its text stands; `None` in a plain 229.
    pub address: Option<(IpAddr, Range<usize>)>,
    /// The port that the line names, 1 to 65535.
    pub port: u16,
    /// Where its text stands.
    pub port_at: Range<usize>,
    /// How numbers are written.
    pub style: Style,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Bytes in decimal with commas, as in 227 and 228: `10,0,0,11` and `121,26`.
    Commas,
    /// A dotted address and a decimal port, as in a 229: `10.0.0.11` and `31002`.
    Decimal,
}

/// What is known of a line that may be unfinished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LineProgress {
    /// Nothing yet that could belong to an address.
    Text,
    /// Nothing yet but what says that no address will come, only a port.
    PortOnly,
    /// The first bytes of an IPv4 address in commas, from `at` on.
    Address {
        /// Offset of its first digit in the line.
        at: usize,
        /// How many of its numbers are there, the last perhaps in part.
        numbers: usize,
    },
    /// The address is complete and the port has not begun, or has.
    Port {
        /// Where its text stands in the line.
        address: Range<usize>,
        /// Where the port begins.
        port_from: usize,
    },
    /// Something that the next bytes decide.
    Unsettled,
    /// Address and port are complete.
    Done(Spelling),
    /// The line names no port.
    Failed(UnparsedReason),
}

/// Whether the rest of a line may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    /// This is the whole line, without its end.
    No,
    /// The line's end has not come.
    Maybe,
}

/// Reads `line` from `from` on (behind the code) as a reply of this code.
pub(super) fn parse(code: u16, line: &[u8], from: usize, more: More) -> LineProgress {
    match code {
        229 => bars(line, from, more),
        228 => long(line, from, more),
        _ => commas(line, from, more),
    }
}

/// `h1,h2,h3,h4,p1,p2`, wherever it stands: the first list of exactly six numbers.
fn commas(line: &[u8], from: usize, more: More) -> LineProgress {
    let mut read = from;
    for at in starts(line, from) {
        if at < read {
            continue;
        }
        let mut list = List::new(line, at);
        let mut numbers: [Option<Number>; 6] = Default::default();
        for slot in &mut numbers {
            *slot = list.next();
        }
        list.by_ref().for_each(drop);
        read = list.end();
        match numbers {
            [Some(h1), Some(h2), Some(h3), Some(h4), Some(p1), Some(p2)] if p2.then != Then::Comma => {
                if p2.then == Then::Nothing && more == More::Maybe {
                    return LineProgress::Port { address: h1.range.start..h4.range.end, port_from: p1.range.start };
                }
                let host = [h1.value, h2.value, h3.value, h4.value];
                let at = (h1.range.start..h4.range.end, p1.range.start..p2.range.end);
                return done(&host, &[p1.value, p2.value], at);
            }
            [.., Some(_)] => {}
            numbers if read == line.len() && more == More::Maybe => return unfinished(&numbers, line.len()),
            _ => {}
        }
    }
    if more == More::Maybe { LineProgress::Text } else { LineProgress::Failed(UnparsedReason::Malformed) }
}

fn unfinished(numbers: &[Option<Number>; 6], length: usize) -> LineProgress {
    match numbers {
        [Some(h1), _, _, Some(h4), p1, ..] if h4.then == Then::Comma => LineProgress::Port {
            address: h1.range.start..h4.range.end,
            port_from: p1.as_ref().map_or(length, |p1| p1.range.start),
        },
        [Some(h1), ..] => LineProgress::Address { at: h1.range.start, numbers: numbers.iter().flatten().count() },
        _ => LineProgress::Text,
    }
}

/// `4,4,h1,h2,h3,h4,2,p1,p2` or `6,16,h1,…,h16,2,p1,p2` (RFC 1639 §4).
fn long(line: &[u8], from: usize, more: More) -> LineProgress {
    let mut read = from;
    for at in starts(line, from) {
        if at < read {
            continue;
        }
        let mut list = List::new(line, at);
        let mut values = [0_u32; 21];
        let mut ranges: [Range<usize>; 21] = Default::default();
        let (mut count, mut then) = (0_usize, Then::Comma);
        for ((value, range), number) in values.iter_mut().zip(&mut ranges).zip(&mut list) {
            (*value, *range, then) = (number.value, number.range, number.then);
            count = count.saturating_add(1);
        }
        list.by_ref().for_each(drop);
        read = list.end();
        if read == line.len() && more == More::Maybe {
            return LineProgress::Unsettled;
        }
        let (Some(values), Some(ranges), true) = (values.get(..count), ranges.get(..count), then != Then::Comma) else {
            continue;
        };
        if let ([4, 4, host @ .., 2, high, low], [_, _, first, .., last, _, p1, p2])
        | ([6, 16, host @ .., 2, high, low], [_, _, first, .., last, _, p1, p2]) = (values, ranges)
            && matches!((values.first(), host.len()), (Some(4), 4) | (Some(6), 16))
        {
            return done(host, &[*high, *low], (first.start..last.end, p1.start..p2.end));
        }
    }
    if more == More::Maybe { LineProgress::Text } else { LineProgress::Failed(UnparsedReason::Malformed) }
}

fn done(host: &[u32], port_bytes: &[u32], at: (Range<usize>, Range<usize>)) -> LineProgress {
    match address(host).zip(port(port_bytes)) {
        Some((ip, port)) => {
            LineProgress::Done(Spelling { address: Some((ip, at.0)), port, port_at: at.1, style: Style::Commas })
        }
        None => LineProgress::Failed(UnparsedReason::Impossible),
    }
}

/// `(|||p|)`, with any delimiter (IBM: `!`), one bar short, without parentheses, or with an address (`|1|a.b.c.d|p|`).
fn bars(line: &[u8], from: usize, more: More) -> LineProgress {
    let behind = line.get(from..).unwrap_or(&[]);
    let parentheses = memchr::memchr_iter(b'(', behind).map(|at| at.saturating_add(1));
    let bare = memchr::memchr2_iter(b'|', b'!', behind);
    for at in parentheses.chain(bare).map(|at| at.saturating_add(from)) {
        let Some(field) = bar_fields(line, at) else { continue };
        if field.port_at.end == line.len() && more == More::Maybe {
            return LineProgress::Unsettled;
        }
        let digits = line.get(field.port_at.clone()).unwrap_or(&[]);
        return match u16::try_from(decimal(digits)) {
            Ok(port) if port != 0 => LineProgress::Done(Spelling { port, ..field }),
            _ => LineProgress::Failed(UnparsedReason::Impossible),
        };
    }
    match more {
        More::No => LineProgress::Failed(UnparsedReason::Malformed),
        More::Maybe if behind.iter().any(u8::is_ascii_digit) => LineProgress::Unsettled,
        More::Maybe if memchr::memmem::find(behind, b"(||").is_some() => LineProgress::PortOnly,
        More::Maybe => LineProgress::Text,
    }
}

/// The fields behind the delimiter at `at`; the port's value is left to the caller.
fn bar_fields(line: &[u8], at: usize) -> Option<Spelling> {
    let text = line.get(at..)?;
    let delimiter = *text.first().filter(|b| b.is_ascii_punctuation() && !matches!(b, b'(' | b')' | b','))?;
    let run = text.iter().take(4).take_while(|b| **b == delimiter).count();
    let (address, port_from) = match run {
        2 | 3 => (None, at.saturating_add(run)),
        1 => {
            let mut fields = text.get(1..)?.split(|b| *b == delimiter);
            let (family, host, _) = (fields.next()?, fields.next()?, fields.next()?);
            let host_at = at.saturating_add(family.len()).saturating_add(2);
            let host_end = host_at.saturating_add(host.len());
            let ip: IpAddr = std::str::from_utf8(host).ok()?.parse().ok()?;
            (Some((ip, host_at..host_end)), host_end.saturating_add(1))
        }
        _ => return None,
    };
    let digits = line.get(port_from..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    let port_at = port_from..port_from.saturating_add(digits);
    (digits > 0).then_some(Spelling { address, port: 0, port_at, style: Style::Decimal })
}

/// Where runs of digits begin.
fn starts(line: &[u8], from: usize) -> impl Iterator<Item = usize> {
    let mut before = false;
    line.iter().enumerate().skip(from).filter_map(move |(at, byte)| {
        let digit = byte.is_ascii_digit();
        let start = digit && !before;
        before = digit;
        start.then_some(at)
    })
}

#[cfg(test)]
mod tests;
