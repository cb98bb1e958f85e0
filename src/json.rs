//! JSON as this product needs it: strict when reading, exact when writing.
//!
//! Two readers that disagree on one text are how a request gets past a check, so this reader takes only texts
//! on which all agree (RFC 8259 with the restrictions of RFC 7493, I-JSON): UTF-8, no duplicate names, no lone
//! surrogates, bounded depth, nothing after the value. Numbers keep their digits and objects their order.
//! Not here: what the members mean (`tunnel`).

#[cfg(test)]
pub(crate) mod arbitrary;
mod compose;
pub mod diff;
#[cfg(test)]
mod differential;
mod read;
mod skim;
mod text;
mod write;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

pub use compose::{Compose, Member, compose};
use read::MANY_NAMES;
pub use read::{Error, ErrorKind, read};
pub use skim::skim;
pub use text::{Members, Text, written};

/// Depth that is accepted unless a caller says otherwise: a tunnel needs four levels, a bulk body six.
pub const MAX_DEPTH: usize = 32;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, by its digits as they were sent.
    Number(Number),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Object),
}

/// A number as text: valid JSON number syntax, never rounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(Box<str>);

impl Number {
    /// The digits as they were sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number as an integer, if it is written as one and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }
}

macro_rules! from_integer {
    ($($int:ty),*) => {$(
        impl From<$int> for Json {
            fn from(value: $int) -> Self {
                Self::Number(Number(value.to_string().into_boxed_str()))
            }
        }
    )*};
}
from_integer!(u8, u16, u32, u64, u128, usize, i32, i64);

/// A member's name: most that we write are our own words, which cost no allocation.
pub type Name = Cow<'static, str>;

/// An object: members in the order in which they came, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object(Vec<(Name, Json)>);

impl Object {
    /// An object with no member.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// An object with no member and room for so many.
    #[must_use]
    pub fn with_capacity(members: usize) -> Self {
        Self(Vec::with_capacity(members))
    }

    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The member of that name, to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        self.0.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Sets a member, in its old place if there is one.
    pub fn set(&mut self, name: impl Into<Name>, value: impl Into<Json>) {
        let name = name.into();
        match self.get_mut(&name) {
            Some(old) => *old = value.into(),
            None => self.0.push((name, value.into())),
        }
    }

    /// Sets all members of another object, in their order.
    pub fn append(&mut self, other: Self) {
        // Names of `other` differ from each other, so each is looked for among the old ones only.
        let old = self.0.len();
        for (name, value) in other.0 {
            match self.0.iter_mut().take(old).find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => self.0.push((name, value)),
            }
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// The members, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The members, to change; names stay.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Json)> {
        self.0.iter_mut().map(|(name, value)| (&**name, value))
    }

    /// How many members there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Name>, V: Into<Json>> FromIterator<(N, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(members: I) -> Self {
        let mut object = Self::new();
        object.extend(members);
        object
    }
}

impl<N: Into<Name>, V: Into<Json>> Extend<(N, V)> for Object {
    /// Sets one member after the other. Many names are looked up by hash, so that they don't cost a quadratic
    /// time.
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, members: I) {
        let mut places = HashMap::new();
        for (name, value) in members {
            if self.0.len() < MANY_NAMES {
                self.set(name, value);
                continue;
            }
            if places.is_empty() {
                places.extend(self.0.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)));
            }
            match places.entry(name.into()) {
                Entry::Vacant(place) => {
                    self.0.push((place.key().clone(), value.into()));
                    place.insert(self.0.len() - 1);
                }
                Entry::Occupied(place) => {
                    if let Some((_, old)) = self.0.get_mut(*place.get()) {
                        *old = value.into();
                    }
                }
            }
        }
    }
}

impl IntoIterator for Object {
    type Item = (Name, Json);
    type IntoIter = std::vec::IntoIter<(Name, Json)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Json {
    /// The member `name`, if this is an object that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    /// The value at an RFC 6901 pointer (`""` is this value).
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |at, token| match at {
            Self::Object(object) => object.get(&unescape_token(token)),
            Self::Array(items) => items.get(token.parse::<usize>().ok()?),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => None,
        })
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The truth value, if this is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The integer, if this is a number written as one that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self { number.as_i64() } else { None }
    }

    /// The items, if this is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The object, if this is one.
    #[must_use]
    pub const fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The object, to change, if this is one.
    pub const fn as_object_mut(&mut self) -> Option<&mut Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// What kind of value it is, in JSON's own word.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

/// One reference token of an RFC 6901 pointer, escaped.
#[must_use]
pub fn escape_token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn unescape_token(token: &str) -> Cow<'_, str> {
    if token.contains('~') { token.replace("~1", "/").replace("~0", "~").into() } else { token.into() }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn many_members_are_set_as_if_one_by_one(
            first in prop::collection::vec("[a-e]{1,2}", 0..20),
            then in prop::collection::vec("[a-e]{1,2}", 0..60),
        ) {
            let numbered = |names: Vec<String>| names.into_iter().enumerate().map(|(at, name)| (name, at));
            let mut one_by_one = Object::new();
            numbered(first.clone()).chain(numbered(then.clone())).for_each(|(name, at)| one_by_one.set(name, at));
            let mut at_once: Object = numbered(first).collect();
            at_once.extend(numbered(then));
            prop_assert_eq!(at_once, one_by_one);
        }
    }

    /// One by one this takes hours.
    #[test]
    fn a_million_members_are_set_at_once() {
        let many: Object = (0..1_000_000).map(|at: u32| (at.to_string(), at)).collect();
        assert_eq!(many.len(), 1_000_000);
    }
}
