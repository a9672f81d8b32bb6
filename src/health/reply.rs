//! From the bytes of a stranger to FTP replies, with bounds.

use super::probe::Secret;
use crate::ftp::{Mark, code_of};

/// The longest line, in bytes.
const LINE: usize = 4096;

/// The most lines of one reply.
const LINES: usize = 1000;

/// How much of a reply is quoted, in bytes.
const QUOTED: usize = 300;

/// A reply that has come to its last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub code: u16,
    /// Its last line, without the end: where a 227 or 229 names its port.
    pub last: Vec<u8>,
    /// Its text, for people.
    pub words: String,
}

/// Why what came is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A line without a code, for people.
    NotFtp(String),
    /// A line or a reply that does not end.
    Endless,
}

/// Lines on their way to a reply.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    line: Vec<u8>,
    /// The code of a reply whose last line has not come.
    open: Option<u16>,
    lines: usize,
    words: Vec<u8>,
}

impl ReplyReader {
    /// Takes bytes off `input` up to the end of the next reply; `None`: it has not come.
    pub fn next(&mut self, input: &mut &[u8], secret: &Secret) -> Result<Option<Reply>, Flaw> {
        while !input.is_empty() {
            let end = memchr::memchr(b'\n', input);
            let (chunk, rest) =
                input.split_at_checked(end.map_or(input.len(), |end| end.saturating_add(1))).unwrap_or((input, &[]));
            *input = rest;
            if self.line.len().saturating_add(chunk.len()) > LINE {
                return Err(Flaw::Endless);
            }
            self.line.extend_from_slice(chunk);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                if let Some(reply) = self.take_line(trim(&line), secret)? {
                    return Ok(Some(reply));
                }
            }
        }
        Ok(None)
    }

    /// What has come of a reply that is not complete, for people.
    pub fn unfinished(&self, secret: &Secret) -> Option<String> {
        let mut words = self.words.clone();
        quote(&mut words, trim(secret.cut_beginning(&self.line)), secret);
        (!words.is_empty()).then(|| printable(&words))
    }

    fn take_line(&mut self, line: &[u8], secret: &Secret) -> Result<Option<Reply>, Flaw> {
        self.lines = self.lines.saturating_add(1);
        if self.lines > LINES {
            return Err(Flaw::Endless);
        }
        quote(&mut self.words, line, secret);
        match (self.open, code_of(line)) {
            (None, Some((code, Mark::More))) => self.open = Some(code),
            (None, Some((code, Mark::Last | Mark::Missing))) => return Ok(Some(self.complete(code, line))),
            (Some(open), Some((code, Mark::Last))) if code == open => return Ok(Some(self.complete(code, line))),
            (Some(_), _) => {}
            // Blank lines between replies are forgiven, as clients do.
            (None, None) if line.is_empty() => {}
            (None, None) => return Err(Flaw::NotFtp(printable(&self.words))),
        }
        Ok(None)
    }

    fn complete(&mut self, code: u16, line: &[u8]) -> Reply {
        let words = printable(&std::mem::take(&mut self.words));
        (self.open, self.lines) = (None, 0);
        Reply { code, last: line.to_vec(), words }
    }
}

/// Appends a line; a blank stands for its end.
fn quote(words: &mut Vec<u8>, line: &[u8], secret: &Secret) {
    // The whole line is searched before it is cut: half a password is one, too.
    let line = secret.hide(line);
    if !words.is_empty() && !line.is_empty() {
        words.push(b' ');
    }
    let room = QUOTED.saturating_sub(words.len());
    words.extend(line.iter().take(room));
    if line.len() > room && !words.ends_with(b"...") {
        words.truncate(QUOTED);
        words.extend(b"...");
    }
}

/// No control character of a stranger reaches a terminal.
fn printable(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn trim(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n'] = line {
        line = rest;
    }
    line
}
