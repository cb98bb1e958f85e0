//! The audit stage: nothing happens unrecorded.
//!
//! A write is opened (its intent is on disk before its first byte goes out) and closed (its outcome is on disk
//! before its answer goes back); a read is one entry; a refusal is one entry. What leaves this stage is
//! [`Recorded`], and `respond` answers nothing without it.
//!
//! Not here: the log and its proofs (`store`, `seal`), who may call (`authorize`), reading the record
//! (`inspect`).

pub mod call;
mod claim;
mod debts;
mod effects;
pub mod guard;
pub mod lost;
pub mod one_shot;
mod outcome;
mod owed;
pub mod redact;
pub mod secrets;
mod shed;
mod short;
mod unended;
mod used;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::authorize::Permit;
use crate::clock::{Clock, Ids};
use crate::config::{self, Bodies};
use crate::entry::{Entry, Kind};
use crate::json::{Json, Object};
use crate::measure::{Metrics, Stage};
use crate::operation::{Class, Route};
use crate::refusal::Refusal;
use crate::secret::Fingerprinter;
use crate::store::Store;
use crate::tunnel::body::Asked;

use call::Call;
use debts::{Debt, Debts};
use guard::Guard;
use one_shot::{Fate, OneShots};
use redact::Redactor;
use unended::Unended;
use used::UsedTokens;

pub use claim::Elsewhere;
pub use outcome::{End, Heard, Sent};
pub use owed::{Owed, Plan};

/// Writes the record.
#[derive(Debug)]
pub struct Auditor {
    store: Arc<Store>,
    redactor: Redactor,
    fingerprinter: Fingerprinter,
    ids: Arc<Ids>,
    clock: Arc<dyn Clock>,
    bodies: Bodies,
    debts: Arc<Debts>,
    /// Refusals that were answered before they were recorded.
    late: Arc<Debts>,
    unended: Arc<Unended>,
    heartbeat: Duration,
    /// How long to wait for what is owed.
    patience: Duration,
    one_shots: OneShots,
    used_tokens: UsedTokens,
    elsewhere: Option<Elsewhere>,
    metrics: Metrics,
}

/// Proof that what is about to be answered stands in the record, or that the record could not be written and
/// the answer says so.
#[derive(Debug)]
#[must_use = "an answer is owed"]
pub struct Recorded {
    request_id: Uuid,
}

impl Recorded {
    /// The call that was recorded.
    #[must_use]
    pub const fn request_id(&self) -> Uuid {
        self.request_id
    }
}

/// Leave to send: had for a permitted read, or for a write whose intent is on disk.
#[derive(Debug)]
pub struct Cleared<'a> {
    _owner: std::marker::PhantomData<&'a ()>,
}

impl Cleared<'_> {
    const fn new() -> Self {
        Self { _owner: std::marker::PhantomData }
    }
}

/// Why a call is not sent for which another replica does not wait any more.
const SLOW: &str = "it took too long";

