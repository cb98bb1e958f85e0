//! Reading the record over HTTP: who may, how deep, and that they did.
//!
//! A reader is identified by the same tokens as a caller and permitted by the same policy; each question is an
//! `audit_read` entry, on disk before its answer leaves. What is read comes as [`Told`], which only this module makes, so
//! no face can show what was not recorded. The same question asked again by the same token within a few minutes, as paging
//! and tailing do, is told of by the first entry, which says until when.
//!
//! Not here: what is served where (`api`, `console`), the questions' SQL (`store`), the terminal (`cli::audit`), which
//! needs the file and so records nothing.

mod asked;
mod credential;
mod leases;
mod overview;
mod verification;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::audit::call::caller_members;
use crate::authorize::{Depth, Ruling};
use crate::caller::Caller;
use crate::clock::rfc3339;
use crate::entry::Kind;
use crate::inspect::{self, KeyAge, KeyAges, metadata, read_entry};
use crate::json::{Json, Object};
use crate::pipeline::Pipeline;
use crate::refusal::Refusal;
use crate::seal::{EntryProof, Verifier};
use crate::store::{By, Count, Filter, ReadError, Reader, Row, Rows, View};

pub use asked::{Asked, MAX_TEXT};
pub use credential::{COOKIE, Door, cookie_of};
pub use overview::{Activity, Overview};
pub use verification::State as VerificationState;

use asked::Question;
use leases::Leases;
use verification::Verification;

/// Questions that are answered at once: the database has as many connections for them.
const AT_ONCE: usize = 2;

/// How long a question waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// Rows that an answer has at most.
pub const MOST: usize = 500;

/// Where the record is read.
#[derive(Debug)]
pub struct Desk {
    pipeline: Arc<Pipeline>,
    reader: Reader,
    verifier: Verifier,
    token_header: Option<HeaderName>,
    leases: Leases,
    ages: Mutex<KeyAges>,
    verification: Verification,
    turns: Semaphore,
}

/// Proof that somebody may read the record. Only [`Desk::enter`] makes one.
#[derive(Debug)]
pub struct Reading {
    caller: Arc<Caller>,
    door: Door,
    address: IpAddr,
    depth: Depth,
    policies: Vec<String>,
    policy_digest: String,
}

impl Reading {
    /// Who reads.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.caller.subject
    }

    /// When their token ends.
    #[must_use]
    pub fn expires(&self) -> jiff::Timestamp {
        self.caller.expires
    }

    /// How deep they may read.
    #[must_use]
    pub const fn depth(&self) -> Depth {
        self.depth
    }
}

/// An answer whose question stands in the record.
#[derive(Debug)]
#[must_use]
pub struct Told<T> {
    /// The request that was recorded: this one, or the one whose entry tells of it.
    pub request_id: Uuid,
    /// What was asked for.
    pub what: T,
}

/// A stored entry, as deep as its reader may see.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its place in the log.
    pub seq: u64,
    /// Its text: byte for byte, or without values.
    pub text: String,
}

