//! Blocks in braces, as keepalived.conf and lvs.cf have them: lines → statements, with includes, definitions and conditions.

use std::rc::Rc;

use super::format::unreadable;
use super::found::{ImportError, Includes, Place, Remarks};
use super::text::{KEEPALIVED, Syntax, Values, definition, shown, words};

/// The deepest nesting of blocks; keepalived.conf needs five.
const DEPTH: usize = 16;
/// The deepest nesting of includes.
const INCLUDES_DEPTH: usize = 8;
/// The most files that are included.
const FILES: usize = 256;
/// The most bytes, of all files together, with what definitions stand for.
const BYTES: usize = 4 << 20;

/// A line, with what stands in its braces.
#[derive(Debug)]
pub(super) struct Statement {
    pub place: Place,
    /// The condition of a line like `@main weight 3`: `main`.
    pub only: Option<String>,
    pub words: Vec<String>,
    /// `None`: it has no braces.
    pub children: Option<Vec<Statement>>,
}

impl Statement {
    /// The first word; empty for a block without one.
    pub fn keyword(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The word at `index` behind the keyword; empty if there is none.
    pub fn argument(&self, index: usize) -> &str {
        self.words.get(index + 1).map_or("", String::as_str)
    }

    /// What stands in its braces.
    pub fn inner(&self) -> &[Statement] {
        self.children.as_deref().unwrap_or_default()
    }
}

/// The statements of keepalived.conf, with those of the files that it includes.
///
/// # Errors
/// It is nested too deep, or has too many lines.
pub(super) fn keepalived(
    file: &Rc<str>,
    text: &str,
    includes: &Includes<'_>,
    remarks: &mut Remarks,
) -> Result<Vec<Statement>, ImportError> {
    let mut tree = Tree::new(&KEEPALIVED);
    let mut reading = Reading { frames: vec![Frame::new(file, text)], files: 0, bytes: 0, includes };
    let mut values = Values::default();
    while let Some((place, line)) = reading.next() {
        let (only, line) = condition(&line);
        let begin = line.trim_start();
        if let Some((name, value)) = begin.strip_prefix('$').and_then(definition) {
            match only {
                Some(only) => remarks.left_out(format!("{place}: ${} holds on `{}` only.", shown(name), shown(only))),
                None => values.set(name, value.trim_end()),
            }
            continue;
        }
        let first = begin.split_whitespace().next().unwrap_or_default();
        if matches!(first, "include" | "includer" | "includem" | "includew" | "includeb" | "includea") {
            let pattern = words(begin, &KEEPALIVED).into_iter().nth(1).unwrap_or_default();
            match only {
                Some(only) => {
                    remarks.left_out(format!("{place}: {} is included on `{}` only.", shown(&pattern), shown(only)));
                }
                None => reading.open(&place, &pattern, remarks),
            }
            continue;
        }
        // A value may be lines.
        for line in values.expand(line).split('\n') {
            tree.line(&place, only, line)?;
        }
    }
    Ok(tree.finish(remarks))
}

/// The statements of one file without includes and definitions.
///
/// # Errors
/// As [`keepalived`].
pub(super) fn plain(
    file: &Rc<str>,
    text: &str,
    syntax: &'static Syntax,
    remarks: &mut Remarks,
) -> Result<Vec<Statement>, ImportError> {
    let mut tree = Tree::new(syntax);
    for (index, line) in text.lines().enumerate() {
        tree.line(&Place { file: Rc::clone(file), line: index + 1 }, None, line)?;
    }
    Ok(tree.finish(remarks))
}

/// `@main weight 3` → `main` and ` weight 3`.
fn condition(line: &str) -> (Option<&str>, &str) {
    let Some(conditional) = line.trim_start().strip_prefix('@') else { return (None, line) };
    let end = conditional.find(char::is_whitespace).unwrap_or(conditional.len());
    (Some(&conditional[..end]), &conditional[end..])
}

/// A file that is being read.
struct Frame {
    file: Rc<str>,
    lines: std::vec::IntoIter<String>,
    number: usize,
}

impl Frame {
    fn new(file: &Rc<str>, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        Self { file: Rc::clone(file), lines: lines.into_iter(), number: 0 }
    }
}

/// The file, and those that it includes, line by line.
struct Reading<'i> {
    /// Those that are open, the innermost last.
    frames: Vec<Frame>,
    files: usize,
    bytes: usize,
    includes: &'i Includes<'i>,
}

