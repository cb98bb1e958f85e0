//! Resolve: finds out what became of calls whose outcome was lost.
//!
//! At start these are the intents that a crash left without an outcome; while running, the calls that the
//! upstream may have acted on without telling. Each is judged by the upstream's present state, once it is old
//! enough that a late effect would show, and the verdict is recorded. Not here: the judgment (`judge`), asking
//! the upstream (`state`).

pub mod elsewhere;
mod intent;
pub mod judge;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::audit::Auditor;
use crate::audit::lost::{self, Done};
use crate::audit::one_shot::Fate;
use crate::json::{Json, Object};
use crate::limit::Budget;
use crate::operation::{AccountId, Operation, TunnelId};
use crate::refusal::Refusal;
use crate::state::States;
use crate::tunnel::state;

use elsewhere::{Elsewhere, Since};
use intent::Intent;
use judge::{Expected, Present, Resolution, Verdict, judge, together};

/// Looks into lost calls.
#[derive(Debug)]
pub struct Resolver {
    auditor: Arc<Auditor>,
    states: Arc<States>,
    budget: Budget,
    settle: Duration,
    /// The intents that are looked into, by their times.
    open: Mutex<BTreeSet<(Timestamp, Uuid)>>,
    touched: Mutex<Touched>,
    /// Where there are other replicas.
    elsewhere: Option<Elsewhere>,
}

/// The calls of ours, in the order of their turns: one that another followed can't be judged by the state.
#[derive(Debug, Default)]
struct Touched {
    /// How many there were.
    count: u64,
    /// The last one on each tunnel, and its place in the order.
    last: HashMap<Mark, (Uuid, u64)>,
    /// The place of the last one in each account that may have renamed or deleted a tunnel by its id.
    renamed: HashMap<AccountId, u64>,
    /// Up to this place they are forgotten.
    forgotten: u64,
}

impl Touched {
    fn add(&mut self, intent: &Intent) {
        self.count += 1;
        let call = (intent.request_id, self.count);
        self.last.extend(intent.expected.iter().map(|expected| (mark(intent, expected), call)));
        if intent.operation.replaces_state() && !intent.validate_only {
            self.renamed.insert(intent.account, self.count);
        }
    }

    fn forget(&mut self) {
        self.last.clear();
        self.renamed.clear();
        self.forgotten = self.count;
    }

    /// Whether a later call was made on the same tunnel.
    fn followed(&self, intent: &Intent, expected: &Expected) -> bool {
        // The order of turns, not that of request ids: a call that came early may have waited for long.
        self.last.get(&mark(intent, expected)).is_some_and(|(last, _)| *last != intent.request_id)
    }

    /// Whether a later call may have taken its name from the tunnel that this one made.
    fn undone(&self, intent: &Intent, expected: &Expected) -> bool {
        let own = self.last.get(&mark(intent, expected)).map_or(0, |(_, place)| *place);
        self.renamed.get(&intent.account).copied().unwrap_or(self.forgotten) > own
    }
}

/// The first and the longest pause after the upstream's state could not be read.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How often the upstream's state is asked for: with the pauses above, for a little over an hour.
const TRIES: u32 = 66;

/// Tunnels that are remembered while no lost call is open, when nobody needs them.
const REMEMBERED: usize = 10_000;

impl Resolver {
    /// `settle` is how long to wait from a call's end (or from the start, for one of an earlier run) before it is
    /// judged: as long as the upstream may take to act on what it has received.
    #[must_use]
    pub fn new(
        auditor: Arc<Auditor>,
        states: Arc<States>,
        budget: Budget,
        settle: Duration,
        elsewhere: Option<Elsewhere>,
    ) -> Arc<Self> {
        let (open, touched) = (Mutex::default(), Mutex::default());
        Arc::new(Self { auditor, states, budget, settle, open, touched, elsewhere })
    }

