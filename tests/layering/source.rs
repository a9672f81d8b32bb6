//! Rust source, as far as this test reads it: without comments, strings and tests; items, imports and paths.

/// The code without comments, without what stands in quotes, and without what is compiled for tests only.
pub fn code(text: &str) -> String {
    without_tests(&without_words(text))
}

/// Comments go, literals become empty ones.
fn without_words(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if let Some(hashes) = raw(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &rest[hashes + 2..];
            at += hashes + 2 + body.find(&end).map_or(body.len(), |found| found + end.len());
            out.push_str("\"\"");
        } else if let Some(behind) = rest.strip_prefix('"') {
            at += 1 + quoted(behind, '"');
            out.push_str("\"\"");
        } else if rest.starts_with('\'') && is_char(rest) {
            at += 1 + quoted(&rest[1..], '\'');
            out.push_str("' '");
        } else {
            let next = rest.chars().next().unwrap_or_default();
            out.push(next);
            at += next.len_utf8();
        }
    }
    out
}

/// `r"`, `r#"`, … at the start of `text`: the number of hashes.
fn raw(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// The length up to and with the closing quote.
fn quoted(text: &str, close: char) -> usize {
    let mut escaped = false;
    for (at, next) in text.char_indices() {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if next == close => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character and no lifetime: `'x'` or `'\…'`.
fn is_char(text: &str) -> bool {
    let mut rest = text.chars().skip(1);
    rest.next() == Some('\\') || rest.next() == Some('\'')
}

fn without_tests(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        // Kept apart, so that a module that is only declared here is known to be one for tests.
        let item = &rest[at + "#[cfg(test)]".len()..];
        rest = &item[item_end(item)..];
    }
    out + rest
}

/// Modules declared for tests only, in files of their own.
pub fn test_modules(text: &str) -> Vec<String> {
    let text = without_words(text);
    let parts = text.split("#[cfg(test)]").skip(1);
    parts.filter_map(|part| declared(part[..item_end(part)].trim())).collect()
}

/// `mod x;`, with any visibility.
fn declared(item: &str) -> Option<String> {
    let rest = item.strip_suffix(';')?;
    let (_, name) = rest.split_once("mod ")?;
    Some(name.trim().to_owned())
}

/// Up to the `;` or the closing brace of the item that begins here.
fn item_end(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, next) in text.char_indices() {
        match next {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (next == ';' || next == '}') {
            return at + 1;
        }
    }
    text.len()
}

/// One name brought in by a `use`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// What it is called here; `*` for everything, `_` for a trait without a name.
    pub name: String,
    pub path: Vec<String>,
}

/// Takes the `use` items out of `code`: what they import, and the rest.
pub fn imports(code: &str) -> (Vec<Import>, String) {
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some(start) = use_item(line) else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut item = start.to_owned();
        while !item.contains(';') {
            item.push_str(lines.next().unwrap_or(";"));
        }
        expand(&[], item.split(';').next().unwrap_or_default(), &mut found);
    }
    (found, rest)
}

/// What follows `use` when the line begins such an item.
fn use_item(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let after = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    after.strip_prefix("use ")
}

/// `a::{b, c::{d as e, *}}` → `a::b`, `a::c::d` called e, `a::c::*`.
fn expand(before: &[String], text: &str, found: &mut Vec<Import>) {
    let text = text.trim();
    let Some((head, group)) = text.split_once('{') else {
        let (path, name) = match text.split_once(" as ") {
            Some((path, name)) => (path, Some(name.trim().to_owned())),
            None => (text, None),
        };
        let mut path = [before, &segments(path)].concat();
        // `a::{self}` is a.
        path.pop_if(|last| last == "self" && !before.is_empty());
        if let Some(last) = path.last().cloned() {
            found.push(Import { name: name.unwrap_or(last), path });
        }
        return;
    };
    let before = [before, &segments(head)].concat();
    let group = &group[..group.rfind('}').unwrap_or(group.len())];
    let mut depth = 0;
    let parts = group.split(|next| {
        depth += i32::from(next == '{') - i32::from(next == '}');
        next == ',' && depth == 0
    });
    for part in parts.filter(|part| !part.trim().is_empty()) {
        expand(&before, part, found);
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Modules that the file declares: `mod x;`.
pub fn children(code: &str) -> Vec<String> {
    code.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| declared(line.trim())).collect()
}

/// Every path of two names or more in code without `use` items.
pub fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let in_path = |next: char| next.is_ascii_alphanumeric() || next == '_' || next == ':';
    for word in code.split(|next: char| !in_path(next)).filter(|word| word.contains("::")) {
        found.push(segments(word));
    }
    found
}

/// Whether `name` stands in the code as a word.
pub fn names(code: &str, name: &str) -> bool {
    code.split(|next: char| !(next.is_ascii_alphanumeric() || next == '_')).any(|word| word == name)
}
