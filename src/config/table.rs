//! Takes keys out of the tree by name, and remembers which: what is left over at the end nobody knows.
//!
//! A key that is wrong becomes a problem and counts as its default, so that one run finds everything. Whoever
//! reads a whole configuration gives up at the end if there is any problem. No message quotes a value: a
//! secret in the wrong place must not be printed. Not here: which keys there are (`read` and beside it).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Rate;
use super::nearest;
use super::overrides::blame;
use super::problem::Problem;
use super::tree::{Node, Origin, Table, Value};
use super::units;

/// What all sections of one file share.
pub(super) struct Reader {
    /// What relative paths are relative to.
    pub(super) base: PathBuf,
    /// What is wrong so far.
    pub(super) problems: RefCell<Vec<Problem>>,
    /// Who said each key that was taken, by its path.
    pub(super) origins: RefCell<BTreeMap<String, Origin>>,
    /// Every key's value as it came out, without secrets: what the digest is made of.
    pub(super) resolved: RefCell<BTreeMap<String, String>>,
}

/// A table of the file, or one that isn't there.
pub(super) struct Section<'r> {
    pub(super) reader: &'r Reader,
    path: String,
    line: Option<usize>,
    entries: Table,
    known: Vec<String>,
}

impl<'r> Section<'r> {
    /// The whole file.
    pub(super) const fn root(reader: &'r Reader, entries: Table) -> Self {
        Self { reader, path: String::new(), line: None, entries, known: Vec::new() }
    }

