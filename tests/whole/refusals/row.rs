//! One row of the table, and all that is checked of it.
//!
//! Not here: the rows, which stand beside this by subject.

use std::fmt::Debug;
use std::pin::Pin;

use tunnelwarden::json::{Json, Object};

use crate::harness::{Answer, Stored, Wishes, World};

/// The answer to a call that was made to be refused.
pub(super) type Refused<'w> = Pin<Box<dyn Future<Output = Answer> + 'w>>;

/// A call that is made to be refused.
pub(super) type Ask = for<'w> fn(&'w World) -> Refused<'w>;

/// Rows that one proxy can serve, in this order.
pub(super) struct Group {
    pub(super) wishes: fn() -> Wishes,
    pub(super) rows: &'static [Row],
    /// Whether the rows start a proxy of their own, each in turn.
    pub(super) apart: bool,
}

/// A refusal, how to bring it about, and what must come of it.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) refusal: &'static str,
    pub(super) fault: Option<&'static str>,
    pub(super) status: u16,
    pub(super) code: i64,
    retry: Retry,
    allow: Option<&'static str>,
    pointer: Option<&'static str>,
    reads: bool,
    unheard: bool,
    entry: Entry,
    ask: Ask,
}

/// What a client is told of a retry.
#[derive(Clone, Copy)]
enum Retry {
    /// `x-should-retry: false`
    No,
    /// `x-should-retry: true`, and `retry-after`.
    After,
    /// Nothing: its own rule is as good as ours.
    Own,
}

/// What stands in the record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// One `refusal`, and nothing else.
    Refusal,
    /// One `outcome`, after an `intent` where it is a write, with this `sent`.
    Outcome(&'static str),
    /// Nothing can.
    None,
}

impl Row {
    /// A refusal that the same call will get again.
    pub(super) const fn new(refusal: &'static str, status: u16, code: i64, ask: Ask) -> Self {
        Self {
            refusal,
            fault: None,
            status,
            code,
            retry: Retry::No,
            allow: None,
            pointer: None,
            reads: false,
            unheard: false,
            entry: Entry::Refusal,
            ask,
        }
    }

    /// A token with a fault.
    pub(super) const fn token(fault: &'static str, code: i64, ask: Ask) -> Self {
        Self { fault: Some(fault), ..Self::new("token_invalid", 401, code, ask) }
    }

    /// The client is asked to come back, and told when.
    pub(super) const fn come_back(self) -> Self {
        Self { retry: Retry::After, ..self }
    }

    /// The client is told nothing of a retry.
    pub(super) const fn as_you_like(self) -> Self {
        Self { retry: Retry::Own, ..self }
    }

