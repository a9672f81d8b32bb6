//! HTML as it is written here: markup is text of this program, and everything else is escaped.

use std::fmt::{self, Display, Write};

/// A piece of HTML. What is not known when this program is compiled can only get into it as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Adds markup.
    pub fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, for an element or for an attribute's value in quotes.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        // A String takes everything.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// Adds `<TAG>TEXT</TAG>`.
    pub fn element(&mut self, (open, close): (&'static str, &'static str), text: impl Display) -> &mut Self {
        self.markup(open).text(text).markup(close)
    }

    /// The whole.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Writes what would be markup, or would lead a reader astray, as what it is.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push('\n'),
                c if c.is_control() || turns(c) => self.0.push(char::REPLACEMENT_CHARACTER),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Whether a character changes the direction of the text after it (Unicode's bidirectional controls).
const fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut html = Html::default();
        html.markup("<p title=\"")
            .text("\" onload='x'")
            .markup("\">")
            .text("<script>&\u{1b}[2J\u{202e}ä\n")
            .markup("</p>");
        assert_eq!(
            html.into_string(),
            "<p title=\"&quot; onload=&#39;x&#39;\">&lt;script&gt;&amp;\u{fffd}[2J\u{fffd}ä\n</p>"
        );
    }
}
