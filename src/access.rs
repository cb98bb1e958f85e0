//! Reading the record over HTTP: who may, how deep, and that they did.
//!
//! A reader is identified by the same tokens as a caller and permitted by the same policy; each question is an
//! `audit_read` entry, on disk before its answer leaves. What is read comes as [`Told`], which only this module makes, so
//! no face can show what was not recorded. The same question asked again by the same token within a few minutes, as paging
//! and tailing do, is told of by the first entry, which says until when.
//!
//! Not here: what is served where (`api`, `console`), the questions' SQL (`store`), the terminal (`cli::audit`), which
//! needs the file and so records nothing.

mod answers;
mod asked;
mod credential;
mod leases;
mod overview;
mod places;
mod verification;

use std::net::IpAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::audit::call::{caller_members, refused_token};
use crate::authorize::{Depth, Ruling};
use crate::caller::{Caller, Origin};
use crate::clock::rfc3339;
use crate::entry::Kind;
use crate::identify::NotTaken;
use crate::inspect::KeyAges;
use crate::json::{Json, Object};
use crate::limit::AddressGate;
use crate::operation::Class;
use crate::pipeline::{Pipeline, Rules};
use crate::refusal::Refusal;
use crate::seal::Verifier;
use crate::store::Reader;

pub use answers::Page;
pub use asked::{Asked, MAX_TEXT};
pub use credential::{COOKIE, Door, cookie_of};
pub use overview::{Activity, Overview};
pub use verification::State as VerificationState;

use asked::Question;
use leases::Leases;
use places::{Place, Places};
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
    gate: AddressGate,
    leases: Leases,
    places: Places,
    ages: Mutex<KeyAges>,
    prepared: Once,
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
    rules: Arc<Rules>,
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

/// A turn at the database.
#[derive(Debug)]
struct Turn<'a> {
    _place: Place,
    _permit: SemaphorePermit<'a>,
}

/// A stored entry, as deep as its reader may see.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its place in the log.
    pub seq: u64,
    /// Its text: byte for byte, or without values.
    pub text: String,
}

/// Who was not let in.
#[derive(Clone, Copy)]
enum Sender<'a> {
    Identified(&'a Caller),
    /// Of a token that is good and not taken all the same: it may be anybody.
    WithTokenOf(&'a Caller),
    Unknown,
}

impl Desk {
    /// A desk before this record. The gate is its own: whoever comes here without a token must not shut out callers.
    #[must_use]
    pub fn new(
        pipeline: Arc<Pipeline>,
        reader: Reader,
        verifier: Verifier,
        token_header: Option<HeaderName>,
        gate: AddressGate,
    ) -> Self {
        Self {
            gate,
            places: Places::default(),
            leases: Leases::new(Arc::clone(&pipeline.clock)),
            verification: Verification::default(),
            pipeline,
            reader,
            verifier,
            token_header,
            ages: Mutex::default(),
            prepared: Once::new(),
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
        let rules = self.pipeline.rules();
        let identified = match credential::find(door, headers, self.token_header.as_ref()) {
            Ok(token) => {
                // No client is asked for a certificate here, so no token that is bound to one is taken.
                let origin = Origin { address, user_agent: None, retry_count: 0, certificate: None };
                self.pipeline.identify(&rules, &self.gate, &origin, &token).await
            }
            // They are sent to sign in, and told nothing.
            Err(nobody @ Refusal::TokenMissing { .. }) if door == Door::Console => return Err(nobody),
            Err(refusal) => self
                .gate
                .check(address)
                .and(Err(refusal))
                .inspect_err(|_| self.gate.failed(address))
                .map_err(NotTaken::from),
        };
        let caller = match identified {
            Ok(identified) => Arc::clone(identified.caller()),
            Err(NotTaken { refusal, owner }) => {
                let sender = owner.as_deref().map_or(Sender::Unknown, Sender::WithTokenOf);
                return Err(self.refused(door, address, sender, &rules, refusal).await);
            }
        };
        if let Err(refused) = rules.limiter.admit(&caller, Class::Read).await {
            let sender = Sender::Identified(&caller);
            return Err(self.refused(door, address, sender, &rules, refused.refusal).await);
        }
        let ask = |depth| rules.policy.decide_audit(&caller, depth, address, self.now());
        let mut policies = match ask(Depth::Metadata) {
            Ruling::Permit(permit) => permit.policies().to_vec(),
            Ruling::Deny(refusal) => {
                let sender = Sender::Identified(&caller);
                return Err(self.refused(door, address, sender, &rules, refusal).await);
            }
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
        Ok(Reading { caller, door, address, depth, policies, rules })
    }

    /// Records that somebody was not let in.
    async fn refused(
        &self,
        door: Door,
        address: IpAddr,
        sender: Sender<'_>,
        rules: &Rules,
        refusal: Refusal,
    ) -> Refusal {
        let often = matches!(refusal, Refusal::AddressLimited { .. } | Refusal::QuotaSpent { .. });
        let unheard = (often && !self.gate.tells(address))
            || (!matches!(sender, Sender::Identified(_)) && !self.gate.records());
        if unheard {
            self.pipeline.metrics.unanswered(&refusal);
            return refusal;
        }
        let mut members = Object::new();
        match sender {
            Sender::Identified(caller) => caller_members(&mut members, caller),
            Sender::WithTokenOf(owner) => refused_token(&mut members, owner),
            Sender::Unknown => {}
        }
        members.set("client_address", address.to_string());
        members.set("decision", "deny");
        if let Refusal::Forbidden(forbidden) = &refusal {
            members.set("policies", forbidden.policies.clone());
            members.set("policy_digest", rules.policy.digest());
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
        let lease = self.leases.begin();
        let mut members = Object::new();
        caller_members(&mut members, &reading.caller);
        members.set("client_address", reading.address.to_string());
        members.set("decision", "allow");
        members.set("policies", reading.policies.clone());
        members.set("policy_digest", reading.rules.policy.digest());
        let mut read = question.members();
        read.set("door", reading.door.name());
        read.set("depth", reading.depth.action());
        read.set("covers_until", rfc3339(lease.until));
        members.set("read", read);
        let request_id = self.pipeline.auditor.note(Kind::AuditRead, members).await?;
        self.leases.take(digest, lease, request_id);
        Ok(Told { request_id, what })
    }

    /// Waits for a turn at the database, of which one reader has two at most, waiting ones too.
    async fn turn(&self, reading: &Reading) -> Result<Turn<'_>, Refusal> {
        let busy = || Refusal::Overloaded { retry_after: Duration::from_secs(2) };
        let place = self.places.take(&reading.caller).ok_or_else(busy)?;
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await.map_err(|_| busy())?;
        Ok(Turn { _place: place, _permit: turn.map_err(|_| Refusal::Internal)? })
    }

    /// Refuses who may not see bodies, by the policy's own words.
    async fn deep(&self, reading: &Reading) -> Result<(), Refusal> {
        let Reading { rules, caller, address, door, .. } = reading;
        let ruling = rules.policy.decide_audit(caller, Depth::Bodies, *address, self.now());
        match ruling {
            Ruling::Permit(_) => Ok(()),
            Ruling::Deny(refusal) => {
                let sender = Sender::Identified(caller);
                Err(self.refused(*door, *address, sender, rules, refusal).await)
            }
            Ruling::NeedsState => Err(Refusal::Internal),
        }
    }
}
