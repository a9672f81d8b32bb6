//! Numbers in text, as PORT, LPRT, 227 and 228 list them.

use std::ops::Range;

use super::line::is_blank;

/// One number of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// Where its digits stand.
    pub range: Range<usize>,
    /// Its value, never wrapped.
    pub value: u32,
    /// What stands behind the number.
    pub then: Then,
}

/// What follows a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// A comma: the list goes on.
    Comma,
    /// The text ends here or with blanks: it may go on in the next segment.
    Nothing,
    /// Something else: the list is over.
    Other,
}

/// Numbers separated by commas, with blanks around them as some servers print and most parsers accept.
pub(super) struct List<'a> {
    text: &'a [u8],
    at: usize,
    over: bool,
}

impl<'a> List<'a> {
    /// The list that begins at `at`.
    pub(super) const fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at, over: false }
    }

    /// Offset of the first byte that was not read.
    pub(super) const fn end(&self) -> usize {
        self.at
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at = self.at.saturating_add(1);
        }
    }
}

impl Iterator for List<'_> {
    type Item = Number;

    fn next(&mut self) -> Option<Number> {
        if self.over {
            return None;
        }
        self.skip(is_blank);
        if self.peek() == Some(b'+') {
            self.at = self.at.saturating_add(1); // as strtol(3) and scanf(3) have it
        }
        let start = self.at;
        self.skip(|b| b.is_ascii_digit());
        let range = start..self.at;
        if range.is_empty() {
            self.over = true;
            return None;
        }
        let value = decimal(self.text.get(range.clone()).unwrap_or(&[]));
        self.skip(is_blank);
        let then = match self.peek() {
            Some(b',') => {
                self.at = self.at.saturating_add(1);
                Then::Comma
            }
            Some(_) => Then::Other,
            None => Then::Nothing,
        };
        self.over = then != Then::Comma;
        Some(Number { range, value, then })
    }
}

/// The value of decimal digits; too many of them give `u32::MAX`, which no field can hold.
pub(super) fn decimal(digits: &[u8]) -> u32 {
    digits
        .iter()
        .fold(0, |value: u32, digit| value.saturating_mul(10).saturating_add(u32::from(digit.wrapping_sub(b'0'))))
}

/// Four numbers as an IPv4 address; `None` if one is no octet.
pub(super) fn octets<const N: usize>(numbers: &[u32]) -> Option<[u8; N]> {
    let mut out = [0; N];
    if numbers.len() != N {
        return None;
    }
    for (octet, number) in out.iter_mut().zip(numbers) {
        *octet = u8::try_from(*number).ok()?;
    }
    Some(out)
}

/// Two numbers as a port; `None` if one is no octet or the port is 0.
pub(super) fn port(numbers: &[u32]) -> Option<u16> {
    octets::<2>(numbers).map(u16::from_be_bytes).filter(|port| *port != 0)
}
