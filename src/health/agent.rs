//! HAProxy's agent protocol: a program on the server answers each connection with a line, whose words say how much work the
//! server wants.
//!
//! ```text
//! up ready 75%\n        down#disk full\n        drain, 100%\r\n
//! ```
//!
//! What a line does not name stays as it was. Only the weight of its own server is in the agent's hands.

/// The longest line that is read, in bytes.
const LINE: usize = 256;

/// The most percent that are believed. With a weight of 1 that is the heaviest weight there is.
const MOST: u32 = 6_553_500;

/// Whether a server shall have new sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentMode {
    /// It shall.
    #[default]
    Ready,
    /// It shall not, since it is emptied.
    Drain,
    /// It shall not, since it is worked on.
    Maint,
}

/// Whether a server can serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentHealth {
    /// It can.
    #[default]
    Up,
    /// It cannot.
    Down,
    /// It cannot: it failed a test of the agent.
    Fail,
    /// It cannot: it was stopped.
    Stopped,
}

/// One word of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Mode(AgentMode),
    Health(AgentHealth),
    Percent(u32),
}

impl Word {
    /// Every word, in small letters; the agent may write others.
    const NAMED: [(&'static str, Self); 7] = [
        ("ready", Self::Mode(AgentMode::Ready)),
        ("drain", Self::Mode(AgentMode::Drain)),
        ("maint", Self::Mode(AgentMode::Maint)),
        ("up", Self::Health(AgentHealth::Up)),
        ("down", Self::Health(AgentHealth::Down)),
        ("fail", Self::Health(AgentHealth::Fail)),
        ("stopped", Self::Health(AgentHealth::Stopped)),
    ];

    fn read(word: &[u8]) -> Option<Self> {
        if let Some(digits) = word.strip_suffix(b"%") {
            return percent(digits).map(Self::Percent);
        }
        let named = Self::NAMED.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
        named.map(|(_, word)| *word)
    }
}

/// Digits alone; what is more than [`MOST`] is that.
fn percent(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(digit).min(MOST))
    })
}

/// A line on its way.
#[derive(Debug, Default)]
pub struct AgentReader {
    line: Vec<u8>,
}

impl AgentReader {
    /// Takes bytes off the connection. The line, once it has ended or is as long as one may be.
    pub fn read(&mut self, bytes: &[u8]) -> Option<AgentLine> {
        let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let room = LINE.saturating_sub(self.line.len());
        let more = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        self.line.extend(more.iter().take(room));
        let cut = more.len() > room;
        (cut || end.is_some()).then(|| self.take(cut))
    }

    /// The connection has ended: what has come is the line. `None`: nothing has.
    pub fn ended(&mut self) -> Option<AgentLine> {
        (!self.line.is_empty()).then(|| self.take(false))
    }

    fn take(&mut self, cut: bool) -> AgentLine {
        AgentLine::read(&std::mem::take(&mut self.line), cut)
    }
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentLine {
    words: Vec<Word>,
    /// The first word that means nothing, printable ASCII; and how many there are.
    pub unknown: Option<(String, u32)>,
    /// The line for people: printable ASCII, at most 256 bytes and what escapes add.
    pub text: String,
}

impl AgentLine {
    /// A whole line.
    #[cfg(test)]
    pub fn of(text: &str) -> Self {
        Self::read(text.as_bytes(), false)
    }

    /// Words between blanks, tabs and commas, up to a `#`: what follows is for people. The last word of a line that was `cut` is
    /// left out: half a word may be another one.
    fn read(line: &[u8], cut: bool) -> Self {
        let text = line.escape_ascii().to_string();
        let (said, cut) = match line.iter().position(|byte| *byte == b'#') {
            Some(at) => (line.get(..at).unwrap_or_default(), false),
            None => (line, cut),
        };
        let mut pieces: Vec<&[u8]> = said.split(|byte| matches!(byte, b' ' | b'\t' | b',')).collect();
        if cut {
            pieces.pop();
        }
        let mut read = Self { words: Vec::new(), unknown: None, text };
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
            match Word::read(piece) {
                Some(word) => read.words.push(word),
                None => {
                    let unknown = read.unknown.get_or_insert_with(|| (piece.escape_ascii().to_string(), 0));
                    unknown.1 = unknown.1.saturating_add(1);
                }
            }
        }
        read
    }
}

