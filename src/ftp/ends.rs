//! Where the lines of the server's half end.
//!
//! At CR LF, and only there (RFC 959 §4.2): what lies between may be a client's own words, and a client that can make a
//! bare LF end a line can make the server say anything. There are servers that always end their lines otherwise. What
//! they do is learned from the greeting, of which no word is a client's; and never from where a segment ends, which is
//! the client's choice too.

/// How the server ends its lines, and whether the last byte was a CR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LineEnds {
    style: EndStyle,
    after_cr: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EndStyle {
    /// The first line has not ended.
    #[default]
    New,
    /// CR LF; a NUL may follow.
    CrLf,
    /// LF; a CR or NUL may follow.
    Lf,
    /// CR; a NUL may follow.
    Cr,
}

const CR: u8 = b'\r';
const LF: u8 = b'\n';

impl LineEnds {
    /// Nothing more is learned from what comes.
    pub(super) fn settle(&mut self) {
        if self.style == EndStyle::New {
            self.style = EndStyle::CrLf;
        }
    }

    /// Whether the first line has not ended.
    pub(super) fn is_new(self) -> bool {
        self.style == EndStyle::New
    }

    /// Bytes are missing: what comes follows no CR.
    pub(super) const fn skip(&mut self) {
        self.after_cr = false;
    }

    /// How many of these first bytes of a line belong to the end of the one before.
    pub(super) fn remainder(&mut self, bytes: &[u8]) -> usize {
        let mut count = 0_usize;
        for byte in bytes {
            match (self.style, *byte) {
                (EndStyle::New, _) => break,
                (EndStyle::Lf | EndStyle::Cr, LF) if self.after_cr => {
                    (self.style, self.after_cr) = (EndStyle::CrLf, false)
                }
                (EndStyle::Lf, CR) => self.after_cr = true,
                (_, 0) => self.after_cr = false,
                _ => break,
            }
            count = count.saturating_add(1);
        }
        count
    }

    /// How many of these next bytes belong to the line, up to its end; `None` if that has not come.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = match self.style {
            EndStyle::New => self.learn(bytes),
            EndStyle::CrLf => self.crlf(bytes),
            EndStyle::Lf => self.lf(bytes),
            EndStyle::Cr => self.cr(bytes),
        };
        let read = end.unwrap_or(bytes.len());
        if let Some(last) = read.checked_sub(1).and_then(|last| bytes.get(last)) {
            self.after_cr = *last == CR;
        }
        end
    }

    /// The first CR or LF of all decides. What follows a CR has to be seen.
    fn learn(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.after_cr && !bytes.is_empty() {
            let crlf = bytes.first() == Some(&LF);
            self.style = if crlf { EndStyle::CrLf } else { EndStyle::Cr };
            return Some(usize::from(crlf));
        }
        let at = memchr::memchr2(CR, LF, bytes)?;
        let (style, length) = match bytes.get(at..) {
            Some([LF, ..]) => (EndStyle::Lf, 1),
            Some([_, LF, ..]) => (EndStyle::CrLf, 2),
            Some([_, _, ..]) => (EndStyle::Cr, 1),
            _ => return None,
        };
        self.style = style;
        Some(at.saturating_add(length))
    }

    fn crlf(&self, bytes: &[u8]) -> Option<usize> {
        let mut ends = memchr::memchr_iter(LF, bytes);
        ends.find(|at| self.is_after_cr(bytes, *at)).map(|at| at.saturating_add(1))
    }

    fn lf(&mut self, bytes: &[u8]) -> Option<usize> {
        let at = memchr::memchr(LF, bytes)?;
        if self.is_after_cr(bytes, at) {
            self.style = EndStyle::CrLf;
        }
        Some(at.saturating_add(1))
    }

    fn cr(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = memchr::memchr(CR, bytes)?.saturating_add(1);
        if bytes.get(end) == Some(&LF) {
            self.style = EndStyle::CrLf;
            return Some(end.saturating_add(1));
        }
        Some(end)
    }

    fn is_after_cr(&self, bytes: &[u8], at: usize) -> bool {
        at.checked_sub(1).map_or(self.after_cr, |before| bytes.get(before) == Some(&CR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a stream in pieces, and how their ends are read at last.
    fn lines(pieces: &[&[u8]]) -> (Vec<String>, EndStyle) {
        let (mut ends, mut lines, mut line) = (LineEnds::default(), vec![], vec![]);
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                if line.is_empty() {
                    rest = &rest[ends.remainder(rest)..];
                }
                let end = ends.end(rest);
                let (now, behind) = rest.split_at(end.unwrap_or(rest.len()));
                line.extend_from_slice(now);
                rest = behind;
                if end.is_some() {
                    lines.push(String::from_utf8(std::mem::take(&mut line)).unwrap());
                }
            }
        }
        lines.retain(|line| !line.trim().is_empty());
        (lines.iter().map(|line| line.trim_end().to_owned()).collect(), ends.style)
    }

    #[test]
    fn every_style_however_cut() {
        for (stream, expected, style) in [
            ("220 a\r\n331 b\r\n", &["220 a\r\n", "331 b\r\n"][..], EndStyle::CrLf),
            ("220 a\r\n\x00331 b\r\n\x00", &["220 a\r\n", "331 b\r\n"], EndStyle::CrLf),
            ("220 a\n331 b\n", &["220 a\n", "331 b\n"], EndStyle::Lf),
            ("220 a\n\r331 b\n\r", &["220 a\n", "331 b\n"], EndStyle::Lf),
            ("220 a\n\x00331 b\n\x00", &["220 a\n", "331 b\n"], EndStyle::Lf),
            ("220 a\r331 b\r", &["220 a\r", "331 b\r"], EndStyle::Cr),
            ("220 a\r\x00331 b\r\x00", &["220 a\r", "331 b\r"], EndStyle::Cr),
            // one CR LF is proof
            ("220-a\n220 b\r\n500 c\nd\r\n", &["220-a\n", "220 b\r\n", "500 c\nd\r\n"], EndStyle::CrLf),
            ("220-a\r220 b\r\n500 c\rd\r\n", &["220-a\r", "220 b\r\n", "500 c\rd\r\n"], EndStyle::CrLf),
            ("220 a\n\r\n500 c\nd\r\n", &["220 a\n", "500 c\nd\r\n"], EndStyle::CrLf),
            // what it takes for a client's words to end a line
            (
                "220 a\r\n500 X\n227 (1,1,1,1,12,234)\r\n",
                &["220 a\r\n", "500 X\n227 (1,1,1,1,12,234)\r\n"],
                EndStyle::CrLf,
            ),
            (
                "220 a\r\n500 X\r227 (1,1,1,1,12,234)\r\n",
                &["220 a\r\n", "500 X\r227 (1,1,1,1,12,234)\r\n"],
                EndStyle::CrLf,
            ),
        ] {
            for cut in 0..stream.len() {
                for second in cut..stream.len() {
                    let bytes = stream.as_bytes();
                    let (found, last) = lines(&[&bytes[..cut], &bytes[cut..second], &bytes[second..]]);
                    assert_eq!(
                        (found, last),
                        (expected.iter().map(|line| line.trim_end().to_owned()).collect(), style),
                        "{stream:?} at {cut} and {second}"
                    );
                }
            }
        }
    }
}
