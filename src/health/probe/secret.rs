//! A password on its way to the server, and nowhere else.

use std::fmt;

use memchr::memmem;

/// What stands for it in a quotation.
const HIDDEN: &[u8] = b"***";

/// A password; neither `Debug` nor any error shows it.
#[derive(Clone, Default)]
pub(in crate::health) struct Secret(Vec<u8>);

impl Secret {
    /// The first line of a file: what comes after it would be commands.
    pub fn first_line(content: &[u8]) -> Self {
        let end = content.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)).unwrap_or(content.len());
        Self(content.get(..end).unwrap_or_default().to_vec())
    }

    /// The bytes of the password, only for the PASS line.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// An unfinished line without what may be its beginning.
    pub fn cut_beginning<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        let begins = |from: &usize| line.get(*from..).is_some_and(|end| self.0.starts_with(end));
        (0..line.len()).find(begins).and_then(|from| line.get(..from)).unwrap_or(line)
    }

    /// A line with the password hidden.
    pub fn hide(&self, line: &[u8]) -> Vec<u8> {
        if self.0.is_empty() {
            return line.to_vec();
        }
        let mut out = Vec::with_capacity(line.len());
        let mut from = 0;
        for at in memmem::find_iter(line, &self.0) {
            out.extend_from_slice(line.get(from..at).unwrap_or_default());
            out.extend_from_slice(HIDDEN);
            from = at.saturating_add(self.0.len());
        }
        out.extend_from_slice(line.get(from..).unwrap_or_default());
        out
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