    pub(super) const fn allow(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    /// Where in the body the fault is.
    pub(super) const fn at(self, pointer: &'static str) -> Self {
        Self { pointer: Some(pointer), ..self }
    }

    /// The state before had to be read.
    pub(super) const fn after_reading(self) -> Self {
        Self { reads: true, ..self }
    }

    /// The client is not there any more, so what it would be told is not looked at.
    pub(super) const fn unheard(self) -> Self {
        Self { unheard: true, ..self }
    }

    /// The call itself was about to be sent, or was, so its entry is an outcome.
    pub(super) const fn sent(self, sent: &'static str) -> Self {
        Self { entry: Entry::Outcome(sent), ..self }
    }

    /// Its entry can't be written.
    pub(super) const fn unrecorded(self) -> Self {
        Self { entry: Entry::None, ..self }
    }
}

/// Makes every refusal of a group happen, and tells of everything that was not as it should be.
pub(super) async fn run(group: &Group) {
    let mut world = World::prepared((group.wishes)()).await;
    if !group.apart {
        world.launch().await;
    }
    let mut wrong = Vec::new();
    for row in group.rows {
        let answer = (row.ask)(&world).await;
        let mut found = Found(Vec::new());
        if !row.unheard {
            found.answer(row, &answer);
        }
        found.entries(row, &answer, &world).await;
        found.effects(row, &answer, &world);
        if !found.0.is_empty() {
            let name = row.fault.unwrap_or(row.refusal);
            wrong.push(format!("{name}: {}\n    {}", answer.text(), found.0.join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with a row.
struct Found(Vec<String>);

impl Found {
    fn same<T: PartialEq + Debug>(&mut self, what: &str, got: T, want: T) {
        if got != want {
            self.0.push(format!("{what} is {got:?}, not {want:?}"));
        }
    }

    fn holds(&mut self, what: &str, good: bool) {
        self.same(what, good, true);
    }

    /// The answer: status, envelope, headers.
    fn answer(&mut self, row: &Row, answer: &Answer) {
        let header = |name: &str| {
            let all: Vec<&str> = answer.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
            assert!(all.len() < 2, "{name} comes once: {all:?}");
            all.first().copied()
        };
        self.same("status", answer.status, row.status);
        self.same("content-type", header("content-type"), Some("application/json"));
        self.same("cache-control", header("cache-control"), Some("no-store"));
        let should_retry = match row.retry {
            Retry::No => Some("false"),
            Retry::After => Some("true"),
            Retry::Own => None,
        };
        self.same("x-should-retry", header("x-should-retry"), should_retry);
        let after = header("retry-after").map(|text| text.parse::<u32>().is_ok_and(|n| n > 0));
        self.same("retry-after", after, matches!(row.retry, Retry::After).then_some(true));
        let text = answer.text();
        let said = text.split_once("; wait ").and_then(|(_, rest)| rest.split_once(" s")).map(|(n, _)| n);
        self.same("the wait in words", said, said.and(header("retry-after")));
        self.same("allow", header("allow"), row.allow);
        let challenge = (row.status == 401).then_some(match row.refusal {
            "token_missing" => "Bearer",
            _ => "Bearer error=\"invalid_token\"",
        });
        self.same("www-authenticate", header("www-authenticate"), challenge);

        let json = answer.json();
        self.same("the envelope", names(&json), ["success", "errors", "messages", "result"].to_vec());
        self.same("success", json.get("success"), Some(&Json::Bool(false)));
        self.same("messages", json.get("messages"), Some(&Json::Array(Vec::new())));
        self.same("result", json.get("result"), Some(&Json::Null));
        self.same("errors", json.get("errors").and_then(Json::as_array).map(<[Json]>::len), Some(1));
        let error = json.pointer("/errors/0").cloned().unwrap_or(Json::Null);
        let mut members = vec!["code", "message"];
        members.extend(row.pointer.map(|_| "source"));
        self.same("the error", names(&error), members);
        self.same("code", error.get("code").and_then(Json::as_i64), Some(row.code));
        self.holds("a message", error.get("message").and_then(Json::as_str).is_some_and(|m| !m.is_empty()));
        self.same("pointer", error.pointer("/source/pointer").and_then(Json::as_str), row.pointer);
    }

    /// The record: one entry that says the same as the answer.
    async fn entries(&mut self, row: &Row, answer: &Answer, world: &World) {
        let request_id = answer.header("x-request-id");
        self.same("the length of x-request-id", request_id.len(), 36);
        let mut all = world.entries_of(&request_id).await;
        // What became of a call with an open end is found out later; here it is of no interest.
        all.retain(|entry| entry.text("/kind") != "resolved");
        let kinds: Vec<String> = all.iter().map(|entry| entry.text("/kind")).collect();
        let is_write = all.first().is_some_and(|entry| entry.json.get("validate_only").is_some());
        let want: &[&str] = match row.entry {
            Entry::Refusal => &["refusal"],
            Entry::Outcome(_) if is_write => &["intent", "outcome"],
            Entry::Outcome(_) => &["outcome"],
            Entry::None => &[],
        };
        self.same("the entries", kinds, want.iter().copied().map(str::to_owned).collect());
        if let (Some(last), true) = (all.last(), row.entry != Entry::None) {
            self.entry(row, answer, last);
        }
    }

    fn entry(&mut self, row: &Row, answer: &Answer, entry: &Stored) {
        let text = |pointer: &str| entry.json.pointer(pointer).and_then(Json::as_str);
        self.same("the recorded status", entry.number("/status"), Some(row.status.into()));
        self.same("the recorded name", text("/refusal/name"), Some(row.refusal));
        self.same("the recorded code", entry.number("/refusal/code"), Some(row.code));
        self.same("the recorded fault", text("/refusal/fault"), row.fault);
        self.same("the recorded pointer", text("/refusal/pointer"), row.pointer);
        if !row.unheard {
            let message =
                answer.json().pointer("/errors/0/message").and_then(Json::as_str).map(str::to_owned);
            self.same("the recorded message", text("/refusal/message"), message.as_deref());
        }
        self.same("the recorded address", text("/client_address"), Some("127.0.0.1"));
        let sent = if let Entry::Outcome(sent) = row.entry { Some(sent) } else { None };
        self.same("what was sent", text("/sent"), sent);
        let denied = (row.refusal == "forbidden").then_some("deny");
        let decision = if sent.is_some() { Some("allow") } else { denied };
        self.same("the decision", text("/decision"), decision);
    }

    /// The upstream: no effect, and no call but what the row says.
    fn effects(&mut self, row: &Row, answer: &Answer, world: &World) {
        let request_id = answer.header("x-request-id");
        let acted = world.emulator.effect_list().iter().any(|effect| effect.user_agent.contains(&request_id));
        self.same("an effect", acted, false);
        let reached = world.emulator.calls();
        let own = reached
            .iter()
            .filter(|call| call.header("user-agent").is_some_and(|agent| agent.contains(&request_id)));
        let (reads, writes): (Vec<_>, Vec<_>) = own.partition(|call| call.method == http::Method::GET);
        let went_out = matches!(row.entry, Entry::Outcome("yes" | "unknown"));
        self.holds("every call that arrived was to arrive", went_out || writes.is_empty());
        self.holds("every read that arrived was to arrive", went_out || row.reads || reads.is_empty());
        let arrived = !(reads.is_empty() && writes.is_empty());
        self.holds("what was to arrive arrived", arrived || !(went_out || row.reads));
    }
}

fn names(json: &Json) -> Vec<&str> {
    json.as_object().map(|object: &Object| object.iter().map(|(name, _)| name).collect()).unwrap_or_default()
}
