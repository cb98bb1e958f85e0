//! The last guard: searches a finished entry for every secret value seen in its call, and masks what it finds.
//!
//! Redaction decides by the place of a value; this decides by the value, so it also finds a secret that the
//! upstream quotes in an error message, that a client put into a description, or that stands in a path. It
//! looks for a secret as it is and under the usual encodings (`guard::views`), two of them on top of each other
//! included. In free texts, which may cut an echo short, it also masks each run of [`RUN`] bytes or more that a
//! secret has in common with the text. Tokens that are known by their looks (`guard::shapes`) are masked in every
//! call.
//!
//! A secret of fewer than [`SHORT`] bytes is masked only where it is a whole text: anyone may choose `a` as a
//! `psk`, and a record in which every `a` is masked tells nothing.
//!
//! Not touched are [`PROTECTED`] members and our own vocabulary, lest a caller choose its own name, or the word
//! `customer_endpoint`, as a `psk` and so blank it out of the record. [`secret_in_identity`] is the other half:
//! such a request is refused before anything is stored or sent, and so is one whose secret stands in what it asks
//! for (`audit::secrets`).
//! Every entry passes here last, so here outside text also loses what would make it look like our own: where it
//! says `redacted:`, the record says [`FORGED`]. A fingerprint's marker stands only as a whole text, in the form
//! that the redactor gives it, at a field that the table calls secret (a `psk`, a `md5_key`, or the value of a
//! patch of one): nothing gets to such a place but through the redactor. In [`PROTECTED`] members, such as a
//! token's subject, it stands as it is; who looks for fingerprints must look at the fields of secrets, as the
//! view `psk_events` does. No name of a member is outside text (`audit::redact`).
//!
//! Cost: a caller chooses up to 2000 secrets and the text that they are looked for in, so neither may multiply
//! the other. Each reading of a text costs a few steps a byte whatever the secrets are (`guard::search`), and
//! all readings of a text hold some 70 bytes at most for each of its own (9 in a long one, `views::LONG`).
//! Not here: redaction by place (`audit::redact`).

#[cfg(test)]
mod encodings;
mod needles;
mod place;
mod search;
mod shapes;
#[cfg(test)]
mod tests;
mod views;

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use crate::caller::Caller;
use crate::json::{Json, Object};
use crate::operation::{AccountId, TunnelId};

pub use place::PROTECTED;
use place::Place;
use search::Secrets;

/// Whether a member's name is our own word, which stands whatever somebody chose as a secret.
#[cfg(fuzzing)]
#[must_use]
pub fn is_our_word(name: &str) -> bool {
    place::is_our_word(name)
}

/// What stands in place of what was found.
pub const MASK: &str = "redacted:guard";

/// How every text of ours that stands in place of a secret begins.
const OURS: &str = "redacted:";

/// What stands in the record where outside text says `redacted:`.
pub const FORGED: &str = "(redacted):";

/// Bytes below which a secret is looked for as a whole text only.
pub const SHORT: usize = 6;

/// Bytes that a free text and a secret may not have in common in one run.
pub const RUN: usize = 8;

/// The secrets of one call, ready to be looked for.
pub struct Guard<'a> {
    /// Secrets of [`SHORT`] bytes and more.
    secrets: Secrets<'a>,
    /// Secrets that are looked for as whole texts.
    short: HashSet<&'a str>,
}

