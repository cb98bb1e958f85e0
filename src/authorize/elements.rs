//! What the policy is asked about a call, element by element.
//!
//! Not here: what an element changes (`tunnel::change`), how the policy answers (`ask`).

use crate::json::Object;
use crate::tunnel::{Asked, Change};

use super::Element;

impl<'a> Element<'a> {
    /// The elements of a call, with what each changes and the states they were read in, as far as either is
    /// known. A list names no tunnel: it is one element, about the account.
    #[must_use]
    pub fn of_each(asked: &'a Asked, changes: &'a [Option<Change>], before: &'a [Object]) -> Vec<Self> {
        if asked.elements().is_empty() {
            return vec![Self::default()];
        }
        let each = asked.elements().iter().enumerate().map(|(at, element)| Self {
            tunnel: element.tunnel,
            sets_psk: element.psk().is_some(),
            change: changes.get(at).and_then(Option::as_ref),
            state: before.get(at),
            // To the whole of a body, or of none, points nothing.
            pointer: Some(element.pointer.as_str()).filter(|pointer| !pointer.is_empty()),
        });
        each.collect()
    }
}