    /// Reads a table inside; one that is missing is read as an empty one.
    pub(super) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'r>) -> T) -> T {
        let node = self.take(key);
        self.inner(self.path_of(key), node, read)
    }

    /// Reads every table of a list of tables.
    pub(super) fn list<T>(&mut self, key: &str, mut read: impl FnMut(&mut Section<'r>) -> T) -> Vec<T> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Node { value: Value::Array(items), .. }) => items,
            Some(_) => {
                self.problem(key, &format!("wants tables: write [[{key}]] above each"));
                return Vec::new();
            }
        };
        let path = self.path_of(key);
        let one = |(index, node)| self.inner(format!("{path}.{index}"), Some(node), &mut read);
        items.into_iter().enumerate().map(one).collect()
    }

    fn inner<T>(&self, path: String, node: Option<Node>, read: impl FnOnce(&mut Section<'r>) -> T) -> T {
        let (line, entries) = match node {
            None => (None, Table::new()),
            Some(Node { value: Value::Table(entries), origin }) => (blame(&origin, "").0, entries),
            Some(node) => {
                let (line, what) = blame(&node.origin, &format!("wants a table, not {}", node.value.kind()));
                self.reader.problems.borrow_mut().push(Problem::new(&path, line, what));
                (None, Table::new())
            }
        };
        let mut section = Section { reader: self.reader, path, line, entries, known: Vec::new() };
        let read = read(&mut section);
        section.finish();
        read
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) {
        for (key, node) in &self.entries {
            let (line, what) = blame(&node.origin, &nearest::unknown(key, &self.known));
            self.reader.problems.borrow_mut().push(Problem::new(&self.path_of(key), line, what));
        }
    }

    /// The names of what is there, where the file's author chooses the names.
    pub(super) fn names(&self) -> Vec<String> {
        self.entries.iter().map(|(name, _)| name.clone()).collect()
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the key is there and not yet taken.
    pub(super) fn says(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// Takes a key's node out.
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        self.known.push(key.to_owned());
        let at = self.entries.iter().position(|(name, _)| name == key)?;
        let (_, node) = self.entries.remove(at);
        self.reader.origins.borrow_mut().insert(self.path_of(key), node.origin.clone());
        Some(node)
    }

    /// A problem with a key: at its own place, or at the section's where it is missing.
    pub(super) fn problem(&self, key: &str, what: &str) {
        let path = self.path_of(key);
        let (line, what) = match self.reader.origins.borrow().get(&path) {
            Some(origin) => blame(origin, what),
            None => (self.line, what.to_owned()),
        };
        self.reader.problems.borrow_mut().push(Problem::new(&path, line, what));
    }

    /// Writes down what a key came to.
    pub(super) fn resolved(&self, key: &str, value: impl Display) {
        self.reader.resolved.borrow_mut().insert(self.path_of(key), value.to_string());
    }

    /// A key of which `parse` makes a value, or says what is wrong with it.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.take(key)?;
        parse(&node).map_err(|what| self.problem(key, &what)).ok()
    }

    /// A text that is not empty and of one line.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.parsed(key, plain_text)
    }

    /// A text that must be there; empty where it isn't, which nobody sees, as that is a problem.
    pub(super) fn required_text(&mut self, key: &str, what: &str) -> String {
        let there = self.says(key);
        let text = self.text(key);
        if !there {
            self.problem(key, &format!("is missing; {what}"));
        }
        let text = text.unwrap_or_default();
        self.resolved(key, &text);
        text
    }

    /// A file's path. The digest takes it as written, so that it does not depend on where the program starts.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key);
        self.resolved(key, text.as_deref().unwrap_or("none"));
        text.map(|text| self.reader.base.join(text))
    }

    /// A file's path that must be there.
    pub(super) fn required_path(&mut self, key: &str, what: &str) -> PathBuf {
        let text = self.required_text(key, what);
        self.reader.base.join(text)
    }

    /// A time within bounds.
    pub(super) fn duration(
        &mut self,
        key: &str,
        default: Duration,
        within: RangeInclusive<Duration>,
    ) -> Duration {
        let (least, most) = (units::show_duration(*within.start()), units::show_duration(*within.end()));
        let parse = |node: &Node| match text_of(node).map(units::duration) {
            Some(Some(found)) if within.contains(&found) => Ok(found),
            Some(Some(_)) => Err(format!("must be from {least} to {most}")),
            _ => Err(format!("wants {}, from {least} to {most}", units::DURATION)),
        };
        let value = self.parsed(key, parse).unwrap_or(default);
        self.resolved(key, units::show_duration(value));
        value
    }

    /// A number of bytes within bounds.
    pub(super) fn size(&mut self, key: &str, default: usize, within: RangeInclusive<usize>) -> usize {
        let show = |bytes: usize| units::show_size(u64::try_from(bytes).unwrap_or(u64::MAX));
        let (least, most) = (show(*within.start()), show(*within.end()));
        let parse = |node: &Node| {
            let typed = node.value.as_integer().and_then(|number| u64::try_from(number).ok());
            let found = typed.or_else(|| text_of(node).and_then(units::size));
            match found.and_then(|bytes| usize::try_from(bytes).ok()) {
                Some(bytes) if within.contains(&bytes) => Ok(bytes),
                Some(_) => Err(format!("must be from {least} to {most}")),
                None => Err(format!("wants {}, from {least} to {most}", units::SIZE)),
            }
        };
        let value = self.parsed(key, parse).unwrap_or(default);
        self.resolved(key, show(value));
        value
    }

    /// A number within bounds.
    pub(super) fn count(&mut self, key: &str, default: u32, within: RangeInclusive<u32>) -> u32 {
        let parse = |node: &Node| {
            let typed = node.value.as_integer().and_then(|number| u32::try_from(number).ok());
            let wanted = || format!("wants an integer from {} to {}", within.start(), within.end());
            typed.filter(|found| within.contains(found)).ok_or_else(wanted)
        };
        let value = self.parsed(key, parse).unwrap_or(default);
        self.resolved(key, value);
        value
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        let wanted = || "wants true or false, without quotes".to_owned();
        let parse = |node: &Node| node.value.as_bool().ok_or_else(wanted);
        let value = self.parsed(key, parse).unwrap_or(default);
        self.resolved(key, value);
        value
    }

    /// A rate that there must be: `none` is refused.
    pub(super) fn required_rate(&mut self, key: &str, default: Rate) -> Rate {
        let parse =
            |node: &Node| text_of(node).and_then(units::rate).ok_or_else(|| format!("wants {}", units::RATE));
        let value = self.parsed(key, parse).unwrap_or(default);
        self.resolved(key, units::show_rate(Some(value)));
        value
    }

    /// A rate, or `none`.
    pub(super) fn rate(&mut self, key: &str, default: Option<Rate>) -> Option<Rate> {
        let parse = |node: &Node| match text_of(node) {
            Some("none") => Ok(None),
            text => text
                .and_then(units::rate)
                .map(Some)
                .ok_or_else(|| format!("wants {}, or \"none\" for no limit", units::RATE)),
        };
        let value = self.parsed(key, parse).unwrap_or(default);
        self.resolved(key, units::show_rate(value));
        value
    }
}

/// The text that a node is: a variable's text also where it looks like a number.
pub(super) fn text_of(node: &Node) -> Option<&str> {
    match (&node.value, &node.origin) {
        (Value::String(text), _) => Some(text),
        (Value::Integer(_) | Value::Bool(_) | Value::Other(_), Origin::Variable { raw, .. }) => Some(raw),
        _ => None,
    }
}

/// Bytes of a text: the longest path that Linux takes.
const MAX_TEXT: usize = 4096;

/// A text that is not empty, of one line, and not endless.
pub(super) fn plain_text(node: &Node) -> Result<String, String> {
    let text = text_of(node).ok_or_else(|| format!("wants a string in quotes, not {}", node.value.kind()))?;
    if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(format!("wants from 1 to {MAX_TEXT} bytes of text on one line"));
    }
    Ok(text.to_owned())
}
