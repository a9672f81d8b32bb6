//! Another address or port in a reply of the same length.
//!
//! The text of a 227 is free (RFC 959 §4.2: "the text is intended for the human user"), so a longer address takes its room from the
//! words before it, blanks first, and a shorter one leaves blanks there; a port takes and leaves room behind. Neither
//! sequence numbers nor SACK need to know. What a line becomes does not depend on how it was cut into segments, unless
//! a part of it had to be released before the rest came: then [`Released`] says what the client already has.

use std::ops::Range;

use super::passive::{Spelling, Style};

/// What shall stand in a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The address's text; `None` leaves the server's.
    pub address: Option<&'a [u8]>,
    /// The port's text; `None` leaves the server's.
    pub port: Option<&'a [u8]>,
}

/// The first bytes of a line that left before the line was complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Released {
    /// The bytes as they left.
    pub bytes: Vec<u8>,
    /// Where the new address begins in them, if it does.
    pub address_at: Option<usize>,
}

/// The line with what is wanted in it; `None` if its text leaves no room. The first `from` bytes stay.
pub(super) fn fit(line: &[u8], from: usize, spelling: &Spelling, wanted: Wanted<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(line.len());
    let mut at = 0_usize;
    if let (Some((_, old)), Some(new)) = (&spelling.address, wanted.address) {
        // A part of the server's address has left already: it cannot become another one.
        if old.start < from && line.get(old.clone()) != Some(new) {
            return None;
        }
        head(&mut out, line, from, old, new);
        at = old.end;
    }
    let port = wanted.port.or_else(|| line.get(spelling.port_at.clone()))?;
    out.extend_from_slice(line.get(at..spelling.port_at.start)?);
    out.extend_from_slice(port);
    let tail = line.get(spelling.port_at.end..)?;
    out.extend_from_slice(tail);
    // What is still too long or too short takes room from, or leaves it to, the text behind the port.
    if out.len() != line.len() {
        let named = out.len().saturating_sub(tail.len());
        out.truncate(named);
        out.extend(stretch(tail, line.len().checked_sub(named)?)?);
    }
    // The client has these bytes: another version of them would be a retransmission that contradicts the first.
    (out.get(..from) == line.get(..from)).then_some(out)
}

/// How much longer a port can become: from `4,0` to `255,255`.
const PORT_GROWS: usize = 4;

/// As [`fit`], but the words before what is named give way to a longer port too. For a line of which nothing has left.
pub(super) fn fit_by_words(line: &[u8], from: usize, spelling: &Spelling, wanted: Wanted<'_>) -> Option<Vec<u8>> {
    let begin = spelling.address.as_ref().map_or(spelling.port_at.start, |(_, at)| at.start);
    let marks = line.get(from..begin)?.iter().rev().take_while(|byte| byte.is_ascii_punctuation() || **byte == b' ');
    let (words, rest) = line.split_at_checked(begin.checked_sub(marks.count())?)?;
    // Numbers right before are of one list with them: `4,4,` in a 228.
    if words.last().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let most = PORT_GROWS.min(words.len().saturating_sub(from));
    (1..=most).find_map(|given| {
        let mut roomy = Vec::with_capacity(line.len());
        shorten(&mut roomy, words, from, given);
        roomy.extend_from_slice(rest);
        roomy.resize(line.len(), b' ');
        fit(&roomy, from, &moved(spelling, given)?, wanted)
    })
}

/// The same numbers, so many bytes further in front.
fn moved(spelling: &Spelling, by: usize) -> Option<Spelling> {
    let range = |at: &Range<usize>| Some(at.start.checked_sub(by)?..at.end.checked_sub(by)?);
    let address = match &spelling.address {
        Some((ip, at)) => Some((*ip, range(at)?)),
        None => None,
    };
    Some(Spelling { address, port: spelling.port, port_at: range(&spelling.port_at)?, style: spelling.style })
}

