//! From the bytes of a line to its first word and its argument.

/// Room for a cleaned line. Any command whose argument matters is shorter than the first part, unless it is hostile.
pub(super) struct Scratch {
    short: [u8; 512],
    long: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { short: [0; 512], long: Vec::new() }
    }
}

const IAC: u8 = 0xff;
const SB: u8 = 0xfa;
const SE: u8 = 0xf0;

/// A line without its end (CR LF, LF, CR NUL), telnet commands (RFC 854) and whatever of them a client left in front
/// of the verb: lftp is known for a lone `F2`. Borrows the line if it is clean, which nearly all are.
pub(super) fn clean<'a>(line: &'a [u8], scratch: &'a mut Scratch) -> &'a [u8] {
    let line = trim_end(line);
    let dirty = memchr::memchr2(IAC, 0, line).is_some() || line.first().is_some_and(|b| *b >= SE);
    trim_start(if dirty { without_telnet(line, scratch) } else { line })
}

/// The beginning of a line, cleaned, with the part of a telnet command that the next bytes may complete.
pub(super) fn condense(line: &[u8]) -> Vec<u8> {
    let (text, unfinished) = line.split_at_checked(unfinished_telnet(line)).unwrap_or((line, &[]));
    let mut out = clean(text, &mut Scratch::default()).to_vec();
    out.extend(unfinished.iter().take(2));
    out
}

/// Where a telnet command begins that is not complete; the line's length if none is.
fn unfinished_telnet(line: &[u8]) -> usize {
    let mut rest = line;
    while let Some(at) = memchr::memchr(IAC, rest) {
        let behind = rest.get(at.saturating_add(1)..).unwrap_or(&[]);
        rest = match behind {
            [] | [0xfb..=0xfe] => return line.len().saturating_sub(behind.len()).saturating_sub(1),
            [SB, tail @ ..] if memchr::memmem::find(tail, &[IAC, SE]).is_none() => {
                return line.len().saturating_sub(behind.len()).saturating_sub(1);
            }
            [SB, tail @ ..] => after_subnegotiation(tail),
            [0xfb..=0xfe, _, tail @ ..] | [_, tail @ ..] => tail,
        };
    }
    line.len()
}

/// Splits a cleaned line at its first blank.
pub(super) fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let word = line.iter().position(|b| is_blank(*b)).unwrap_or(line.len());
    let (word, argument) = line.split_at_checked(word).unwrap_or((line, &[]));
    (word, trim_blanks(argument))
}

/// Whether a command's first word can have been meant as one.
pub(super) fn is_word(word: &[u8]) -> bool {
    word.iter().all(u8::is_ascii_graphic)
}

/// Space, and what `isspace()` in a server's parser takes for one, without the line's end.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}

/// Without blanks at both ends.
pub(super) fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// Without the line's end.
pub(super) fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n' | 0] = line {
        line = rest;
    }
    line
}

/// Overwrites what may be a password and forgets it.
pub(super) fn wipe(buffer: &mut Vec<u8>) {
    buffer.fill(0);
    std::hint::black_box(buffer.as_mut_slice());
    buffer.clear();
}

fn trim_start(mut line: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = line
        && (is_blank(*first) || *first >= SE || *first == b'\r')
    {
        line = rest;
    }
    line
}

/// RFC 854, "TELNET command structure"; a lone IAC before anything that is no telnet command is dropped by itself.
fn without_telnet<'a>(line: &[u8], scratch: &'a mut Scratch) -> &'a [u8] {
    let out = if line.len() <= scratch.short.len() {
        scratch.short.as_mut_slice()
    } else {
        scratch.long.resize(line.len(), 0);
        scratch.long.as_mut_slice()
    };
    let mut kept = 0_usize;
    let mut rest = line;
    while let [byte, tail @ ..] = rest {
        let (keep, tail) = match (*byte, tail) {
            (0, _) => (None, tail),
            (IAC, [IAC, tail @ ..]) => (Some(IAC), tail),
            (IAC, [SB, tail @ ..]) => (None, after_subnegotiation(tail)),
            (IAC, [0xfb..=0xfe, _, tail @ ..] | [SE..=0xf9, tail @ ..] | [0xfb..=0xfe, tail @ ..]) => (None, tail),
            (IAC, _) => (None, tail),
            (byte, _) => (Some(byte), tail),
        };
        if let Some(byte) = keep {
            let Some(slot) = out.get_mut(kept) else { break };
            *slot = byte;
            kept = kept.saturating_add(1);
        }
        rest = tail;
    }
    out.get(..kept).unwrap_or(&[])
}

fn after_subnegotiation(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [IAC, SE, tail @ ..] => return tail,
            [_, tail @ ..] => tail,
            [] => return rest,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut scratch = Scratch::default();
        let (word, argument) = split(clean(line, &mut scratch));
        (word.to_vec(), argument.to_vec())
    }

    #[test]
    fn line_ends_and_blanks() {
        for line in [&b"RETR a b\r\n"[..], b"RETR a b\n", b"RETR a b\r\0", b"RETR a b", b" \tRETR  a b \r\r\n"] {
            assert_eq!(words(line), (b"RETR".to_vec(), b"a b".to_vec()), "{line:?}");
        }
        assert_eq!(words(b"\r\n"), (vec![], vec![]));
    }

    #[test]
    fn telnet_commands_are_stripped_anywhere() {
        for line in [
            &b"\xff\xf4\xff\xf2ABOR\r\n"[..], // RFC 959 §4.1.3: IP, then Synch
            b"\xf2ABOR\r\n",
            b"\xffABOR\r\n",
            b"\xff\xfb\x01ABOR\r\n",
            b"\xff\xfa\x18\x00xyz\xff\xf0ABOR\r\n",
            b"AB\xff\xf1OR\r\n",
            b"AB\0OR\r\n",
            b"ABOR\xff\xf9\r\n",
        ] {
            assert_eq!(words(line), (b"ABOR".to_vec(), vec![]), "{line:?}");
        }
        assert_eq!(words(b"RETR \xff\xff\r\n"), (b"RETR".to_vec(), b"\xff".to_vec()));
    }
}
