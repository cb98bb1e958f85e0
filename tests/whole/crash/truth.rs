//! The record against the truth: what the upstream did, and what clients were told.
//!
//! Not here: how both came about (`crash`, `crash::callers`).

use std::collections::{BTreeMap, BTreeSet};

use tunnelwarden::emulator::{Call, Effect};
use tunnelwarden::json::{self, Json, Object};
use tunnelwarden::operation::Operation;

use super::callers::Heard;
use crate::harness::{Stored, collection};

/// What was seen over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) effects: usize,
    pub(crate) answers: usize,
    /// Writes that reached the upstream.
    pub(crate) sent: usize,
    /// Calls that got no answer, of which those that must not happen twice were tried again.
    pub(crate) retried: usize,
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
    check_callers(label, effects);
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

/// Who may do nothing did nothing, and what must not happen twice did not, also where its caller tried again.
#[track_caller]
fn check_callers(label: &str, effects: &[Effect]) {
    let mut once: BTreeSet<&str> = BTreeSet::new();
    for effect in effects {
        let Some(call) = effect.user_agent.split(' ').next().filter(|agent| agent.contains('/')) else {
            continue;
        };
        let may = !call.starts_with("viewer-") && !call.starts_with("nobody-");
        assert!(may, "{label}: an effect of a call that nobody may make: {effect:?}");
        if effect.operation.is_one_shot() && call.starts_with("admin-") {
            assert!(once.insert(call), "{label}: {call} had its effect twice: {effects:#?}");
        }
    }
}

/// What went upstream is what its intent says, which is in the record before.
#[track_caller]
pub(crate) fn check_sent(label: &str, entries: &[Stored], calls: &[Call]) -> usize {
    let intents: BTreeMap<String, &Stored> = entries
        .iter()
        .filter(|entry| entry.text("/kind") == "intent")
        .map(|entry| (entry.text("/request_id"), entry))
        .collect();
    let writes = calls.iter().filter(|call| call.operation.is_some_and(Operation::is_write));
    let mut count = 0;
    for call in writes {
        count += 1;
        let id = request_id(call.header("user-agent").unwrap());
        let intent = intents.get(id).unwrap_or_else(|| panic!("{label}: no intent of {call:?}"));
        let operation = call.operation.unwrap();
        let told = format!("{label}: {call:?} is not what was authorized: {}", intent.raw);
        assert_eq!(intent.text("/operation"), operation.name(), "{told}");
        let tunnel = || intent.text("/tunnels/0/id");
        let (method, path) = match operation {
            Operation::Create => ("POST", String::new()),
            Operation::Update => ("PUT", format!("/{}", tunnel())),
            Operation::Delete => ("DELETE", format!("/{}", tunnel())),
            Operation::BulkUpdate => ("PUT", String::new()),
            Operation::GeneratePsk => ("POST", format!("/{}/psk_generate", tunnel())),
            Operation::SetPsks => ("POST", "/psk".to_owned()),
            Operation::List | Operation::Get => unreachable!("a write"),
        };
        let validates = intent.json.get("validate_only").and_then(Json::as_bool) == Some(true);
        let query = if validates { "?validate_only=true" } else { "" };
        let path = format!("{}{path}{query}", collection());
        assert_eq!((call.method.as_str(), call.path.as_str()), (method, path.as_str()), "{told}");
        // Where nothing is asked in a body, the upstream gets an empty one or none.
        let nothing = Json::Object(Object::new());
        let sent = json::read(&call.body, json::MAX_DEPTH).unwrap_or(nothing.clone());
        let asked = intent.json.pointer("/request/body").cloned().unwrap_or(nothing);
        assert!(is_same(&sent, &asked), "{told}: {sent}");
    }
    count
}

/// Whether a body is the one that is recorded, in which a key is its fingerprint.
fn is_same(sent: &Json, recorded: &Json) -> bool {
    match (sent, recorded) {
        (Json::Object(sent), Json::Object(recorded)) => {
            let same = |(name, value): (&str, &Json)| recorded.get(name).is_some_and(|r| is_same(value, r));
            sent.iter().count() == recorded.iter().count() && sent.iter().all(same)
        }
        (Json::Array(sent), Json::Array(recorded)) => {
            sent.len() == recorded.len() && sent.iter().zip(recorded).all(|(s, r)| is_same(s, r))
        }
        (Json::String(_), Json::String(print)) if print.starts_with("redacted:psk:") => true,
        (sent, recorded) => sent == recorded,
    }
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