impl Desk {
    /// A desk before this record.
    #[must_use]
    pub fn new(
        pipeline: Arc<Pipeline>,
        reader: Reader,
        verifier: Verifier,
        token_header: Option<HeaderName>,
    ) -> Self {
        Self {
            leases: Leases::new(Arc::clone(&pipeline.clock)),
            verification: Verification::default(),
            pipeline,
            reader,
            verifier,
            token_header,
            ages: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.pipeline.clock.now()
    }

    /// Lets a reader in, by the token in these headers.
    ///
    /// # Errors
    /// Why not. It is recorded, but for what addresses without a good token send beyond their bound.
    pub async fn enter(&self, door: Door, address: IpAddr, headers: &HeaderMap) -> Result<Reading, Refusal> {
        self.pipeline.auditor.admits()?;
        let found = credential::find(door, headers, self.token_header.as_ref());
        let identified = match found {
            Ok(token) => self.pipeline.identify(address, &token).await,
            Err(refusal) => self.pipeline.gate.check(address).and(Err(refusal)).inspect_err(|_| {
                self.pipeline.gate.failed(address);
            }),
        };
        let caller = match identified {
            Ok(identified) => Arc::clone(identified.caller()),
            Err(refusal) => return Err(self.refused(door, address, None, refusal).await),
        };
        let authorizer = self.pipeline.authorizer();
        let ask = |depth| authorizer.decide_audit(&caller, depth, address, self.now());
        let mut policies = match ask(Depth::Metadata) {
            Ruling::Permit(permit) => permit.policies().to_vec(),
            Ruling::Deny(refusal) => return Err(self.refused(door, address, Some(&caller), refusal).await),
            Ruling::NeedsState => return Err(Refusal::Internal),
        };
        let depth = match ask(Depth::Bodies) {
            Ruling::Permit(permit) => {
                policies.extend(
                    permit.policies().iter().filter(|id| !policies.contains(id)).cloned().collect::<Vec<_>>(),
                );
                Depth::Bodies
            }
            Ruling::Deny(_) | Ruling::NeedsState => Depth::Metadata,
        };
        Ok(Reading { policy_digest: authorizer.digest().to_owned(), caller, door, address, depth, policies })
    }

    /// Records that somebody was not let in.
    async fn refused(
        &self,
        door: Door,
        address: IpAddr,
        caller: Option<&Caller>,
        refusal: Refusal,
    ) -> Refusal {
        if matches!(refusal, Refusal::AddressLimited { .. }) && !self.pipeline.gate.tells(address) {
            self.pipeline.metrics.unanswered(&refusal);
            return refusal;
        }
        let mut members = Object::new();
        if let Some(caller) = caller {
            caller_members(&mut members, caller);
        }
        members.set("client_address", address.to_string());
        members.set("decision", "deny");
        if let Refusal::Forbidden(forbidden) = &refusal {
            members.set("policies", forbidden.policies.clone());
            members.set("policy_digest", self.pipeline.authorizer().digest());
        }
        members.set("read", Object::from_iter([("door", Json::from(door.name()))]));
        members.set("status", refusal.terms().status.as_u16());
        members.set("refusal", refusal.record());
        self.pipeline.metrics.refusal(&refusal);
        match self.pipeline.auditor.note(Kind::AuditRead, members).await {
            Ok(_) => refusal,
            Err(unavailable) => unavailable,
        }
    }

    /// Records a question, unless an entry of this token tells of it already.
    async fn note<T>(&self, reading: &Reading, question: &Question, what: T) -> Result<Told<T>, Refusal> {
        let digest = question.digest(reading);
        if let Some(request_id) = self.leases.held(&digest) {
            return Ok(Told { request_id, what });
        }
        let mut members = Object::new();
        caller_members(&mut members, &reading.caller);
        members.set("client_address", reading.address.to_string());
        members.set("decision", "allow");
        members.set("policies", reading.policies.clone());
        members.set("policy_digest", reading.policy_digest.as_str());
        let mut read = question.members();
        read.set("door", reading.door.name());
        read.set("depth", reading.depth.action());
        read.set("covers_until", rfc3339(self.leases.until()));
        members.set("read", read);
        let request_id = self.pipeline.auditor.note(Kind::AuditRead, members).await?;
        self.leases.take(digest, request_id);
        Ok(Told { request_id, what })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let busy = || Refusal::Overloaded { retry_after: Duration::from_secs(2) };
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await.map_err(|_| busy())?;
        turn.map_err(|_| Refusal::Internal)
    }

    /// A question with its filter, of which texts are kept that the record has already.
    async fn question(&self, what: &str, asked: &Asked, any: bool) -> Result<Question, Refusal> {
        let known = |filter: Filter| async move {
            let filter = Filter { limit: Some(1), ..filter };
            Ok::<_, Refusal>(any || !self.reader.find(&filter).await.map_err(unreadable)?.is_empty())
        };
        let subject = match &asked.subject {
            Some(subject) => known(Filter { subject: Some(subject.clone()), ..Filter::default() }).await?,
            None => false,
        };
        let tunnel = match &asked.tunnel {
            Some(tunnel) => known(Filter { tunnel: Some(tunnel.clone()), ..Filter::default() }).await?,
            None => false,
        };
        Ok(Question::new(what, asked, asked::Known { subject, tunnel, team: any, field: any }))
    }

    /// The newest entries that fit, or the oldest after one.
    ///
    /// # Errors
    /// The record can't be read, or the question can't be recorded.
    pub async fn entries(
        &self,
        reading: &Reading,
        asked: &Asked,
        filter: &Filter,
    ) -> Result<Told<Vec<Shown>>, Refusal> {
        let turn = self.turn().await?;
        let rows = self.reader.list(filter).await.map_err(unreadable)?;
        let question = self.question("entries", asked, !rows.is_empty()).await?;
        drop(turn);
        self.note(reading, &question, shown(reading, rows)).await
    }

    /// All entries of one call, oldest first, by its request id or the id of any of them.
    ///
    /// # Errors
    /// As above.
    pub async fn call(&self, reading: &Reading, id: Uuid) -> Result<Told<Vec<Shown>>, Refusal> {
        let turn = self.turn().await?;
        let rows = self.reader.get(&id.to_string()).await.map_err(unreadable)?;
        drop(turn);
        self.note(reading, &Question::of("call", id.to_string()), shown(reading, rows)).await
    }

    /// Rows of a view, newest first.
    ///
    /// # Errors
    /// As above.
    pub async fn rows(
        &self,
        reading: &Reading,
        view: View,
        asked: &Asked,
        filter: &Filter,
        least: usize,
    ) -> Result<Told<Rows>, Refusal> {
        let turn = self.turn().await?;
        let field = asked.field.as_deref();
        let mut rows = self.reader.view(view, filter, field, least).await.map_err(unreadable)?;
        let question = self.question(view.name(), asked, !rows.rows.is_empty()).await?;
        drop(turn);
        if reading.depth == Depth::Metadata {
            rows.rows.iter_mut().for_each(hide);
        }
        self.note(reading, &question, rows).await
    }

    /// Counts of calls.
    ///
    /// # Errors
    /// As above.
    pub async fn counts(
        &self,
        reading: &Reading,
        asked: &Asked,
        filter: &Filter,
        by: By,
    ) -> Result<Told<Vec<Count>>, Refusal> {
        let turn = self.turn().await?;
        let counts = self.reader.counts(filter, by).await.map_err(unreadable)?;
        let question = self.question("statistics", asked, !counts.is_empty()).await?;
        drop(turn);
        self.note(reading, &question, counts).await
    }

    /// The tunnels that are left, with the ages of their keys, by id; of one only where it is given.
    ///
    /// # Errors
    /// As above.
    pub async fn key_ages(
        &self,
        reading: &Reading,
        only: Option<&str>,
    ) -> Result<Told<Vec<(String, KeyAge)>>, Refusal> {
        let turn = self.turn().await?;
        let mut ages = self.ages.lock().await;
        ages.follow(&self.reader).await.map_err(unreadable)?;
        let found = match only {
            Some(tunnel) => ages.of(tunnel).map(|age| (tunnel.to_owned(), age.clone())).into_iter().collect(),
            None => ages.left().map(|(id, age)| (id.to_owned(), age.clone())).collect(),
        };
        drop((ages, turn));
        self.note(reading, &Question::of("key_ages", only.unwrap_or_default().to_owned()), found).await
    }

    /// What tunnels are called, as far as it is known without reading for it.
    #[must_use]
    pub fn names(&self, _reading: &Reading) -> BTreeMap<String, String> {
        self.ages.try_lock().map(|ages| ages.names()).unwrap_or_default()
    }

    /// Reads what is known of tunnels and their keys, so that the first reader need not wait for it.
    pub async fn prepare(&self) {
        if let Err(error) = self.ages.lock().await.follow(&self.reader).await {
            tracing::warn!(error = %error, "the record can't be read for the ages of keys");
        }
    }

    /// The ids of the tunnels that a person may mean: by id, or by a name that they have or had.
    ///
    /// # Errors
    /// The record can't be read.
    pub async fn tunnels(&self, _reading: &Reading, named: &str) -> Result<Vec<String>, Refusal> {
        if named.len() == 32 && named.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(vec![named.to_ascii_lowercase()]);
        }
        self.reader.tunnels_named(named).await.map_err(unreadable)
    }