/// What an agent has asked for so far: it alone takes back what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentStanding {
    /// Whether the server shall have new sessions.
    pub mode: AgentMode,
    /// Whether it can serve.
    pub health: AgentHealth,
    /// How much of its weight it shall have, `0..=6_553_500`.
    pub percent: u32,
}

impl Default for AgentStanding {
    fn default() -> Self {
        Self { mode: AgentMode::Ready, health: AgentHealth::Up, percent: 100 }
    }
}

impl AgentStanding {
    /// Takes a line into account. Of words that contradict each other the last one counts.
    #[must_use]
    pub fn after(mut self, line: &AgentLine) -> Self {
        for word in &line.words {
            match *word {
                Word::Mode(mode) => self.mode = mode,
                Word::Health(health) => self.health = health,
                Word::Percent(percent) => self.percent = percent,
            }
        }
        self
    }

    /// How much of its weight the server shall have, percent: 0 is a drain.
    #[must_use]
    pub const fn asks(self) -> u32 {
        if matches!(self.mode, AgentMode::Ready) { self.percent } else { 0 }
    }

    /// Whether the server cannot serve.
    #[must_use]
    pub const fn is_down(self) -> bool {
        !matches!(self.health, AgentHealth::Up)
    }

    /// The words for it, those that are not as at the start: `drain`, `down`, `75%`; `up` if all are.
    #[must_use]
    pub fn words(self) -> String {
        let health = match self.health {
            AgentHealth::Up => None,
            AgentHealth::Down => Some("down"),
            AgentHealth::Fail => Some("fail"),
            AgentHealth::Stopped => Some("stopped"),
        };
        let mode = match self.mode {
            AgentMode::Ready => None,
            AgentMode::Drain => Some("drain"),
            AgentMode::Maint => Some("maint"),
        };
        let percent = (self.percent != 100).then(|| format!("{}%", self.percent));
        let words: Vec<String> = [health, mode].into_iter().flatten().map(str::to_owned).chain(percent).collect();
        if words.is_empty() { "up".to_owned() } else { words.join(" ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line that these bytes are, in one piece.
    fn line(bytes: &[u8]) -> AgentLine {
        let mut reader = AgentReader::default();
        reader.read(bytes).or_else(|| reader.ended()).expect("a line")
    }

    fn after(lines: &[&str]) -> AgentStanding {
        lines.iter().fold(AgentStanding::default(), |standing, text| standing.after(&line(text.as_bytes())))
    }

    #[test]
    fn every_word_and_what_comes_of_it() {
        for (lines, asks, down, words) in [
            (&["up"][..], 100, false, "up"),
            (&["75%"], 75, false, "75%"),
            (&["0%"], 0, false, "0%"),
            (&["200%"], 200, false, "200%"),
            (&["drain"], 0, false, "drain"),
            (&["maint"], 0, false, "maint"),
            (&["down"], 100, true, "down"),
            (&["fail"], 100, true, "fail"),
            (&["stopped"], 100, true, "stopped"),
            (&["DRAIN", "Ready"], 100, false, "up"),
            (&["drain 50%", "ready"], 50, false, "50%"),
            (&["maint", "100%"], 0, false, "maint"),
            (&["down", "ready"], 100, true, "down"),
            (&["down", "Up"], 100, false, "up"),
            (&["down,drain\t50%"], 0, true, "down drain 50%"),
            (&["drain", ""], 0, false, "drain"),
            (&["drain", "# nothing but a remark: ready"], 0, false, "drain"),
            (&["down#disk full, up"], 100, true, "down"),
            (&["down #up"], 100, true, "down"),
            (&["up ready 100%"], 100, false, "up"),
            (&["down up"], 100, false, "up"),
            (&["10% 20%"], 20, false, "20%"),
            (&["  ,\t, 30% ,"], 30, false, "30%"),
            (&["99999999999999999999%"], 6_553_500, false, "6553500%"),
        ] {
            let text: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
            let standing = after(&text.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!((standing.asks(), standing.is_down()), (asks, down), "{lines:?}");
            assert_eq!(standing.words(), words, "{lines:?}");
        }
    }

    #[test]
    fn unknown_words_change_nothing_and_are_told() {
        for word in
            ["maxconn:30", "%", "-5%", "+5%", "5 %", "0x10%", "1.5%", "75", "dr\u{e4}in", "drain!", "ups", "u", "stop"]
        {
            let read = line(format!("{word}\n").as_bytes());
            assert_eq!(AgentStanding::default().after(&read), AgentStanding::default(), "{word}");
            assert!(read.unknown.is_some(), "{word}");
        }
        let read = line(b"first drain \x1b[2J second 50%\n");
        assert_eq!(read.unknown, Some(("first".to_owned(), 3)));
        assert_eq!(read.text, "first drain \\x1b[2J second 50%");
        assert_eq!(AgentStanding::default().after(&read).words(), "drain 50%");
        assert_eq!(line(b"up\n").unknown, None);
    }

    #[test]
    fn a_line_ends_at_its_end_or_with_the_connection() {
        for text in [&b"drain\n"[..], b"drain\r\n", b"drain\rup\n", b"drain\nup", b"drain\0up\n", b"drain"] {
            for size in 1..=text.len() {
                let mut reader = AgentReader::default();
                let read = text.chunks(size).find_map(|piece| reader.read(piece)).or_else(|| reader.ended());
                assert_eq!(
                    AgentStanding::default().after(&read.expect("a line")).words(),
                    "drain",
                    "{text:?} by {size}"
                );
            }
        }
        assert_eq!(AgentReader::default().ended(), None);
        assert_eq!(line(b"\n").text, "");
    }

    #[test]
    fn a_huge_line_is_cut_and_half_a_word_is_none() {
        let whole = |text: &str| AgentStanding::default().after(&line(text.as_bytes())).words();
        let padded = |word: &str, length: usize| format!("{}{word}", " ".repeat(length - word.len()));
        assert_eq!(whole(&padded("drain", LINE)), "drain", "the longest line");
        assert_eq!(whole(&(padded("drain", LINE) + "ed")), "up", "half a word");
        assert_eq!(whole(&(padded("drain ", LINE) + "x")), "drain", "a word before the cut");
        assert_eq!(whole(&("drain#".to_owned() + &"x".repeat(100_000))), "drain", "a long remark");
        let endless = line(&b"x ".repeat(100_000));
        assert_eq!(endless.unknown, Some(("x".to_owned(), 128)));
        assert_eq!(endless.text.len(), LINE);
        let mut reader = AgentReader::default();
        assert!((0..LINE).all(|_| reader.read(b"x").is_none()));
        assert!(reader.read(b"x").is_some(), "byte by byte");
    }

    /// Whatever a server says, no panic, and nothing but its own weight, in bounds.
    #[test]
    fn random_bytes_are_words_or_nothing() {
        let mut state = 20_261_127_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let pieces: [&[u8]; 14] = [
            b"up",
            b"down",
            b"drain",
            b"maint",
            b"ready",
            b"75%",
            b"%",
            b"#",
            b" ",
            b",",
            b"\t",
            b"\xff",
            b"9999999999",
            b"\x1b[",
        ];
        let mut standing = AgentStanding::default();
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..random() % 60 {
                match random() % 3 {
                    0 => bytes.push((random() % 256) as u8),
                    _ => bytes.extend(pieces[(random() % 14) as usize]),
                }
            }
            let mut reader = AgentReader::default();
            let size = 1 + (random() % 40) as usize;
            let Some(read) = bytes.chunks(size).find_map(|piece| reader.read(piece)).or_else(|| reader.ended()) else {
                continue;
            };
            assert!(
                read.text.len() <= LINE * 4 && read.text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{read:?}"
            );
            let in_one = line(&bytes);
            assert_eq!(read, in_one, "{bytes:?} by {size}");
            standing = standing.after(&read);
            assert!(standing.asks() <= MOST, "{read:?}");
        }
    }
}
