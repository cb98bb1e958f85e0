//! Writes an object member by member, as text at once: nothing of it is held as a value. Not here: values (`json::write`).

use std::fmt::Write as _;

use super::Text;
use super::write::string;

/// An object or a list that is being written.
#[derive(Debug)]
pub struct Compose<'a> {
    text: &'a mut String,
    is_empty: bool,
}

/// What a member may be.
pub trait Member {
    /// Writes it as JSON.
    fn write(self, text: &mut String);
}

impl Member for &str {
    fn write(self, text: &mut String) {
        string(text, self);
    }
}

impl Member for Text<'_> {
    fn write(self, text: &mut String) {
        text.push_str(self.as_str());
    }
}

impl Member for i64 {
    fn write(self, text: &mut String) {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{self}");
    }
}

impl Member for u64 {
    fn write(self, text: &mut String) {
        let _ = write!(text, "{self}");
    }
}

/// Writes an object behind what a text holds.
pub fn compose(text: &mut String, members: impl FnOnce(&mut Compose<'_>)) {
    enclosed(text, ('{', '}'), members);
}

fn enclosed(text: &mut String, (open, close): (char, char), inside: impl FnOnce(&mut Compose<'_>)) {
    text.push(open);
    inside(&mut Compose { text: &mut *text, is_empty: true });
    text.push(close);
}

impl Compose<'_> {
    fn next(&mut self) {
        if !self.is_empty {
            self.text.push(',');
        }
        self.is_empty = false;
    }

    fn name(&mut self, name: &'static str) {
        self.next();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    /// A member whose name is not there yet, and is a word of ours that needs no escape, as all that are given here.
    pub fn set(&mut self, name: &'static str, value: impl Member) {
        self.name(name);
        value.write(self.text);
    }

    /// A member if there is such a value.
    pub fn set_some(&mut self, name: &'static str, value: Option<impl Member>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// A member as it stands in another object.
    pub fn copy(&mut self, name: Text<'_>, value: Text<'_>) {
        self.next();
        name.write(self.text);
        self.text.push(':');
        value.write(self.text);
    }

    /// A member that is an object.
    pub fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Compose<'_>)) {
        self.name(name);
        compose(self.text, members);
    }

    /// A member that is a list.
    pub fn list(&mut self, name: &'static str, items: impl FnOnce(&mut Compose<'_>)) {
        self.name(name);
        enclosed(self.text, ('[', ']'), items);
    }

    /// An object that is the next of a list.
    pub fn item(&mut self, members: impl FnOnce(&mut Compose<'_>)) {
        self.next();
        compose(self.text, members);
    }
}
