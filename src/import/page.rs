//! YAML with comments between its keys.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::found::Remarks;
use super::text::printable;

/// Columns of a comment.
const COLUMNS: usize = 118;

/// YAML as it grows.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub text: String,
}

impl Page {
    /// A comment, as many lines as it takes.
    pub fn comment(&mut self, indent: usize, text: &str) {
        let words = text.trim_start();
        let margin = text.len() - words.len();
        let mut line = " ".repeat(margin);
        let mut lines = Vec::new();
        for word in words.split(' ') {
            let first = line.trim_start().is_empty();
            if !first && indent + 2 + line.chars().count() + 1 + word.chars().count() > COLUMNS {
                lines.push(std::mem::replace(&mut line, " ".repeat(margin + 2)));
            } else if !first {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
        for line in lines {
            self.verbatim(indent, &line);
        }
    }

    /// A comment that is one line, however long.
    pub fn verbatim(&mut self, indent: usize, line: &str) {
        let line: String = line.chars().map(printable).collect();
        let line = format!("{:indent$}# {line}", "");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Comments, one for each remark.
    pub fn remarks(&mut self, indent: usize, remarks: &Remarks) {
        for line in remarks.lines() {
            self.comment(indent, &line);
        }
    }

    /// A key with its value. `before` stands in front of the first line: `- `, or blanks.
    pub fn entry(&mut self, indent: usize, before: &str, key: &str, value: &impl Serialize) {
        let Ok(yaml) = serde_yaml::to_string(&BTreeMap::from([(key, value)])) else { return };
        for (index, line) in yaml.lines().enumerate() {
            let begin = if index == 0 { before } else { "  " };
            // A list stands deeper than its key.
            let deeper = if line.starts_with("- ") { "  " } else { "" };
            // A string or a map cannot be written to only if memory is out.
            let _ = writeln!(self.text, "{:indent$}{begin}{deeper}{line}", "");
        }
    }

    /// As [`Self::entry`], in a comment.
    pub fn entry_as_comment(&mut self, indent: usize, key: &str, value: &impl Serialize) {
        let mut page = Self::default();
        page.entry(0, "", key, value);
        for line in page.text.lines() {
            self.verbatim(indent, line);
        }
    }
}