/// The first bytes of a line whose address stands at `old`, of which the last `unseen` bytes are still to come: what
/// can leave before they do. `None` if that would not be safe.
pub(super) fn begin(line: &[u8], from: usize, old: &Range<usize>, new: &[u8]) -> Option<Released> {
    if old.start < from {
        return None;
    }
    let mut out = Vec::with_capacity(line.len());
    // The words before the address had too little room: the rest must come from behind the port, which nobody knows yet.
    if head(&mut out, line, from, old, new) > 0 {
        return None;
    }
    let address_at = out.len().checked_sub(new.len())?;
    out.extend_from_slice(line.get(old.end..).unwrap_or(&[]));
    out.truncate(line.len());
    (out.len() == line.len()).then_some(Released { bytes: out, address_at: Some(address_at) })
}

/// More of a line whose address began to leave before it was complete: `old` is where it stands, once it is. With
/// [`Filler::Zeros`] as much of the port as there is leaves too, with zeros in front where it is not enough; without,
/// `None` if the address is not.
pub(super) fn extend(
    line: &[u8],
    released: &Released,
    old: Option<&Range<usize>>,
    new: &[u8],
    filler: Filler,
) -> Option<Released> {
    let mut out = released.bytes.clone();
    let said = released.bytes.get(released.address_at?..)?;
    // The client has the new address in part, as a whole, or with the first digits of the port behind it.
    let digits = match said.strip_prefix(new) {
        None => {
            out.extend_from_slice(new.strip_prefix(said)?);
            out.push(b',');
            &[]
        }
        Some([]) => {
            out.push(b',');
            &[]
        }
        Some(behind) => significant(behind.strip_prefix(b",")?),
    };
    let behind = old.and_then(|old| line.get(old.end..)).unwrap_or(&[]);
    let port = significant(behind.trim_ascii_start().strip_prefix(b",").unwrap_or(&[]));
    let more = match filler {
        Filler::Nothing => &[],
        Filler::Zeros => port.strip_prefix(digits)?,
    };
    // Zeros in front change no number, but only in front: behind digits that have left they would.
    let missing = line.len().saturating_sub(out.len()).saturating_sub(more.len());
    if missing > 0 && (filler == Filler::Nothing || !digits.is_empty()) {
        return None;
    }
    out.resize(out.len().saturating_add(missing), b'0');
    out.extend_from_slice(more);
    out.truncate(line.len());
    Some(Released { bytes: out, address_at: released.address_at })
}

/// What may be said before the port is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filler {
    /// Nothing: what is held may wait on.
    Nothing,
    /// Leading zeros of the port: the last resort, when what is held must leave.
    Zeros,
}

/// A number without blanks and zeros before it.
fn significant(mut digits: &[u8]) -> &[u8] {
    while let [b' ' | b'0', rest @ ..] = digits {
        digits = rest;
    }
    digits
}

/// The rest of a line whose first bytes left before: all of it, beginning with those.
pub(super) fn finish(line: &[u8], released: &Released, spelling: &Spelling, wanted: Wanted<'_>) -> Option<Vec<u8>> {
    let gone = released.bytes.len();
    let (Some(address_at), Some((_, old)), Some(new)) = (released.address_at, &spelling.address, wanted.address) else {
        return fit(line, gone, spelling, wanted);
    };
    let port = wanted.port.or_else(|| line.get(spelling.port_at.clone()))?;
    let named = [new, line.get(old.end..spelling.port_at.start)?, port].concat();
    let said = released.bytes.get(address_at..)?;
    let mut out = released.bytes.clone();
    match named.strip_prefix(said) {
        Some(rest) => out.extend_from_slice(rest),
        // Zeros left before the port was known (`Filler::Zeros`): the port's own digits go on behind those that the client has.
        None => {
            let digits = significant(said.strip_prefix(new)?.strip_prefix(b",")?);
            out.extend_from_slice(significant(port).strip_prefix(digits)?);
        }
    }
    let room = line.len().checked_sub(out.len())?;
    out.extend(stretch(line.get(spelling.port_at.end..)?, room)?);
    Some(out)
}