impl Reading<'_> {
    /// The next line; one that ends in `\` with the one behind it.
    fn next(&mut self) -> Option<(Place, String)> {
        loop {
            let frame = self.frames.last_mut()?;
            let Some(mut line) = frame.lines.next() else {
                self.frames.pop();
                continue;
            };
            frame.number += 1;
            let place = Place { file: Rc::clone(&frame.file), line: frame.number };
            let joint = if line.trim_start().starts_with('$') { '\n' } else { ' ' };
            while line.trim_end().ends_with('\\') {
                let Some(more) = frame.lines.next() else { break };
                frame.number += 1;
                line.truncate(line.trim_end().len() - 1);
                line.push(joint);
                line.push_str(&more);
            }
            return Some((place, line));
        }
    }

    /// Reads what a pattern names before the lines that are left.
    fn open(&mut self, place: &Place, pattern: &str, remarks: &mut Remarks) {
        let named = shown(pattern);
        // Those that are not begun wait for their turn.
        let open: Vec<Rc<str>> =
            self.frames.iter().filter(|frame| frame.number > 0).map(|frame| Rc::clone(&frame.file)).collect();
        if open.len() > INCLUDES_DEPTH {
            return remarks.left_out(format!("{place}: include {named}: nested deeper than {INCLUDES_DEPTH} files."));
        }
        let files = match (self.includes)(pattern, &place.file) {
            Ok(files) => files,
            Err(why) => return remarks.left_out(format!("{place}: include {named}: {}.", shown(&why))),
        };
        if files.is_empty() {
            remarks.left_out(format!("{place}: include {named}: there is no such file."));
        }
        // The first one is read first: it is put on top.
        for file in files.into_iter().rev() {
            let name = shown(&file.name);
            self.files += 1;
            self.bytes = self.bytes.saturating_add(file.bytes.len());
            if open.iter().any(|open| **open == *file.name) {
                remarks.left_out(format!("{place}: include {named}: {name} includes itself."));
            } else if self.files > FILES || self.bytes > BYTES {
                remarks.left_out(format!("{place}: include {named}: more than {FILES} files or {BYTES} bytes."));
            } else if let Some(why) = unreadable(&file.bytes) {
                remarks.left_out(format!("{place}: include {named}: {name} is {why}."));
            } else {
                let text = String::from_utf8_lossy(&file.bytes).into_owned();
                self.frames.push(Frame::new(&file.name.into(), &text));
            }
        }
    }
}

/// Statements as they grow.
struct Tree {
    syntax: &'static Syntax,
    /// The blocks that are open, each with the statements before it at its level.
    open: Vec<(Vec<Statement>, Statement)>,
    /// The statements of the innermost open block.
    level: Vec<Statement>,
    bytes: usize,
    /// Braces that close nothing.
    stray: Option<Place>,
}

impl Tree {
    const fn new(syntax: &'static Syntax) -> Self {
        Self { syntax, open: Vec::new(), level: Vec::new(), bytes: 0, stray: None }
    }

    fn line(&mut self, place: &Place, only: Option<&str>, line: &str) -> Result<(), ImportError> {
        self.bytes = self.bytes.saturating_add(line.len());
        if self.bytes > BYTES {
            let what = format!("{place}: with its definitions and includes more than {BYTES} bytes");
            return Err(ImportError::Unreadable(what));
        }
        let statement = || Statement { place: place.clone(), only: only.map(shown), words: Vec::new(), children: None };
        let mut current = statement();
        for word in words(line, self.syntax) {
            match word.as_str() {
                "{" => self.begin(std::mem::replace(&mut current, statement()))?,
                "}" => {
                    self.put(std::mem::replace(&mut current, statement()));
                    self.end(place);
                }
                _ => current.words.push(word),
            }
        }
        self.put(current);
        Ok(())
    }

    fn put(&mut self, statement: Statement) {
        if !statement.words.is_empty() {
            self.level.push(statement);
        }
    }

