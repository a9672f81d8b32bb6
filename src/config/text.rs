//! The bytes of one file → its tree, or what it is instead of ours.

use std::borrow::Cow;

use super::foreign;
use super::problem::{Collector, Place, Source, Wrong};
use super::tree::{self, Node};

/// The text of one file.
pub(super) struct Text<'b> {
    pub file: &'b str,
    bytes: &'b [u8],
    /// Without a byte order mark; what is not UTF-8 is replaced.
    pub text: Cow<'b, str>,
    /// The byte up to which it is UTF-8, unless all of it is.
    valid: Option<usize>,
}

impl<'b> Text<'b> {
    pub fn new(bytes: &'b [u8], file: &'b str) -> Self {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let (text, valid) = match std::str::from_utf8(bytes) {
            Ok(text) => (Cow::Borrowed(text), None),
            Err(error) => (String::from_utf8_lossy(bytes), Some(error.valid_up_to())),
        };
        Self { file, bytes, text, valid }
    }

    /// The tree of the file, as far as it is ours. What is wrong with it is in `report`.
    pub fn tree(&self, source: Source, report: &Collector<'_>) -> Option<Node> {
        if let Some(valid) = self.valid {
            let (place, wrong) = foreign::not_utf8(self.bytes, valid, self.file);
            report.error(Place { source, ..place }, "", wrong);
            if !foreign::is_text(&self.text) {
                return None;
            }
            // A letter of another encoding in a comment hides nothing else.
            report.replaced(source);
        }
        if let Some((place, wrong)) = self.foreign() {
            report.error(Place { source, ..place }, "", wrong);
            return None;
        }
        tree::read(&self.text, source, report)
    }

    /// What the file is, if it is another program's: it looks so, and has neither of the keys that every file of ours has.
    fn foreign(&self) -> Option<(Place, Wrong)> {
        let found = foreign::recognized(&self.text, self.file)?;
        let root = tree::read(&self.text, Source::MAIN, &Collector::new(self.file, &self.text));
        let ours = |root: &Node| ["clusters", "include"].iter().any(|key| root.child(key).is_some());
        (!root.as_ref().is_some_and(ours)).then_some(found)
    }
}
