//! What is wrong with a configuration, for the person who wrote it: all of it at once.
//!
//! Not here: what is checked (`read` and the files beside it).

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key path, as in `limits.subject.read`; empty where the file as a whole is meant.
    pub key: String,
    /// The line in the file, from 1; none where the file says nothing, or a variable says it.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Problem {
    /// A problem; a key is outside text too, so it is cut and cleaned.
    pub(super) fn new(key: &str, line: Option<usize>, what: String) -> Self {
        Self { key: key.chars().take(KEY).map(clean).collect(), line, what }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.is_empty(), self.line) {
            (true, None) => {}
            (true, Some(line)) => write!(f, "line {line}: ")?,
            (false, None) => write!(f, "{}: ", self.key)?,
            (false, Some(line)) => write!(f, "{} (line {line}): ", self.key)?,
        }
        f.write_str(&self.what)
    }
}

/// Everything that is wrong, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Bytes of outside text that a problem quotes: enough to find it, not enough to fill a terminal.
const QUOTED: usize = 80;

/// Characters of a key path: the deepest known one has 40, an account's id 32 more.
const KEY: usize = 200;

fn clean(c: char) -> char {
    if c.is_control() || c == '`' { '?' } else { c }
}

/// Outside text as it may stand in a message: in backticks, cut, without control characters.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED).map(clean).collect();
    let rest = if text.chars().nth(QUOTED).is_some() { "..." } else { "" };
    format!("`{shown}{rest}`")
}
