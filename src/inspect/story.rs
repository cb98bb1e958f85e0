//! One call told as a story: who, by which rule, what was asked, what was before, what changed, what the upstream
//! said.
//!
//! Not here: the entries as they are stored (`audit show --json`), lists (`inspect::table`).

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use super::problems::problem_lines;
use super::{plain, pretty};
use crate::json::{Json, Object};

/// Characters of the column of labels.
pub const LABEL: usize = 11;

/// Tells of all entries of one call, oldest first, line by line.
#[must_use]
pub fn story(entries: &[(u64, Json)]) -> String {
    let mut text = String::new();
    for (label, lines) in story_lines(entries) {
        for (at, line) in lines.iter().enumerate() {
            // Writing to a `String` does not fail.
            let _ = writeln!(text, "{:LABEL$}{line}", if at == 0 { label } else { "" });
        }
    }
    text
}

/// The same, as labels, each with its lines.
#[must_use]
pub fn story_lines(entries: &[(u64, Json)]) -> Vec<(&'static str, Vec<String>)> {
    let Some(((_, first), (_, last))) = entries.first().zip(entries.last()) else { return Vec::new() };
    let mut story = Story { first, last, lines: Vec::new() };
    story.line("request", &story.word("/request_id"));
    story.what();
    story.when();
    story.who();
    story.decision();
    story.result();
    story.changes();
    story.results();
    story.findings();
    story.keeping();
    story.bodies();
    let entry = |(seq, entry): &(u64, Json)| format!("{seq} {}", text(entry, "/kind").unwrap_or("?"));
    story.line("entries", &entries.iter().map(entry).collect::<Vec<_>>().join(", "));
    story.lines
}

struct Story<'a> {
    first: &'a Json,
    last: &'a Json,
    lines: Vec<(&'static str, Vec<String>)>,
}

fn text<'a>(entry: &'a Json, pointer: &str) -> Option<&'a str> {
    entry.pointer(pointer).and_then(Json::as_str)
}

fn list(entry: Option<&Json>) -> String {
    let items = entry.and_then(Json::as_array).unwrap_or_default();
    items.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", ")
}