/// The text of a port: `121,26` or `31002`.
pub(super) fn port_text(port: u16, style: Style) -> String {
    let [high, low] = port.to_be_bytes();
    match style {
        Style::Commas => format!("{high},{low}"),
        Style::Decimal => port.to_string(),
    }
}

/// Writes everything up to the new address's end, so that it is as long as everything up to the old one's. Returns by
/// how many bytes that failed.
fn head(out: &mut Vec<u8>, line: &[u8], from: usize, old: &Range<usize>, new: &[u8]) -> usize {
    // The words before `lead` give way; what stands between `lead` and the address is what clients look for in front of it.
    let lead = lead(line, from, old.start);
    let text = line.get(..lead).unwrap_or(line);
    let length = old.end.saturating_sub(old.start);
    let excess = new.len().saturating_sub(length).min(lead.saturating_sub(from));
    shorten(out, text, from, excess);
    out.resize(out.len().saturating_add(length.saturating_sub(new.len())), b' ');
    out.extend_from_slice(line.get(lead..old.start).unwrap_or(&[]));
    out.extend_from_slice(new);
    out.len().saturating_sub(old.end)
}

/// Where that begins which has to stand right before the address: `(`, `=`, or a blank.
fn lead(line: &[u8], from: usize, address: usize) -> usize {
    let before = line.get(..address).unwrap_or(line);
    let trimmed = before.trim_ascii_end();
    let lead = match trimmed.last() {
        Some(b'(' | b'=') => trimmed.len().saturating_sub(1),
        _ if trimmed.len() < before.len() => address.saturating_sub(1),
        _ => address,
    };
    lead.max(from)
}

/// `text` without `excess` bytes of what follows its first `from`: the last blanks, then the last of what is left.
fn shorten(out: &mut Vec<u8>, text: &[u8], from: usize, excess: usize) {
    let (fixed, free) = text.split_at_checked(from).unwrap_or((text, &[]));
    let blanks = free.iter().filter(|b| **b == b' ').count();
    let keep_blanks = blanks.saturating_sub(excess);
    let cut = excess.saturating_sub(blanks);
    out.extend_from_slice(fixed);
    let mut seen = 0_usize;
    out.extend(free.iter().filter(|byte| {
        let blank = **byte == b' ';
        seen = seen.saturating_add(usize::from(blank));
        !blank || seen <= keep_blanks
    }));
    if cut > 0 {
        out.truncate(out.len().saturating_sub(cut));
        blank_half_character(out);
    }
}

/// A character of several bytes whose last ones were cut off becomes blanks: clients that read UTF-8 (RFC 2640) would not take
/// the line.
fn blank_half_character(text: &mut [u8]) {
    let Err(error) = std::str::from_utf8(text) else { return };
    if error.error_len().is_none()
        && let Some(half) = text.get_mut(error.valid_up_to()..)
    {
        half.fill(b' ');
    }
}

/// What follows the port, in exactly `room` bytes. What closes the numbers stays, but for the parenthesis of a 227 if all else is
/// too long by one byte: no client may rely on it (RFC 1123 §4.1.2.6).
fn stretch(tail: &[u8], room: usize) -> Option<Vec<u8>> {
    let closing = match tail.iter().position(|b| *b == b')') {
        Some(at) => at.saturating_add(1),
        None => tail.iter().take_while(|b| matches!(b, b'|' | b'!')).count(),
    };
    let (closing, free) = tail.split_at_checked(closing)?;
    let mut out: Vec<u8> = closing.to_vec();
    // `( … , 26 )`: blanks inside the brackets are the last that can be spared.
    if out.len() > room {
        out.retain(|b| *b != b' ');
    }
    if out == b")" && room == 0 {
        return Some(Vec::new());
    }
    let kept = free.get(..room.checked_sub(out.len())?.min(free.len()))?;
    out.extend_from_slice(kept);
    if kept.len() < free.len() {
        blank_half_character(&mut out);
    }
    out.resize(room, b' ');
    Some(out)
}

#[cfg(test)]
mod tests;
