//! What the upstream's present state says of a call whose outcome was lost.
//!
//! Pure: from the stored intent and what was read now to a verdict with its evidence. A verdict other than
//! `can't tell` is given only where the state could not look like that otherwise, given that no later call of
//! ours touched the tunnel. Not here: reading the state, writing the verdict (`resolve`).

use jiff::{SignedDuration, Timestamp};

use crate::audit::guard::{FORGED, MASK};
use crate::json::{Json, Object};
use crate::operation::Operation;

/// What became of a lost call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The upstream did what was asked.
    Applied,
    /// The upstream did not.
    NotApplied,
    /// The state allows both.
    CantTell,
}

impl Resolution {
    /// The value of the member `resolution`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NotApplied => "not applied",
            Self::CantTell => "can't tell",
        }
    }
}

/// One tunnel as an intent expected it: the members of an item of `expected`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The tunnel's id; none for a tunnel to be created.
    pub tunnel: Option<String>,
    /// The tunnel's name.
    pub name: Option<String>,
    /// Digest of the settings before, where they were read.
    pub before: Option<String>,
    /// Digest of the settings asked for, where they can be foretold.
    pub after: Option<String>,
    /// Whether a key would be replaced.
    pub replaces_key: bool,
    /// When the key had been replaced before, where it was read.
    pub key_before: Option<String>,
}

impl Expected {
    /// Whether the name is the one that was sent: the guard masks secrets in it, and what looks like a mask.
    fn name_is_whole(&self) -> bool {
        self.name.as_ref().is_some_and(|name| !name.contains(MASK) && !name.contains(FORGED))
    }
}

/// One tunnel as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Digest of its settings.
    pub settings: String,
    /// Its name.
    pub name: Option<String>,
    /// `created_on`
    pub created_on: Option<String>,
    /// `modified_on`
    pub modified_on: Option<String>,
    /// `psk_metadata.last_generated_on`
    pub key_generated_on: Option<String>,
    /// Whether the state says that no key was ever set.
    pub never_had_key: bool,
}

/// A verdict on one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What became of the call.
    pub resolution: Resolution,
    /// What that rests on.
    pub evidence: Object,
}

/// By how much our clock and the upstream's may differ. NTP keeps servers within tens of milliseconds; two
/// seconds also covers times that are cut to whole seconds.
const SKEW: SignedDuration = SignedDuration::from_secs(2);

/// Judges one tunnel of a call that was about to be made at `intended`. `present` is what has the tunnel's id
/// (or its name, for a tunnel to be created) now; none if nothing has.
#[must_use]
pub fn judge(
    operation: Operation,
    intended: Timestamp,
    expected: &Expected,
    present: Option<&Present>,
) -> Verdict {
    match operation {
        Operation::Create if !expected.name_is_whole() => {
            verdict(Resolution::CantTell, "the name does not stand in the record as it was sent")
        }
        Operation::Create => created(intended, present),
        Operation::Delete => match present {
            None => verdict(Resolution::Applied, "the tunnel is gone"),
            Some(_) => verdict(Resolution::NotApplied, "the tunnel is still there"),
        },
        Operation::GeneratePsk | Operation::SetPsks => {
            present.map_or_else(gone, |now| key(intended, expected, now))
        }
        Operation::Update | Operation::BulkUpdate => {
            present.map_or_else(gone, |now| replaced(intended, expected, now))
        }
        Operation::List | Operation::Get => verdict(Resolution::CantTell, "a read has no effect"),
    }
}

/// One verdict for a call on several tunnels: theirs, if they agree.
#[must_use]
pub fn together(verdicts: &[&Verdict]) -> Resolution {
    let mut resolutions = verdicts.iter().map(|verdict| verdict.resolution);
    match resolutions.next() {
        Some(first) if resolutions.all(|other| other == first) => first,
        _ => Resolution::CantTell,
    }
}