    /// How long a lost call may take to be resolved, at most.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.settle.saturating_add(PAUSE.1.saturating_mul(TRIES))
    }

    /// How many lost calls are not resolved yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lock_open().len()
    }

    /// When the oldest call that is not resolved yet was recorded.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.lock_open().first().map(|(time, _)| *time)
    }

    fn lock_open(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, Uuid)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a call with this intent is about to be made. To be told of intents in their order, and of each
    /// before anything is sent.
    pub fn touched(&self, intent: &Json) {
        // One that can't be read is reported where it is looked into.
        let Some(intent) = Intent::read(intent) else { return };
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.last.len() > REMEMBERED && self.open() == 0 {
            touched.forget();
        }
        touched.add(&intent);
    }

    /// Takes the intent of a lost call to look into, in a task of its own.
    pub fn look_into(self: &Arc<Self>, entry: &Json) {
        let Some(intent) = Intent::read(entry) else {
            tracing::error!("an intent in the record can't be read; it stays open");
            return;
        };
        if !self.lock_open().insert((intent.time, intent.id)) {
            return;
        }
        let (resolver, entry) = (Arc::clone(self), entry.clone());
        tokio::spawn(async move {
            resolver.resolve(&intent, &entry).await;
            resolver.lock_open().remove(&(intent.time, intent.id));
        });
    }

    async fn resolve(&self, intent: &Intent, entry: &Json) {
        tokio::time::sleep(self.settle).await;
        let found = match &self.elsewhere {
            None => self.patient_findings(intent).await,
            Some(elsewhere) => {
                let is_ours = elsewhere.is_ours(intent, self.patience()).await;
                let found = if is_ours { self.patient_findings(intent).await } else { Vec::new() };
                // Its own replica may have come back, and known.
                if !is_ours || elsewhere.is_ended(intent).await.unwrap_or(false) {
                    self.auditor.ended_elsewhere(intent.id);
                    return;
                }
                found
            }
        };
        let verdicts: Vec<&Verdict> = found.iter().map(|found| &found.verdict).collect();
        let resolution = together(&verdicts);
        let mut call = intent.call.clone();
        call.set("intent_id", intent.id.to_string());
        self.effects(&mut call, intent, entry, &found);
        self.auditor.resolved(call, resolution.name(), evidence(intent, &verdicts)).await;
        if let Some(key) = &intent.request_key {
            let fate = match resolution {
                Resolution::Applied => Fate::Happened,
                Resolution::NotApplied => Fate::Nothing,
                Resolution::CantTell => Fate::Unknown,
            };
            self.auditor.one_shots().settle(key, intent.request_id, fate);
        }
        tracing::info!(
            request.id = %intent.request_id,
            resolution = resolution.name(),
            "found out what became of a lost call"
        );
    }

    /// Asks again and again, with longer and longer pauses, and gives up in the end: a call in an account that can't
    /// be read any more must not stay open for ever.
    async fn patient_findings(&self, intent: &Intent) -> Vec<Found> {
        let mut pause = PAUSE.0;
        for _ in 0..TRIES {
            let refusal = match self.findings(intent).await {
                Ok(found) => return found,
                Err(refusal) => refusal,
            };
            tracing::warn!(
                request.id = %intent.request_id,
                refusal.name = refusal.name(),
                "what became of a lost call can't be found out yet"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        let because = "the tunnels of this account could not be read for too long";
        intent.expected.iter().map(|_| cant_tell(because).into()).collect()
    }

    async fn findings(&self, intent: &Intent) -> Result<Vec<Found>, Refusal> {
        if intent.validate_only {
            let verdict = Verdict {
                resolution: Resolution::NotApplied,
                evidence: Object::from_iter([("because", Json::from("validate_only persists nothing"))]),
            };
            return Ok(vec![verdict.into()]);
        }
        let taken = self.budget.take_own().await?;
        let all = self.states.all(&taken, intent.account, intent.request_id).await?;
        let since = match &self.elsewhere {
            Some(elsewhere) => Some(elsewhere.since(intent).await?),
            None => None,
        };
        let followed =
            |expected: &Expected| since.as_ref().is_some_and(|since| since.followed(intent, expected));
        let is_undone = since.as_ref().is_some_and(|since: &Since| since.undone(intent));
        let found = |expected: &Expected| {
            let named = |tunnel: &&Object| {
                if intent.operation == Operation::Create {
                    text(tunnel, "name") == expected.name
                } else {
                    text(tunnel, "id") == expected.tunnel
                }
            };
            let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
            if touched.followed(intent, expected) || followed(expected) {
                return cant_tell("a later call of ours was made on the same tunnel").into();
            }
            let now = all.iter().find(named);
            let present = now.map(|tunnel| self.present(tunnel));
            let verdict = judge(intent.operation, intent.time, expected, present.as_ref());
            let made_nothing =
                intent.operation == Operation::Create && verdict.resolution == Resolution::NotApplied;
            if made_nothing && (is_undone || touched.undone(intent, expected)) {
                return cant_tell("a later call of ours changed or deleted a tunnel of this account").into();
            }
            Found { verdict, now: now.cloned() }
        };
        Ok(intent.expected.iter().map(found).collect())
    }

    /// What the call changed, of those tunnels on which it was carried out, and the ids of those that it created.
    fn effects(&self, members: &mut Object, intent: &Intent, entry: &Json, found: &[Found]) {
        let applied = |found: &Found| found.verdict.resolution == Resolution::Applied;
        let mut done = Vec::new();
        for (at, (expected, found)) in intent.expected.iter().zip(found).enumerate() {
            if !applied(found) {
                continue;
            }
            let known = expected.tunnel.as_deref().and_then(TunnelId::parse);
            let tunnel = known.or_else(|| state::tunnel_id(found.now.as_ref()?));
            done.push(Done { at, tunnel, now: found.now.as_ref(), key: expected.replaces_key });
        }
        if done.is_empty() {
            return;
        }
        if let Some(Json::Array(tunnels)) = members.get_mut("tunnels") {
            for Done { at, tunnel, .. } in &done {
                if let (Some(Json::Object(named)), Some(id)) = (tunnels.get_mut(*at), tunnel) {
                    named.set("id", id.to_string());
                }
            }
        }
        let changed = lost::before_after_diff(self.auditor.redactor(), intent.operation, entry, &done);
        members.set("before_after_diff", Json::Array(changed));
    }

    fn present(&self, tunnel: &Object) -> Present {
        Present {
            settings: self.states.settings(tunnel),
            name: text(tunnel, "name"),
            created_on: state::time_of(tunnel, "created_on").map(str::to_owned),
            modified_on: state::time_of(tunnel, "modified_on").map(str::to_owned),
            key_generated_on: state::key_generated_on(tunnel).map(str::to_owned),
            never_had_key: state::never_had_key(tunnel),
        }
    }
}

/// One tunnel of a lost call, and how it is now.
#[derive(Debug)]
struct Found {
    verdict: Verdict,
    now: Option<Object>,
}

impl From<Verdict> for Found {
    /// Where nothing rests on how it is now.
    fn from(verdict: Verdict) -> Self {
        Self { verdict, now: None }
    }
}

/// Where a call had its turn: an account, and a tunnel's id or the name of one to be created.
type Mark = (AccountId, Option<String>, Option<String>);

fn mark(intent: &Intent, expected: &Expected) -> Mark {
    let name = expected.name.clone().filter(|_| expected.tunnel.is_none());
    (intent.account, expected.tunnel.clone(), name)
}

fn cant_tell(because: &str) -> Verdict {
    Verdict {
        resolution: Resolution::CantTell,
        evidence: Object::from_iter([("because", Json::from(because))]),
    }
}

/// What each verdict rests on: our words, digests and times, and no other text of the upstream's.
fn evidence(intent: &Intent, verdicts: &[&Verdict]) -> Vec<Object> {
    let item = |(expected, verdict): (&Expected, &&Verdict)| {
        let mut item = verdict.evidence.clone();
        item.set("tunnel", expected.tunnel.clone());
        item.set("resolution", verdict.resolution.name());
        item
    };
    intent.expected.iter().zip(verdicts).map(item).collect()
}

fn text(object: &Object, name: &str) -> Option<String> {
    object.get(name).and_then(Json::as_str).map(str::to_owned)
}