    /// Begins the block of a statement, or of the line before, if there is nothing in front of the brace.
    fn begin(&mut self, statement: Statement) -> Result<(), ImportError> {
        if self.open.len() >= DEPTH {
            let place = &statement.place;
            return Err(ImportError::Unreadable(format!(
                "{place}: blocks nested deeper than {DEPTH}: is a brace missing?"
            )));
        }
        let before = self.level.pop_if(|last| statement.words.is_empty() && last.children.is_none());
        let opener = before.unwrap_or(statement);
        self.open.push((std::mem::take(&mut self.level), opener));
        Ok(())
    }

    fn end(&mut self, place: &Place) {
        let Some((before, mut opener)) = self.open.pop() else {
            self.stray.get_or_insert_with(|| place.clone());
            return;
        };
        opener.children = Some(std::mem::replace(&mut self.level, before));
        self.level.push(opener);
    }

    fn finish(mut self, remarks: &mut Remarks) -> Vec<Statement> {
        if let Some(place) = &self.stray {
            remarks.note(format!("{place}: this brace closes nothing: is the file whole?"));
        }
        if let Some((_, opener)) = self.open.first() {
            let place = opener.place.clone();
            remarks.note(format!("{place}: this block is never closed: is the file whole?"));
            while !self.open.is_empty() {
                self.end(&place);
            }
        }
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::found::Include;

    fn written(statements: &[Statement]) -> String {
        let one = |statement: &Statement| {
            let only = statement.only.as_ref().map(|only| format!("@{only} ")).unwrap_or_default();
            let inner = statement.children.as_ref().map(|children| format!("({})", written(children)));
            format!("{only}{}{}", statement.words.join(" "), inner.unwrap_or_default())
        };
        statements.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    fn read(text: &str) -> (String, String) {
        let mut remarks = Remarks::default();
        let includes = |pattern: &str, _from: &str| match pattern {
            "none" => Ok(Vec::new()),
            "bad" => Err("permission denied".to_owned()),
            _ => Ok(vec![
                Include { name: pattern.to_owned(), bytes: b"one 1\ninclude loop\n".to_vec() },
                Include { name: format!("{pattern}2"), bytes: b"two 2".to_vec() },
            ]),
        };
        let tree = keepalived(&"k".into(), text, &includes, &mut remarks);
        (written(&tree.expect("a tree")), remarks.lines().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn braces_may_stand_anywhere() {
        for text in ["a b {\n c\n d {\n e\n }\n}\nf", "a b\n{ c\n d { e }}\nf", "a b{\nc\nd\n{\ne\n}\n}f"] {
            assert_eq!(read(text).0, "a b(c; d(e)); f", "{text}");
        }
        let (tree, remarks) = read("a {\n b {\n c\n");
        assert_eq!(tree, "a(b(c))");
        assert_eq!(remarks, "k:1: this block is never closed: is the file whole?");
        assert_eq!(read("}\n}\na").0, "a");
    }

    #[test]
    fn definitions_and_conditions() {
        let text = "$IP=10.0.0.1\n$RS=real_server ${IP} 21 {\\\nweight 1\\\n}\nv {\n$RS\n@main weight 2\n@^main x\n}\n@main $A=1\n";
        let (tree, remarks) = read(text);
        assert_eq!(tree, "v(real_server 10.0.0.1 21(weight 1); @main weight 2; @^main x)");
        assert_eq!(remarks, "LEFT OUT: k:10: $A holds on `main` only.");
    }

    #[test]
    fn includes_are_read_in_their_place() {
        let (tree, remarks) = read("a {\ninclude x\nb\n}\ninclude none\ninclude bad\n");
        assert_eq!(tree, "a(one 1; one 1; two 2; two 2; two 2; b)");
        for sentence in
            ["loop includes itself", "include none: there is no such file", "include bad: permission denied"]
        {
            assert!(remarks.contains(sentence), "{remarks}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let mut remarks = Remarks::default();
        let deep = "a {\n".repeat(10_000);
        let error = plain(&"k".into(), &deep, &KEEPALIVED, &mut remarks).expect_err("too deep");
        assert_eq!(error.to_string(), "k:17: blocks nested deeper than 16: is a brace missing?");
    }
}