fn created(intended: Timestamp, present: Option<&Present>) -> Verdict {
    let Some(now) = present else {
        return verdict(Resolution::NotApplied, "no tunnel has that name");
    };
    let evidence = |resolution, what: &str| {
        let mut verdict = verdict(resolution, what);
        verdict.evidence.set("created_on", now.created_on.clone());
        verdict
    };
    match now.created_on.as_deref().and_then(time) {
        None => evidence(Resolution::CantTell, "a tunnel has that name, of unknown age"),
        Some(created) if created + SKEW < intended => {
            evidence(Resolution::NotApplied, "the tunnel of that name is older than the call")
        }
        Some(created) if created >= intended => {
            evidence(Resolution::Applied, "a tunnel of that name was created since")
        }
        // An earlier call's, or ours by a clock that is behind.
        Some(_) => {
            evidence(Resolution::CantTell, "a tunnel of that name was created at about the time of the call")
        }
    }
}

fn replaced(intended: Timestamp, expected: &Expected, now: &Present) -> Verdict {
    let settings = |resolution, what: &str| {
        let mut verdict = verdict(resolution, what);
        verdict.evidence.set("before", expected.before.clone());
        verdict.evidence.set("expected", expected.after.clone());
        verdict.evidence.set("present", now.settings.as_str());
        verdict
    };
    let is = |digest: &Option<String>| digest.as_deref() == Some(now.settings.as_str());
    match (is(&expected.before), is(&expected.after)) {
        // A replace is whole or not at all: where the settings don't tell, the key tells of all of it.
        (true, true) | (false, false) if expected.replaces_key => key(intended, expected, now),
        (true, true) => {
            let touched = |resolution, what: &str| {
                let mut verdict = settings(resolution, what);
                verdict.evidence.set("modified_on", now.modified_on.clone());
                verdict
            };
            match now.modified_on.as_deref().and_then(time) {
                Some(modified) if modified + SKEW < intended => {
                    touched(Resolution::NotApplied, "the tunnel was last modified before the call")
                }
                Some(modified) if modified >= intended => touched(
                    Resolution::Applied,
                    "the tunnel has the settings asked for and was modified since",
                ),
                _ => touched(Resolution::CantTell, "the call would have changed nothing"),
            }
        }
        (true, false) => settings(Resolution::NotApplied, "the state is the one before"),
        (false, true) => settings(Resolution::Applied, "the state is the one asked for"),
        (false, false) => {
            settings(Resolution::CantTell, "the state is neither the one before nor the one asked for")
        }
    }
}

fn key(intended: Timestamp, expected: &Expected, now: &Present) -> Verdict {
    let times = |resolution, what: &str| {
        let mut verdict = verdict(resolution, what);
        verdict.evidence.set("key_before", expected.key_before.clone());
        verdict.evidence.set("key_generated_on", now.key_generated_on.clone());
        verdict
    };
    let before = expected.key_before.as_deref().and_then(time);
    // Whole seconds name one key only if the call was not made within the same second.
    if expected.key_before == now.key_generated_on && before.is_some_and(|before| before + SKEW < intended) {
        return times(Resolution::NotApplied, "the key is the one before");
    }
    match now.key_generated_on.as_deref().and_then(time) {
        None if now.never_had_key && expected.key_before.is_none() => {
            times(Resolution::NotApplied, "the tunnel never had a key set")
        }
        None => times(Resolution::CantTell, "the tunnel does not tell when its key was set"),
        Some(generated) if generated + SKEW < intended => {
            times(Resolution::NotApplied, "the key is older than the call")
        }
        Some(generated) if generated >= intended => times(Resolution::Applied, "the key was replaced since"),
        Some(_) => times(Resolution::CantTell, "the key was replaced at about the time of the call"),
    }
}

fn gone() -> Verdict {
    verdict(Resolution::CantTell, "the tunnel is gone")
}