impl Auditor {
    /// Writes to `store`; `elsewhere` where other replicas do, too.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        fingerprinter: Fingerprinter,
        ids: Arc<Ids>,
        clock: Arc<dyn Clock>,
        config: &config::Audit,
        elsewhere: Option<Elsewhere>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let debts = Arc::new(Debts::default());
        let unended = Arc::new(Unended::new(Arc::clone(&store)));
        let late = Arc::new(Debts::default());
        for owed in [&debts, &late] {
            let (store, unended) = (Arc::clone(&store), Arc::clone(&unended));
            tokio::spawn(Arc::clone(owed).pay(store, config.database.clone(), unended));
        }
        Arc::new(Self {
            store,
            redactor: Redactor::new(fingerprinter.clone()),
            fingerprinter,
            ids,
            one_shots: OneShots::new(Arc::clone(&clock), config.one_shot_window),
            used_tokens: UsedTokens::default(),
            clock,
            bodies: config.bodies,
            debts,
            late,
            unended,
            heartbeat: config.heartbeat,
            patience: config.append_timeout,
            elsewhere,
            metrics,
        })
    }

    /// Whether calls may be admitted: the store works, and nothing is owed to it.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`]
    pub fn admits(&self) -> Result<(), Refusal> {
        if let Some(fault) = self.store.health().borrow().fault {
            return Err(Refusal::AuditUnavailable { why: fault.why() });
        }
        if self.debts.count() > 0 {
            return Err(Refusal::AuditUnavailable { why: "outcomes are still owed to it" });
        }
        Ok(())
    }

    /// How many ends of calls the store could not take yet.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.debts.count() + self.late.count()
    }

    /// The files, by their places in `audit.checkpoint_file`, to which the newest checkpoint could not be written. The
    /// record goes on.
    #[must_use]
    pub fn unwritten_checkpoint_files(&self) -> Vec<usize> {
        self.store.health().borrow().checkpoint_files.clone()
    }

    /// To be told when another replica recorded the end of a call of ours.
    pub fn ended_elsewhere(&self, intent: Uuid) {
        self.unended.end(intent);
    }

    /// The one-shot calls of the last while.
    #[must_use]
    pub const fn one_shots(&self) -> &OneShots {
        &self.one_shots
    }

    /// Turns what may hold secrets into what may be stored.
    #[must_use]
    pub const fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Makes keyed digests under the record's key.
    #[must_use]
    pub const fn fingerprinter(&self) -> &Fingerprinter {
        &self.fingerprinter
    }

    /// Waits until nothing is owed, at most `patience`. Answers whether that came about.
    pub async fn settled(&self, patience: Duration) -> bool {
        let (debts, late) = tokio::join!(self.debts.settled(patience), self.late.settled(patience));
        debts && late
    }

    /// Records an entry that belongs to no call; its request id.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`]
    pub async fn note(&self, kind: Kind, members: Object) -> Result<Uuid, Refusal> {
        let (request_id, entry) = self.entry(kind, members);
        self.append(&entry).await?;
        Ok(request_id)
    }

    /// Records that the process is there: it started, or is still alive. The entry bounds what the next start has
    /// to look through.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`]
    pub async fn alive(&self, kind: Kind, mut members: Object) -> Result<(), Refusal> {
        members.set("ended_before", self.unended.ended_before());
        members.set("heartbeat_s", self.heartbeat.as_secs());
        self.note(kind, members).await.map(|_| ())
    }

    /// Notes that an earlier run left this intent, at this `seq`, without an end.
    pub fn left(&self, intent: Uuid, seq: u64) {
        self.unended.left(intent, seq);
    }

    /// Made of what needs no redaction; `request_id` is its own id if `members` has none.
    fn entry(&self, kind: Kind, mut members: Object) -> (Uuid, Json) {
        let id = self.ids.next();
        let request_id = members.remove("request_id").and_then(|id| id.as_str()?.parse().ok()).unwrap_or(id);
        (request_id, Entry { kind, id, time: self.clock.now(), request_id, members }.into_json())
    }

    /// Records what became of a lost call. `call` holds members of its intent, `evidence` what the verdict rests on.
    /// If the store can't take it, it is owed.
    pub async fn resolved(&self, call: Object, resolution: &str, evidence: Vec<Object>) {
        // Without what the intent says: that passed the guard once, and must not twice.
        let mut found = Object::from_iter([("evidence", Json::from(evidence))]).into();
        Guard::new([]).mask(&mut found);
        let mut members = call;
        let intent = members.get("intent_id").and_then(Json::as_str).and_then(|id| id.parse().ok());
        members.set("resolution", resolution);
        if let Json::Object(found) = found {
            members.extend(found);
        }
        // Made once: one that ran out of time may come true, and a second one of another id would be stored beside it.
        let (_, mut entry) = self.entry(Kind::Resolved, members);
        short::fit(&mut entry, short::LARGEST);
        self.end(entry, intent).await;
    }

    /// Records an end of an intent. If the store can't take it, it is owed.
    async fn end(&self, entry: Json, intent: Option<Uuid>) {
        if self.append(&entry).await.is_err() {
            let short = short::shortest(&entry);
            self.debts.owe(Debt::of([entry], Some(short)));
        } else if let Some(intent) = intent {
            self.unended.end(intent);
        }
    }

    /// Records that a call was refused and nothing was sent. A call with an intent has its outcome instead, which
    /// is recorded or owed when this returns.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`]
    pub async fn refuse(&self, call: &mut Call, refusal: &Refusal) -> Result<Recorded, Refusal> {
        if call.has_intent {
            return Ok(self.refuse_with_intent(call, refusal).await);
        }
        let mut members = call.members();
        decision(&mut members, call, Some(refusal));
        if let Some(request) = &call.request {
            members.set("request", request.clone());
        }
        members.set("status", refusal.terms().status.as_u16());
        members.set("refusal", self.refusal(refusal));
        call.time_members(&mut members);
        let entry = self.finish(Kind::Refusal, call, members);
        if self.is_shed(refusal) {
            return self.record_late(call, entry);
        }
        self.append(&entry).await?;
        Ok(Recorded { request_id: call.request_id })
    }

    /// Either its intent could not be recorded, and the answer says so; or a fault of ours cut it off, and its
    /// outcome is owed since.
    async fn refuse_with_intent(&self, call: &Call, refusal: &Refusal) -> Recorded {
        if matches!(refusal, Refusal::AuditUnavailable { .. }) {
            return self.unrecordable(call, refusal);
        }
        // The record first, as ever; but what may have happened is answered all the same.
        self.debts.settled(self.patience).await;
        Recorded { request_id: call.request_id }
    }

    /// What stands in for a record that can't be written: the answer must be this refusal, and nothing may have
    /// been sent.
    pub fn unrecordable(&self, call: &Call, refusal: &Refusal) -> Recorded {
        tracing::error!(
            request.id = %call.request_id,
            refusal.name = refusal.name(),
            "refused, and the refusal could not be recorded"
        );
        Recorded { request_id: call.request_id }
    }

    /// Leave to send a read: it has no effect, so its one entry comes after it. None for a write.
    #[must_use]
    pub fn clear_read<'a>(&self, call: &Call, _permit: &'a Permit) -> Option<Cleared<'a>> {
        let is_read = call.operation().is_some_and(|operation| !operation.is_write());
        is_read.then(Cleared::new)
    }

    /// Records a read and how it ended.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`]: the answer must not be given.
    pub async fn read(
        &self,
        call: &mut Call,
        permit: &Permit,
        end: &End<'_>,
        client_gone: bool,
    ) -> Result<Recorded, Refusal> {
        call.policies = permit.policies().to_vec();
        let mut members = call.members();
        decision(&mut members, call, None);
        if let Some(operation) = call.operation() {
            outcome::members(&mut members, &self.redactor, operation, end, self.bodies.read);
        }
        if client_gone {
            members.set("client_gone", true);
        }
        call.passed(Stage::Forward);
        call.time_members(&mut members);
        self.append(&self.finish(Kind::Outcome, call, members)).await?;
        Ok(Recorded { request_id: call.request_id })
    }

    /// Records what a write is about to do. From here on an outcome is owed.
    ///
    /// # Errors
    /// [`Refusal::Repeat`], [`TokenFault::Used`](crate::refusal::TokenFault::Used), [`Refusal::AuditUnavailable`]: nothing may
    /// be sent.
    pub async fn open(
        self: &Arc<Self>,
        call: &mut Call,
        permit: &Permit,
        plan: Plan,
    ) -> Result<Owed, Refusal> {
        let route = call.route.ok_or(Refusal::Internal)?;
        call.policies = permit.policies().to_vec();
        let claim = self.claim(call, &plan.asked).await?;
        let key = claim.as_ref().map(|claim| claim.key.clone());
        let used = self.use_up(call, plan.token_until).await.inspect_err(|_| {
            key.iter().for_each(|key| self.one_shots.settle(key, call.request_id, Fate::Nothing));
        })?;
        let name = used.as_ref().map(|used| used.name.clone());
        let mut members = call.members();
        decision(&mut members, call, None);
        if let Some(request) = &call.request {
            members.set("request", request.clone());
        }
        // By this alone a start finds it again.
        call::optional(&mut members, "request_key", key.clone().or_else(|| name.clone()));
        call::optional(&mut members, "token_used", name);
        if !plan.before.is_empty() {
            let before = plan.before.iter().map(|tunnel| self.redactor.state(tunnel)).collect();
            members.set("state_before", Json::Array(before));
        }
        members.set("expected", Json::Array(plan.expected.iter().cloned().map(Json::Object).collect()));
        let intent_id = self.ids.next();
        let intent = self.finish_as(Kind::Intent, intent_id, call, members);
        self.unended.begin(intent_id);
        let stored = self.append(&intent).await;
        call.has_intent = true;
        let is_stored = stored.is_ok();
        let too_late =
            claim.filter(|claim| self.is_overdue(claim)).map(|_| Refusal::AuditUnavailable { why: SLOW });
        if let Some(refusal) = stored.err().or(too_late) {
            if let Some(key) = &key {
                self.one_shots.settle(key, call.request_id, Fate::Nothing);
            }
            if let Some(used) = &used {
                self.give_back(used).await;
            }
            // An append that ran out of time may have come true, or not: either way the record is to hold the intent
            // and that nothing was sent.
            let outcome = owed::bare_outcome(self, &intent, &refusal, Sent::No).into_json();
            let short = owed::bare_refusal(self, &intent, &refusal).into_json();
            let entries = [intent, outcome].into_iter().skip(usize::from(is_stored));
            self.debts.owe(Debt::of(entries, Some(short)));
            return Err(refusal);
        }
        call.passed(Stage::Intent);
        Ok(Owed { auditor: Arc::clone(self), plan, route, intent_id, intent, key, used, closed: false })
    }

    /// The member `request` of a call with a body.
    #[must_use]
    pub fn request(&self, route: &Route, raw: &[u8], asked: &Asked) -> Object {
        let mut request = Object::new();
        request.set("size", raw.len());
        request.set("digest", self.fingerprinter.digest(raw));
        if let Some(body) = self.redactor.asked(asked).filter(|_| self.keeps(route)) {
            request.set("body", body);
        }
        request
    }

    /// Whether the bodies of such a call are kept.
    #[must_use]
    pub const fn keeps(&self, route: &Route) -> bool {
        match route.operation.class() {
            Class::Read => self.bodies.read,
            Class::Write => self.bodies.write,
            Class::Secret => self.bodies.secret,
        }
    }

    fn refusal(&self, refusal: &Refusal) -> Object {
        let mut record = refusal.record();
        if let Some(pointer) = refusal.pointer() {
            record.set("pointer", redact::record_pointer(pointer));
        }
        record
    }

    fn finish(&self, kind: Kind, call: &Call, members: Object) -> Json {
        self.finish_as(kind, self.ids.next(), call, members)
    }

    fn finish_as(&self, kind: Kind, id: Uuid, call: &Call, members: Object) -> Json {
        let entry = Entry { kind, id, time: self.clock.now(), request_id: call.request_id, members };
        let mut entry = entry.into_json();
        let shorten = |entry: &mut Json| {
            if kind != Kind::Intent {
                short::fit(entry, short::LARGEST);
            }
        };
        // Before the guard, which takes its time with what would not be stored, and after it, as masks may be longer.
        shorten(&mut entry);
        call.secrets.mask(&mut entry);
        shorten(&mut entry);
        entry
    }

    async fn append(&self, entry: &Json) -> Result<(), Refusal> {
        let began = self.clock.monotonic();
        let stored = self.store.append(vec![entry.to_text()]).await;
        self.metrics.append(self.clock.monotonic().saturating_sub(began), stored.is_ok());
        stored.map_err(|error| Refusal::AuditUnavailable { why: error.why() })
    }
}

fn decision(members: &mut Object, call: &Call, refusal: Option<&Refusal>) {
    let denied = match refusal {
        None => Some("allow"),
        Some(Refusal::Forbidden(forbidden)) => {
            members.set("policies", forbidden.policies.clone());
            Some("deny")
        }
        Some(_) => None,
    };
    call::optional(members, "decision", denied);
    if refusal.is_none() {
        members.set("policies", call.policies.clone());
    }
    call::optional(members, "policy_digest", call.policy_digest.as_deref());
    if let Some(change) = &call.change {
        members.set("changed", change.changed.iter().cloned().collect::<Vec<_>>());
        members.set("weakened", change.weakened.iter().cloned().collect::<Vec<_>>());
    }
}