    /// The proof of an entry; none where there is no such entry.
    ///
    /// # Errors
    /// The reader may not see bodies, which are in it; or as above.
    pub async fn prove(&self, reading: &Reading, id: Uuid) -> Result<Told<Option<EntryProof>>, Refusal> {
        self.deep(reading).await?;
        let turn = self.turn().await?;
        let rows = self.reader.get(&id.to_string()).await.map_err(unreadable)?;
        let text = id.to_string();
        let has_id = |row: &&Row| {
            read_entry(row.entry.as_bytes()).is_ok_and(|e| e.get("id").and_then(Json::as_str) == Some(&text))
        };
        let proof = match rows.iter().find(has_id) {
            None => None,
            Some(row) => match inspect::prove(&self.reader, &self.verifier, row.seq).await {
                Ok(proof) => Some(proof),
                Err(error) => {
                    tracing::error!(error = %error, "an entry can't be proven");
                    return Err(Refusal::AuditUnavailable {
                        why: "it does not prove this entry; run `audit verify`",
                    });
                }
            },
        };
        drop(turn);
        self.note(reading, &Question::of("proof", text), proof).await
    }

    /// The newest signed checkpoints, newest first; the head before them.
    ///
    /// # Errors
    /// As above.
    pub async fn checkpoints(&self, reading: &Reading, most: u32) -> Result<Told<Vec<String>>, Refusal> {
        let turn = self.turn().await?;
        let notes = self.reader.checkpoints(most).await.map_err(unreadable)?;
        drop(turn);
        self.note(reading, &Question::of("checkpoints", String::new()), notes).await
    }