fn verdict(resolution: Resolution, what: &str) -> Verdict {
    Verdict { resolution, evidence: Object::from_iter([("because", Json::from(what))]) }
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn text(second: i64) -> Option<String> {
        Some(at(second).to_string())
    }

    #[track_caller]
    fn check(operation: Operation, expected: &Expected, present: Option<Present>, want: Resolution) {
        let got = judge(operation, at(0), expected, present.as_ref());
        assert_eq!(got.resolution, want, "{:?}", got.evidence);
    }

    #[test]
    fn a_creation_is_judged_by_name_and_age() {
        let aged = |second| Some(Present { created_on: text(second), ..Present::default() });
        let asked = Expected { name: Some("a".to_owned()), ..Expected::default() };
        check(Operation::Create, &asked, None, Resolution::NotApplied);
        check(Operation::Create, &asked, aged(1), Resolution::Applied);
        check(Operation::Create, &asked, aged(-60), Resolution::NotApplied);
        check(Operation::Create, &asked, aged(-1), Resolution::CantTell);
        check(Operation::Create, &asked, Some(Present::default()), Resolution::CantTell);
    }

    #[test]
    fn a_name_that_the_record_lost_tells_nothing() {
        for name in ["redacted:guard", "a redacted:guard b", "(redacted):x"] {
            let masked = Expected { name: Some(name.to_owned()), ..Expected::default() };
            check(Operation::Create, &masked, None, Resolution::CantTell);
        }
        check(Operation::Create, &Expected::default(), None, Resolution::CantTell);
    }

    #[test]
    fn a_deletion_is_judged_by_presence() {
        let asked = Expected::default();
        check(Operation::Delete, &asked, None, Resolution::Applied);
        check(Operation::Delete, &asked, Some(Present::default()), Resolution::NotApplied);
    }

    #[test]
    fn an_update_is_judged_by_state() {
        let asked = Expected { before: Some("b".into()), after: Some("a".into()), ..Expected::default() };
        let now = |digest: &str| Some(Present { settings: digest.into(), ..Present::default() });
        for operation in [Operation::Update, Operation::BulkUpdate] {
            check(operation, &asked, now("a"), Resolution::Applied);
            check(operation, &asked, now("b"), Resolution::NotApplied);
            check(operation, &asked, now("c"), Resolution::CantTell);
            check(operation, &asked, None, Resolution::CantTell);
        }
        let same = Expected { after: Some("b".into()), ..asked.clone() };
        check(Operation::Update, &same, now("b"), Resolution::CantTell);
        let modified = |second| now("b").map(|now| Present { modified_on: text(second), ..now });
        check(Operation::Update, &same, modified(1), Resolution::Applied);
        check(Operation::Update, &same, modified(-1), Resolution::CantTell);
        check(Operation::Update, &same, modified(-60), Resolution::NotApplied);
    }

    #[test]
    fn a_key_is_judged_by_its_age() {
        let now = |second| Some(Present { key_generated_on: text(second), ..Present::default() });
        let unread = Expected { replaces_key: true, ..Expected::default() };
        for operation in [Operation::GeneratePsk, Operation::SetPsks] {
            check(operation, &unread, now(1), Resolution::Applied);
            check(operation, &unread, now(-60), Resolution::NotApplied);
            check(operation, &unread, now(-1), Resolution::CantTell);
            let never = Present { never_had_key: true, ..Present::default() };
            check(operation, &unread, Some(never.clone()), Resolution::NotApplied);
            let had = Expected { key_before: text(-60), ..unread.clone() };
            check(operation, &had, Some(never), Resolution::CantTell);
            for untold in [&unread, &had] {
                check(operation, untold, Some(Present::default()), Resolution::CantTell);
            }
            let read = Expected { key_before: text(-60), ..unread.clone() };
            check(operation, &read, now(-60), Resolution::NotApplied);
            let just = Expected { key_before: text(-1), ..unread.clone() };
            check(operation, &just, now(-1), Resolution::CantTell);
        }
        let only_key = Expected { before: Some("b".into()), after: Some("b".into()), ..unread };
        let present = Present { settings: "b".into(), key_generated_on: text(1), ..Present::default() };
        check(Operation::Update, &only_key, Some(present.clone()), Resolution::Applied);
        let settings_too = Expected { after: Some("a".into()), ..only_key };
        check(Operation::Update, &settings_too, Some(present.clone()), Resolution::NotApplied);
        let unforeseen = Present { settings: "c".into(), ..present };
        check(Operation::Update, &settings_too, Some(unforeseen), Resolution::Applied);
    }

    #[test]
    fn several_tunnels_have_one_resolution_only_if_they_agree() {
        let of = |resolution| verdict(resolution, "");
        use Resolution::{Applied, CantTell, NotApplied};
        assert_eq!(together(&[&of(Applied), &of(Applied)]), Applied);
        assert_eq!(together(&[&of(Applied), &of(NotApplied)]), CantTell);
        assert_eq!(together(&[]), CantTell);
    }
}
