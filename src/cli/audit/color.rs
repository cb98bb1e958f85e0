//! Colors for a terminal: titles and labels stand out, and what was refused or failed is red.
//!
//! Not here: whether there is a terminal that shows them (`cli::Env`).

use std::borrow::Cow;

use crate::inspect::LABEL;

/// SGR parameters (ECMA-48 section 8.3.117).
const BOLD: &str = "1";
const RED: &str = "31";

/// Paints, or leaves as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) colors: bool,
}

impl Paint {
    /// A table's titles.
    pub(super) fn heading(self, text: &str) -> Cow<'_, str> {
        self.lines(text, BOLD)
    }

    /// A table's entry.
    pub(super) fn entry(self, text: &str, failed: bool) -> Cow<'_, str> {
        if failed { self.lines(text, RED) } else { text.into() }
    }

    /// A story: labels in bold, a bad result in red.
    pub(super) fn story(self, text: &str) -> Cow<'_, str> {
        if !self.colors {
            return text.into();
        }
        let mut painted = String::with_capacity(text.len() * 2);
        for line in text.split_inclusive('\n') {
            // A label is ASCII, as wide as it has bytes.
            match line.split_at_checked(LABEL) {
                Some((label, rest)) if !label.starts_with(' ') => {
                    let bad = label.starts_with("result") && rest.starts_with(['4', '5']);
                    let (rest, end) = rest.strip_suffix('\n').map_or((rest, ""), |rest| (rest, "\n"));
                    painted += &self.lines(label, BOLD);
                    painted += &self.entry(rest, bad);
                    painted += end;
                }
                _ => painted += line,
            }
        }
        painted.into()
    }

    /// Each line by itself, so that a pager that cuts between them keeps its colors.
    fn lines<'t>(self, text: &'t str, how: &str) -> Cow<'t, str> {
        if !self.colors {
            return text.into();
        }
        let lines: Vec<String> =
            text.split('\n').map(|line| format!("\u{1b}[{how}m{line}\u{1b}[0m")).collect();
        lines.join("\n").into()
    }
}
