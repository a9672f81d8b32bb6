//! The terminal: taken over, painted, and always given back.

use std::io::{self, IsTerminal, Write as _};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::page::{Line, Paint};

/// Alternate screen, cursor away, no wrapping at the right edge; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[0m\x1b[?25h\x1b[?1049l";

/// Whether standard input and output are a terminal that can be painted.
#[must_use]
pub fn is_there() -> bool {
    let able = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    able && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The terminal, ours until this is dropped: also by an error, a signal or a panic.
#[derive(Debug)]
pub struct Screen {
    before: Termios,
    colours: bool,
}

impl Screen {
    /// Takes the terminal over: raw mode, alternate screen.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let screen = Self { before, colours };
        screen.take()?;
        Ok(screen)
    }

    fn take(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        put(ENTER)
    }

    fn give_back(&self) {
        // Whoever hung up has no screen to be tidied.
        let _ = put(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }

    /// Ctrl-Z: gives the terminal back to the shell until `fg`.
    ///
    /// # Errors
    /// When the terminal is gone afterwards.
    pub fn suspend(&self) -> io::Result<()> {
        self.give_back();
        kill_process(getpid(), Signal::Stop)?;
        self.take()
    }

    /// Size of the terminal: columns and lines.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (80, 24),
        }
    }

    /// Shows a page, which has no more lines than the terminal.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn show(&self, page: &[Line]) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (number, line) in page.iter().enumerate() {
            if number > 0 {
                text.push_str("\r\n");
            }
            for (paint, piece) in line {
                let code = self.code(*paint);
                if code.is_empty() {
                    text.push_str(piece);
                } else {
                    text.push_str(&format!("\x1b[{code}m{piece}\x1b[0m"));
                }
            }
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        put(&text)
    }

    const fn code(&self, paint: Paint) -> &'static str {
        match (paint, self.colours) {
            (Paint::Plain, _) => "",
            (Paint::Reverse, _) => "7",
            (Paint::Bold, _) => "1",
            (Paint::Alarm, true) => "1;31",
            (Paint::Alarm, false) => "1;7",
            (Paint::Notice, true) => "33",
            (Paint::Notice, false) => "4",
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Writes all of `text` at once, so that no half a page is seen.
fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A key, or what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keystroke {
    /// A character as typed; Ctrl-C is `'\x03'`.
    Char(char),
    /// Cursor up: scroll one line up.
    Up,
    /// Cursor down: scroll one line down.
    Down,
    /// Page up: scroll one page up.
    PageUp,
    /// Page down: scroll one page down.
    PageDown,
    /// Home: scroll to the first line.
    Home,
    /// End: scroll to the last line.
    End,
}

/// The keys that are typed, in order.
#[derive(Debug)]
pub struct Keys(mpsc::Receiver<Vec<Keystroke>>);

impl Keys {
    /// Starts the thread that reads the keys; it ends with the process. (A terminal that others share must stay blocking.)
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn listen() -> io::Result<Self> {
        let (line, typed) = mpsc::channel(16);
        std::thread::Builder::new().name("keys".into()).spawn(move || {
            let mut bytes = [0; 64];
            loop {
                let length = match rustix::io::read(io::stdin(), &mut bytes) {
                    Err(Errno::INTR) => continue,
                    Ok(0) | Err(_) => return,
                    Ok(length) => length,
                };
                if line.blocking_send(keys(bytes.get(..length).unwrap_or_default())).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self(typed))
    }

    /// The next keys; `None` when standard input has ended.
    pub async fn next(&mut self) -> Option<Vec<Keystroke>> {
        self.0.recv().await
    }
}

/// The keys that these bytes stand for. Unknown sequences are no keys.
fn keys(bytes: &[u8]) -> Vec<Keystroke> {
    const SEQUENCES: [(&[u8], Keystroke); 12] = [
        (b"\x1b[A", Keystroke::Up),
        (b"\x1bOA", Keystroke::Up),
        (b"\x1b[B", Keystroke::Down),
        (b"\x1bOB", Keystroke::Down),
        (b"\x1b[5~", Keystroke::PageUp),
        (b"\x1b[6~", Keystroke::PageDown),
        (b"\x1b[H", Keystroke::Home),
        (b"\x1bOH", Keystroke::Home),
        (b"\x1b[1~", Keystroke::Home),
        (b"\x1b[F", Keystroke::End),
        (b"\x1bOF", Keystroke::End),
        (b"\x1b[4~", Keystroke::End),
    ];
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        if let Some((sequence, key)) = SEQUENCES.iter().find(|(sequence, _)| rest.starts_with(sequence)) {
            keys.push(*key);
            rest = rest.get(sequence.len()..).unwrap_or_default();
        } else if *first == 0x1b {
            // Up to the letter, or `~`, that ends the sequence.
            let end = after.iter().skip(1).position(|byte| byte.is_ascii_alphabetic() || *byte == b'~');
            rest = end.and_then(|end| after.get(end + 2..)).unwrap_or_default();
        } else {
            keys.push(Keystroke::Char(char::from(*first)));
            rest = after;
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_keys_and_unknown_ones_nothing() {
        assert_eq!(keys(b"q\x03"), [Keystroke::Char('q'), Keystroke::Char('\x03')]);
        assert_eq!(keys(b"\x1b[A\x1b[6~s"), [Keystroke::Up, Keystroke::PageDown, Keystroke::Char('s')]);
        assert_eq!(keys(b"\x1b[15~\x1bOHb"), [Keystroke::Home, Keystroke::Char('b')]);
        assert_eq!(keys(b"\x1b"), []);
    }
}