    /// How the last verification went or goes; starts one where that is wanted and none goes on.
    ///
    /// # Errors
    /// As above.
    pub async fn verification(
        self: &Arc<Self>,
        reading: &Reading,
        start: bool,
    ) -> Result<Told<VerificationState>, Refusal> {
        let what = if start { "verify" } else { "verification" };
        let told = self.note(reading, &Question::of(what, String::new()), ()).await?;
        if start {
            self.verification.start(self.reader.clone(), self.verifier.clone(), &self.pipeline.clock);
        }
        Ok(Told { request_id: told.request_id, what: self.verification.state() })
    }

    /// Refuses who may not see bodies, by the policy's own words.
    async fn deep(&self, reading: &Reading) -> Result<(), Refusal> {
        let ruling = self.pipeline.authorizer().decide_audit(
            &reading.caller,
            Depth::Bodies,
            reading.address,
            self.now(),
        );
        match ruling {
            Ruling::Permit(_) => Ok(()),
            Ruling::Deny(refusal) => {
                Err(self.refused(reading.door, reading.address, Some(&reading.caller), refusal).await)
            }
            Ruling::NeedsState => Err(Refusal::Internal),
        }
    }
}

fn shown(reading: &Reading, rows: Vec<Row>) -> Vec<Shown> {
    let text = |row: Row| match reading.depth {
        Depth::Bodies => row.entry,
        // One that can't be read shows nothing.
        Depth::Metadata => {
            read_entry(row.entry.as_bytes()).map_or_else(|_| "{}".to_owned(), |e| metadata(&e).to_string())
        }
    };
    rows.into_iter().map(|row| Shown { seq: row.seq, text: text(row) }).collect()
}

/// Takes values out of a view's row.
fn hide(row: &mut Object) {
    for name in ["before", "after", "psk"] {
        if let Some(value) = row.get_mut(name) {
            *value = Json::Null;
        }
    }
}

fn unreadable(error: ReadError) -> Refusal {
    tracing::error!(error = %error, "the record can't be read");
    Refusal::AuditUnavailable { why: error.fault.why() }
}