impl std::fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl<'a> Guard<'a> {
    /// A guard against these secrets. To be built once a call.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let (long, short): (Vec<&str>, Vec<&str>) =
            secrets.into_iter().filter(|secret| !secret.is_empty()).partition(|secret| secret.len() >= SHORT);
        Self { secrets: Secrets::new(long), short: short.into_iter().collect() }
    }

    /// Masks every secret in a finished entry, and takes from outside text what looks like our own. Says whether
    /// there was a secret. Not to be done twice: the second time would take the mask for outside text.
    pub fn mask(&self, entry: &mut Json) -> bool {
        let mut found = false;
        self.mask_value(entry, Place::ENTRY, &mut found);
        found
    }

    /// A text that stands alone, such as one that goes into a log line.
    #[must_use]
    pub fn mask_text(&self, text: &str) -> String {
        self.masked(text, true).unwrap_or_else(|| text.to_owned())
    }

    /// Whether a secret, unless it is a short one, stands in an id or a name.
    #[must_use]
    pub fn finds(&self, name: &str) -> bool {
        !self.secrets.find(name.as_bytes(), false).is_empty()
    }

    /// Whether a secret stands in a text, in any reading, or is it if it is short.
    #[must_use]
    pub fn finds_in_text(&self, text: &str) -> bool {
        let shortest = self.secrets.shortest();
        let find = |view: &[u8]| self.secrets.find(view, false);
        self.short.contains(text)
            || text.len() >= shortest && !views::search(text.as_bytes(), shortest, &find).is_empty()
    }

    /// Whether a secret stands in a text or a number, as they are looked for there.
    #[must_use]
    pub fn finds_in(&self, value: &Json) -> bool {
        match value {
            Json::String(text) => self.finds_in_text(text),
            Json::Number(number) => self.finds(number.as_str()),
            Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => false,
        }
    }

    /// Whether a text or a number that is not free text would lose something; also by its looks alone.
    #[must_use]
    pub fn masks(&self, value: &Json) -> bool {
        match value {
            Json::String(text) => self.masked(text, false).is_some(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                self.finds_in(value)
            }
        }
    }

    fn mask_value(&self, value: &mut Json, place: Place<'_>, found: &mut bool) {
        if place.is_protected() {
            return;
        }
        match value {
            Json::Null | Json::Bool(_) => {}
            // Masked whole: a number with a mask in it is none.
            Json::Number(number) => {
                if !self.secrets.find(number.as_str().as_bytes(), false).is_empty() {
                    *value = MASK.into();
                    *found = true;
                }
            }
            Json::String(text) => {
                let Some((kept, searched)) = place.searched(text) else { return };
                if let Some(masked) = self.masked(searched, place.is_free_text()) {
                    *value = format!("{kept}{masked}").into();
                    *found = true;
                } else if kept.is_empty() && searched.contains(OURS) {
                    *value = outside(searched).into_owned().into();
                }
            }
            Json::Array(items) => {
                items.iter_mut().for_each(|item| self.mask_value(item, place.item(), found));
            }
            Json::Object(members) => {
                let field = place::patched(members);
                for (name, value) in members.iter_mut() {
                    let place = match &field {
                        Some(field) if matches!(name, "value" | "old") => place.of_field(name, field),
                        Some(_) | None => place.member(name),
                    };
                    self.mask_value(value, place, found);
                }
                if members.iter().any(|(name, _)| self.masked_name(name).is_some()) {
                    *members = self.renamed(std::mem::take(members));
                    *found = true;
                }
            }
        }
    }

    fn masked_name(&self, name: &str) -> Option<String> {
        // In this order, because most calls have long secrets only, and most names are short.
        self.masked(name, false).filter(|_| !place::is_our_word(name))
    }

    /// The members under masked names; one that would meet another gets a number.
    fn renamed(&self, members: Object) -> Object {
        let mut out = Object::new();
        for (name, value) in members {
            let mut free = self.masked_name(&name).map_or(name, Into::into);
            while out.get(&free).is_some() {
                free = format!("{MASK}:{}", out.len()).into();
            }
            out.set(free, value);
        }
        out
    }

    /// The text with what was found masked; `None` where nothing was.
    fn masked(&self, text: &str, free: bool) -> Option<String> {
        if self.short.contains(text) {
            return Some(MASK.to_owned());
        }
        // Where there are no runs, there is nothing that a free text could have in part.
        let whole = self.secrets.shortest().min(shapes::SHORTEST);
        let shortest = if free && self.secrets.have_runs() { whole.min(RUN) } else { whole };
        if text.len() < shortest {
            return None;
        }
        let find = |view: &[u8]| {
            let mut found = self.secrets.find(view, free);
            found.extend(shapes::tokens(view));
            found
        };
        cut(text, views::search(text.as_bytes(), shortest, &find))
    }
}

/// Puts the mask over the ranges, each widened to whole characters.
fn cut(text: &str, mut ranges: Vec<Range<usize>>) -> Option<String> {
    if ranges.is_empty() {
        return None;
    }
    ranges.sort_unstable_by_key(|range| range.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for range in ranges {
        let (start, end) = (text.floor_char_boundary(range.start), text.ceil_char_boundary(range.end));
        if end <= done {
            continue;
        }
        // Ranges that meet or overlap get one mask.
        if start > done || done == 0 {
            out.push_str(&outside(text.get(done..start).unwrap_or_default()));
            out.push_str(MASK);
        }
        done = end;
    }
    out.push_str(&outside(text.get(done..).unwrap_or_default()));
    Some(out)
}

/// Outside text as it may stand in the record. Only after secrets were looked for: one that holds the word would
/// not be found any more.
fn outside(text: &str) -> Cow<'_, str> {
    if text.contains(OURS) { text.replace(OURS, FORGED).into() } else { text.into() }
}

/// Whether one of these secrets, unless it is a short one, stands in what names the call: the caller, the
/// account or a tunnel. Such a call must be refused as a bad body: its record would either hold the secret or
/// not say who called.
#[must_use]
pub fn secret_in_identity<'a>(
    secrets: impl IntoIterator<Item = &'a str>,
    caller: &Caller,
    account: AccountId,
    tunnels: impl IntoIterator<Item = TunnelId>,
) -> bool {
    let Caller { subject, teams, roles, issuer, jti, key_id, expires: _ } = caller;
    let tunnels: Vec<TunnelId> = tunnels.into_iter().collect();
    let mut names: Vec<&str> = vec![subject, issuer, account.as_str()];
    names.extend(teams.iter().chain(roles).map(String::as_str));
    names.extend(jti.iter().chain(key_id).map(String::as_str));
    names.extend(tunnels.iter().map(TunnelId::as_str));
    let guard = Guard::new(secrets.into_iter().filter(|secret| secret.len() >= SHORT));
    names.iter().any(|name| guard.finds(name))
}
