//! The record against the truth: what the upstream did, and what clients were told.
//!
//! Not here: how both came about (`crash`, `crash::callers`).

use std::collections::{BTreeMap, BTreeSet};

use tunnelwarden::emulator::Effect;
use tunnelwarden::json::Json;

use super::callers::Heard;
use crate::harness::Stored;

/// What was seen over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) effects: usize,
    pub(crate) answers: usize,
    pub(crate) intents: usize,
    /// Intents that a crash left open.
    pub(crate) resolved: usize,
    /// Of these, how many by verdict; for `can't tell` with operation and reason.
    pub(crate) verdicts: BTreeMap<String, usize>,
}

/// Holds one round's entries against what the upstream did in it and what clients heard.
#[track_caller]
pub(crate) fn check_round(
    label: &str,
    entries: &[Stored],
    effects: &[Effect],
    heard: &[Heard],
    tally: &mut Tally,
) {
    let (mut did, mut intents): (BTreeMap<&str, &Effect>, BTreeMap<String, &Stored>) = Default::default();
    let mut ends: BTreeMap<String, Vec<&Stored>> = BTreeMap::new();
    let mut told: BTreeSet<(String, Option<i64>)> = BTreeSet::new();
    for entry in entries {
        match entry.text("/kind").as_str() {
            "intent" => drop(intents.insert(entry.text("/request_id"), entry)),
            "outcome" | "refusal" => drop(told.insert((entry.text("/request_id"), entry.number("/status")))),
            _ => {}
        }
        ends.entry(entry.text("/intent_id")).or_default().push(entry);
    }
    for effect in effects {
        let id = request_id(&effect.user_agent);
        assert!(did.insert(id, effect).is_none(), "{label}: {id} had its effect twice");
        assert!(intents.contains_key(id), "{label}: no intent of {effect:?}");
    }
    for intent in intents.values() {
        let endings = ends.get(&intent.text("/id")).cloned().unwrap_or_default();
        // Where nobody knew at first, a resolution follows.
        let endings = match endings.as_slice() {
            [first, last] if first.json.get("ambiguous").is_some() && last.text("/kind") == "resolved" => {
                vec![*last]
            }
            _ => endings,
        };
        let [ending] = endings.as_slice() else {
            panic!("{label}: {} endings of {}: {endings:#?}", endings.len(), intent.raw)
        };
        assert!(ending.seq > intent.seq, "{label}: {}", ending.raw);
        check_ending(label, intent, ending, did.get(intent.text("/request_id").as_str()).copied(), tally);
    }
    // While the record could not be written, a refusal leaves a line in the log.
    for answer in heard.iter().filter(|answer| answer.status != 503) {
        let is_told = told.contains(&(answer.request_id.clone(), Some(i64::from(answer.status))));
        let own = |entry: &&Stored| entry.text("/request_id") == answer.request_id;
        let known = || entries.iter().filter(own).map(|entry| &entry.raw).collect::<Vec<_>>();
        assert!(is_told, "{label}: {answer:?} is not in the record: {:#?}", known());
    }
    tally.effects += effects.len();
    tally.answers += heard.len();
}

/// Whether the end of an intent says what happened.
#[track_caller]
fn check_ending(label: &str, intent: &Stored, ending: &Stored, effect: Option<&Effect>, tally: &mut Tally) {
    tally.intents += 1;
    let contradicts = |what: &str| {
        panic!("{label}: {what}\neffect: {effect:?}\nintent: {}\nending: {}", intent.raw, ending.raw)
    };
    if ending.text("/kind") == "outcome" {
        let upstream = ending.number("/upstream/status");
        match (ending.text("/sent").as_str(), effect.is_some()) {
            ("no", true) => contradicts("sent all the same"),
            ("yes", true) if upstream.is_some_and(|status| status >= 400) => contradicts("done all the same"),
            ("yes", false) if upstream.is_some_and(|status| status < 300) => {
                let validated = ending.json.get("validate_only").and_then(Json::as_bool) == Some(true);
                if !validated && !applied_to_none(ending) {
                    contradicts("not done");
                }
            }
            _ => {}
        }
        return;
    }
    tally.resolved += 1;
    let resolution = ending.text("/resolution");
    match (resolution.as_str(), effect.is_some()) {
        ("applied", false) | ("not applied", true) => contradicts("resolved wrongly"),
        ("applied" | "not applied" | "can't tell", _) => {}
        _ => contradicts("no such resolution"),
    }
    let touched: BTreeSet<&str> =
        effect.iter().flat_map(|effect| &effect.tunnels).map(|(id, _)| id.as_str()).collect();
    for item in ending.json.get("evidence").and_then(Json::as_array).unwrap_or_default() {
        let text = |name: &str| item.get(name).and_then(Json::as_str).unwrap_or_default();
        // A tunnel to be created has no id to compare.
        if text("tunnel").is_empty() {
            continue;
        }
        match (text("resolution"), touched.contains(text("tunnel"))) {
            ("applied", false) | ("not applied", true) => contradicts("evidence is wrong"),
            _ => {}
        }
    }
    let mut verdict = resolution;
    if verdict == "can't tell" {
        let because = ending.json.pointer("/evidence/0/because").and_then(Json::as_str).unwrap_or_default();
        verdict += &format!(": {} {because}", ending.text("/operation"));
    }
    *tally.verdicts.entry(verdict).or_default() += 1;
}

/// *Set PSKs* answers 200 also where it set none.
fn applied_to_none(outcome: &Stored) -> bool {
    let results = outcome.json.get("results").and_then(Json::as_array).unwrap_or_default();
    let applied = |result: &Json| result.get("applied").and_then(Json::as_bool) == Some(true);
    outcome.text("/operation") == "set_psks" && !results.iter().any(applied)
}

/// The id that the proxy adds to the user agent: `... tunnelwarden/VERSION (ID)`.
#[track_caller]
fn request_id(user_agent: &str) -> &str {
    let (_, ours) = user_agent.rsplit_once("tunnelwarden/").unwrap_or_else(|| panic!("{user_agent}"));
    ours.split_once(" (").and_then(|(_, id)| id.strip_suffix(')')).unwrap_or_else(|| panic!("{user_agent}"))
}