impl Story<'_> {
    /// The newest entry that has it counts.
    fn at(&self, pointer: &str) -> Option<&Json> {
        self.last.pointer(pointer).or_else(|| self.first.pointer(pointer))
    }

    fn list_at(&self, pointer: &str) -> &[Json] {
        self.at(pointer).and_then(Json::as_array).unwrap_or_default()
    }

    fn word(&self, pointer: &str) -> String {
        self.at(pointer).and_then(Json::as_str).unwrap_or_default().to_owned()
    }

    /// A label and what it says; nothing where there is nothing to say.
    fn line(&mut self, label: &'static str, what: &str) {
        if what.is_empty() {
            return;
        }
        let what = plain(what);
        match self.lines.last_mut() {
            Some((_, lines)) if label.is_empty() => lines.push(what),
            Some(_) | None => self.lines.push((label, vec![what])),
        }
    }

    fn block(&mut self, label: &'static str, value: &Json) {
        self.lines.push((label, pretty(value).lines().map(str::to_owned).collect()));
    }

    fn what(&mut self) {
        let Some(operation) = self.at("/operation").and_then(Json::as_str) else {
            let request = format!("{} {}", self.word("/method"), self.word("/path"));
            let what = if request.trim().is_empty() { self.word("/kind") } else { request };
            return self.line("what", what.trim());
        };
        let tunnels = self.at("/tunnels").and_then(Json::as_array).unwrap_or_default();
        let tunnels: Vec<String> = tunnels.iter().map(named).collect();
        let mut what = operation.to_owned();
        if !tunnels.is_empty() {
            what.push_str(&format!(" of {}", tunnels.join(", ")));
        }
        what.push_str(&format!(", account {}", self.word("/account")));
        if self.at("/validate_only") == Some(&Json::Bool(true)) {
            what.push_str("; checked only, nothing was to be kept");
        }
        self.line("what", &what);
    }

    fn when(&mut self) {
        let mut when = text(self.first, "/time").unwrap_or("?").to_owned();
        if let Some(micros) = self.at("/duration_us").and_then(Json::as_i64) {
            when.push_str(&format!(", took {}", millis(micros)));
        }
        self.line("when", &when);
        let stages = self.at("/stages_us").and_then(Json::as_object).map(Object::iter).into_iter().flatten();
        let stage = |(name, micros): (&str, &Json)| Some(format!("{name} {}", millis(micros.as_i64()?)));
        let stages = stages.filter_map(stage).collect::<Vec<_>>().join(", ");
        self.line("stages", &stages);
    }

    fn who(&mut self) {
        let subject = self.word("/subject");
        if !subject.is_empty() {
            let or_none = |names: String| if names.is_empty() { "none".to_owned() } else { names };
            let (roles, teams) = (or_none(list(self.at("/roles"))), or_none(list(self.at("/teams"))));
            self.line("who", &format!("{subject} (roles: {roles}; teams: {teams})"));
            let token = format!(
                "token {} of {}, key {}",
                self.at("/jti").and_then(Json::as_str).unwrap_or("without an id"),
                self.word("/issuer"),
                self.at("/key_id").and_then(Json::as_str).unwrap_or("without an id"),
            );
            self.line("", &token);
            if self.at("/token_used").is_some() {
                let nothing_sent = self.word("/sent") == "no";
                let good_again = "which is good again for a key, as nothing was sent";
                self.line(
                    "",
                    if nothing_sent {
                        good_again
                    } else {
                        "which this call used up: it makes or sets no other key"
                    },
                );
            }
        } else if self.at("/client_address").is_some() {
            self.line("who", "nobody was identified");
            self.refused_token();
        }
        let mut from = self.word("/client_address");
        if let Some(agent) = self.at("/user_agent").and_then(Json::as_str) {
            from.push_str(&format!(", {agent}"));
        }
        if let Some(count) = self.at("/retry_count").and_then(Json::as_i64) {
            from.push_str(&format!(", retry {count}"));
        }
        self.line("from", &from);
        if let Some(certificate) = self.at("/client_certificate").and_then(Json::as_str) {
            let certificate = format!("client certificate {certificate} (x5t#S256)");
            self.line(if from.is_empty() { "from" } else { "" }, &certificate);
        }
    }

    /// Whose token came, where it is known and was not taken.
    fn refused_token(&mut self) {
        let of = |member: &str| self.word(&format!("/refused_token/{member}"));
        let or_none = |id: String| if id.is_empty() { "without an id".to_owned() } else { id };
        let subject = of("subject");
        if !subject.is_empty() {
            let (jti, key) = (or_none(of("jti")), or_none(of("key_id")));
            self.line("", &format!("by whoever has token {jti} of {subject}, {}, key {key}", of("issuer")));
            self.line("", "which is well signed and was not taken: see the result");
        }
    }

    fn decision(&mut self) {
        let policies = list(self.at("/policies"));
        let digest: String = self.word("/policy_digest").chars().take(12).collect();
        let by = match (policies.is_empty(), digest.is_empty()) {
            (false, _) => format!(" by {policies} (policy text {digest})"),
            (true, false) => format!("; no policy decided (policy text {digest})"),
            (true, true) => String::new(),
        };
        match self.at("/decision").and_then(Json::as_str) {
            Some("allow") => self.line("decision", &format!("allowed{by}")),
            Some(_) => self.line("decision", &format!("denied{by}")),
            None => {}
        }
        for (label, pointer) in [("touches", "/changed"), ("weakens", "/weakened"), ("reloaded", "/parts")] {
            self.line(label, &list(self.at(pointer)));
        }
    }

    fn findings(&mut self) {
        for (at, line) in problem_lines(self.list_at("/problems")).iter().enumerate() {
            self.line(if at == 0 { "not taken" } else { "" }, line);
        }
        for (label, pointer) in
            [("findings", "/findings"), ("settled", "/settled"), ("compared", "/accounts")]
        {
            let some = |found: &&Json| found.as_array().is_some_and(|found| !found.is_empty());
            if let Some(found) = self.at(pointer).filter(some).cloned() {
                self.block(label, &found);
            }
        }
    }

    fn result(&mut self) {
        let status = self.at("/status").and_then(Json::as_i64).map_or_else(String::new, |n| n.to_string());
        let mut result = match self.at("/refusal/name").and_then(Json::as_str) {
            Some(name) => format!("{status} {name}: {}", self.word("/refusal/message")),
            None => status,
        };
        if let Some(first) = self.at("/refusal/first").and_then(Json::as_str) {
            result.push_str(&format!(" (the first: {first})"));
        }
        match (text(self.last, "/kind"), text(self.last, "/resolution")) {
            (Some("intent"), _) => result.push_str("not known yet: it may have happened"),
            (_, Some(resolution)) => {
                let before = if result.is_empty() { "no outcome was recorded" } else { result.as_str() };
                result = format!("{before}; looked up later: {resolution}");
            }
            _ => {}
        }
        self.line("result", &result);
        if let Some(evidence) = self.at("/evidence").cloned() {
            self.block("evidence", &evidence);
        }
        let upstream = match (self.at("/upstream/status").and_then(Json::as_i64), self.word("/sent").as_str())
        {
            (Some(status), _) => format!("answered {status}"),
            (None, "no") => "was not asked".to_owned(),
            (None, "unknown") => "gave no answer; it may have acted".to_owned(),
            (None, _) => String::new(),
        };
        let codes = self.at("/upstream/error_codes").map(|codes| format!(", error codes {codes}"));
        let ray = self.at("/upstream/cf_ray").and_then(Json::as_str).map(|ray| format!(", cf-ray {ray}"));
        let upstream = format!("{upstream}{}{}", codes.unwrap_or_default(), ray.unwrap_or_default());
        self.line("upstream", upstream.trim_start_matches(", "));
        self.line("left out", &list(self.at("/left_out")));
        for (pointer, said) in [
            ("/client_gone", "the client had hung up before its answer was ready"),
            ("/recorded_late", "recorded late: the store could not take it when it happened"),
        ] {
            if self.at(pointer) == Some(&Json::Bool(true)) {
                self.line("note", said);
            }
        }
    }

    fn changes(&mut self) {
        for (label, pointer) in [("changed", "/before_after_diff"), ("differs", "/request_response_diff")] {
            let items = self.at(pointer).and_then(Json::as_array).unwrap_or_default().to_vec();
            let what = if label == "changed" { "" } else { " from what was asked" };
            for item in &items {
                let patch = item.get("patch").and_then(Json::as_array).unwrap_or_default();
                if patch.is_empty() {
                    continue;
                }
                let tunnel = text(item, "/tunnel").map_or_else(String::new, |id| self.name_of(id));
                self.line(label, format!("{tunnel}{what}").trim());
                for operation in patch {
                    self.line("", &format!("  {}", change(operation)));
                }
            }
            if label == "changed" && items.is_empty() && self.at(pointer).is_some() {
                self.line(label, "nothing");
            }
        }
    }

    /// The tunnel's name, where this call knows it.
    fn name_of(&self, id: &str) -> String {
        let tunnels = self.at("/tunnels").and_then(Json::as_array).unwrap_or_default();
        let known = tunnels.iter().find(|tunnel| text(tunnel, "/id") == Some(id));
        known.map_or_else(|| id.to_owned(), named)
    }

    fn results(&mut self) {
        let results = self.at("/results").and_then(Json::as_array).unwrap_or_default().to_vec();
        for (at, result) in results.iter().enumerate() {
            let applied = result.get("applied") == Some(&Json::Bool(true));
            let reason = text(result, "/reason").map_or_else(String::new, |reason| format!(": {reason}"));
            let tunnel = self.name_of(text(result, "/tunnel").unwrap_or("?"));
            let word = if applied { "applied" } else { "not applied" };
            self.line(if at == 0 { "results" } else { "" }, &format!("{tunnel} {word}{reason}"));
        }
    }

    /// What was done with the record itself, and by whom.
    fn keeping(&mut self) {
        let entry = self.last;
        let word = |pointer| text(entry, pointer).unwrap_or("?");
        let number = |pointer| entry.pointer(pointer).and_then(Json::as_i64).unwrap_or(0);
        if entry.get("new_key").is_some() {
            self.line("old key", word("/old_key"));
            self.line("new key", word("/new_key"));
        }
        if entry.get("stubs").is_some() {
            let (first, last) = (number("/from"), number("/to") - 1);
            self.line(
                "moved out",
                &format!("bodies of entries {first} to {last}, before {}", word("/before")),
            );
            self.line("into", &format!("{}, sha256 {}", word("/file/name"), word("/file/sha256")));
        }
        if entry.get("operator").is_some() {
            let names = ["/operator/user", "/operator/sudo_user"].map(|pointer| text(entry, pointer));
            let names = names.into_iter().flatten().collect::<Vec<_>>().join(", for ");
            let names = if names.is_empty() { names } else { format!(" ({names})") };
            self.line("who", &format!("user {}{names}", number("/operator/uid")));
        }
    }

    fn bodies(&mut self) {
        let parts = list(self.at("/archived/parts"));
        if !parts.is_empty() {
            self.line(
                "archived",
                &format!("of {parts} only what tells of keys is still here; the rest is in an archive"),
            );
        }
        let bodies = [("asked", "/request/body"), ("before", "/state_before"), ("answer", "/response/body")];
        for (label, pointer) in bodies {
            match self.at(pointer).cloned() {
                // One state is the usual case; a list of one would only add brackets.
                Some(Json::Array(items)) if items.len() == 1 => {
                    items.iter().for_each(|one| self.block(label, one));
                }
                Some(Json::Array(items)) if items.is_empty() => {}
                Some(body) => self.block(label, &body),
                None => {}
            }
        }
    }
}

/// Microseconds as milliseconds, to a tenth.
fn millis(micros: i64) -> String {
    format!("{}.{} ms", micros / 1000, micros / 100 % 10)
}

fn named(tunnel: &Json) -> String {
    match (text(tunnel, "/name"), text(tunnel, "/id")) {
        (Some(name), Some(id)) => format!("{name} ({id})"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "?".to_owned(),
    }
}

/// One operation of a patch, as a person says it.
pub(super) fn change(operation: &Json) -> String {
    let value = |name: &str| operation.get(name).map_or_else(String::new, Json::to_string);
    let field = text(operation, "/path").unwrap_or("?").trim_start_matches('/');
    let field = if field.is_empty() { "the whole tunnel" } else { field };
    match text(operation, "/op") {
        Some("add") => format!("+ {field}: {}", value("value")),
        Some("remove") => format!("- {field}: {}", value("old")),
        _ => format!("{field}: {} → {}", value("old"), value("value")),
    }
}
