mod alone;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::audit::call::Line;
use crate::audit::{End, Heard, Owed, Plan, Sent};
use crate::authorize::{Authorizer, Element, Permit, Question, Ruling};
use crate::caller::{Caller, Origin};
use crate::clock::{Clock, Ids, ManualClock};
use crate::config::{self, Bodies};
use crate::json::Object;
use crate::measure::Metrics;
use crate::operation::{AccountId, Operation, Route, TunnelId};
use crate::seal::{Signer, generate_key};
use crate::secret::ExposeSecret as _;
use crate::store::record::{postgres, server};
use crate::store::{Database, Reader, Settings, Store};

const LONG: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(600);

/// A replica, as far as one-shot calls need it.
pub(in crate::audit) struct Replica {
    pub(in crate::audit) auditor: Arc<Auditor>,
    pub(in crate::audit) clock: Arc<dyn Clock>,
}

/// Of one record, at the server or in a file.
fn named(database: &Database, name: &str) -> Database {
    match database {
        Database::Postgres(server) => Database::Postgres(server.clone().for_replica(name).unwrap()),
        Database::Sqlite(_) => database.clone(),
    }
}

impl Replica {
    pub(in crate::audit) async fn new(database: &Database, name: &str, clock: Arc<dyn Clock>) -> Self {
        let database = named(database, name);
        let shared = Shared::open(&database).unwrap();
        let elsewhere = shared.map(|shared| Elsewhere::new(&shared, LONG));
        Self::with(database, elsewhere, clock).await
    }

    async fn with(database: Database, elsewhere: Option<Elsewhere>, clock: Arc<dyn Clock>) -> Self {
        let (key, _) = generate_key("tunnelwarden/claims").unwrap();
        let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
        let settings =
            Settings { database: database.clone(), checkpoint_files: Vec::new(), append_timeout: LONG };
        let store = Arc::new(Store::open(settings, signer, Arc::clone(&clock)).await.unwrap());
        let config = config::Audit {
            database,
            signing_key_file: "unused".into(),
            fingerprint_key_file: "unused".into(),
            checkpoint_files: Vec::new(),
            bodies: Bodies { read: true, write: true, secret: true },
            append_timeout: LONG,
            one_shot_window: WINDOW,
            heartbeat: LONG,
            resolve_after: Duration::ZERO,
            reconcile: config::Reconcile {
                every: None,
                grace: Duration::ZERO,
                look_back: Duration::ZERO,
                accounts: Vec::new(),
            },
        };
        let ids = Arc::new(Ids::new(Arc::clone(&clock)));
        let fingerprinter = Fingerprinter::new(b"a key that replicas share");
        let (metrics, of) = (Metrics::new(), Arc::clone(&clock));
        let auditor = Auditor::new(store, fingerprinter, ids, of, &config, elsewhere, metrics);
        Self { auditor, clock }
    }

    /// Alice generates a key for the tunnel of this number.
    pub(in crate::audit) fn call(&self, tunnel: usize, retry_count: u32) -> Call {
        let origin = Origin {
            address: IpAddr::from([127, 0, 0, 1]),
            user_agent: None,
            retry_count,
            certificate: None,
        };
        let mut call = Call::new(self.auditor.ids.next(), origin, Line::unread(), Arc::clone(&self.clock));
        call.caller = Some(Arc::new(alice()));
        call.route = Some(route(tunnel));
        call
    }

    async fn open(&self, call: &mut Call) -> Result<Owed, Refusal> {
        let plan = Plan { asked: asked(), before: Vec::new(), expected: Vec::new(), token_until: None };
        self.auditor.open(call, &permit(), plan).await
    }

    /// A call that is made and ends so; its request id.
    async fn made(&self, tunnel: usize, fate: Fate) -> Uuid {
        let mut call = self.call(tunnel, 0);
        let owed = self.open(&mut call).await.unwrap();
        self.end(call, owed, fate).await
    }

    async fn end(&self, mut call: Call, owed: Owed, fate: Fate) -> Uuid {
        let answered = |status| {
            let (cf_ray, content_type, digest) = (None, None, String::new());
            End::Answered(Heard { status, cf_ray, content_type, body: b"", digest, json: None })
        };
        let lost = End::Failed {
            refusal: &Refusal::UpstreamTimeout,
            sent: Sent::Unknown,
            status: None,
            cf_ray: None,
        };
        let intent = owed.intent().clone();
        let (end, is_gone) = match fate {
            Fate::Open | Fate::Unknown => (lost, false),
            Fate::Happened => (answered(200), false),
            Fate::Unheard => (answered(200), true),
            Fate::Nothing => (answered(400), false),
        };
        let _recorded = owed.close(&mut call, &end, is_gone).await;
        if fate == Fate::Unknown {
            self.concludes(&intent, "can't tell").await;
            let key = intent.get("request_key").and_then(Json::as_str).unwrap();
            self.auditor.one_shots().settle(key, call.request_id, fate);
        }
        call.request_id
    }

    /// Looked into what became of a call, and says this.
    async fn concludes(&self, intent: &Json, what: &'static str) {
        let text = |name: &str| intent.get(name).cloned().unwrap();
        let of = [("request_id", text("request_id")), ("intent_id", text("id"))];
        self.auditor.resolved(Object::from_iter(of), what, Vec::new()).await;
    }

    /// What becomes of one more equal call up to its being sent.
    async fn again(&self, tunnel: usize, retry_count: u32) -> Result<(), Refusal> {
        self.auditor.claim(&self.call(tunnel, retry_count), &asked()).await.map(drop)
    }
}

fn alice() -> Caller {
    Caller {
        subject: "alice".into(),
        teams: vec![],
        roles: vec![],
        issuer: "https://idp.example".into(),
        jti: None,
        key_id: None,
        expires: Timestamp::MAX,
    }
}

fn route(tunnel: usize) -> Route {
    let (account, tunnel) = (AccountId::parse("0a").unwrap(), TunnelId::parse(&format!("{tunnel:032x}")));
    Route { operation: Operation::GeneratePsk, account, tunnel, validate_only: false }
}

fn asked() -> Asked {
    Asked::read(Operation::GeneratePsk, route(1).tunnel, None).unwrap()
}

pub(in crate::audit) fn permit() -> Permit {
    let (caller, route) = (alice(), route(1));
    let elements = [Element { tunnel: route.tunnel, ..Element::default() }];
    let question = Question {
        caller: &caller,
        operation: route.operation,
        account: route.account,
        validate_only: false,
        source: IpAddr::from([127, 0, 0, 1]),
        time: Timestamp::UNIX_EPOCH,
        elements: &elements,
    };
    match Authorizer::new("@id(\"all\")\npermit(principal, action, resource);").unwrap().decide(&question) {
        Ruling::Permit(permit) => permit,
        other @ (Ruling::Deny(_) | Ruling::NeedsState) => panic!("{other:?}"),
    }
}

pub(in crate::audit) fn clock() -> Arc<ManualClock> {
    ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap())
}

const FATES: [Fate; 5] = [Fate::Open, Fate::Unknown, Fate::Happened, Fate::Unheard, Fate::Nothing];

#[tokio::test]
async fn a_repetition_at_another_replica_is_refused_where_one_at_the_same_is() {
    let Some(database) = postgres("a").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let alone = Database::Sqlite(folder.path().join("audit.db"));
    let clock = clock();
    let alone = Replica::new(&alone, "", clock.clone()).await;
    let (a, b) = (
        Replica::new(&database, "a", clock.clone()).await,
        Replica::new(&database, "b", clock.clone()).await,
    );
    let mut refused = 0;
    for (at, fate) in FATES.into_iter().enumerate() {
        for retry_count in [0, 1] {
            let tunnel = 2 * at + retry_count as usize + 1;
            let first = alone.made(tunnel, fate).await;
            let there = a.made(tunnel, fate).await;
            clock.advance(SKEW * 2);
            let same = alone.again(tunnel, retry_count).await;
            let other = b.again(tunnel, retry_count).await;
            let expected = same.map_err(|refusal| {
                assert_eq!(refusal, Refusal::Repeat { first }, "{fate:?}");
                Refusal::Repeat { first: there }
            });
            assert_eq!(other, expected, "{fate:?}, retry {retry_count}");
            refused += usize::from(expected.is_err());
        }
    }
    assert_eq!(refused, 7, "all but a new call after one that happened, and both after none");
}

#[tokio::test]
async fn what_ends_at_one_replica_is_known_at_the_next_claim_of_another() {
    let Some(database) = postgres("a").await else { return };
    let clock = clock();
    let (a, b) = (
        Replica::new(&database, "a", clock.clone()).await,
        Replica::new(&database, "b", clock.clone()).await,
    );
    let mut call = a.call(1, 0);
    let owed = a.open(&mut call).await.unwrap();
    let first = call.request_id;
    assert_eq!(b.again(1, 0).await, Err(Refusal::Repeat { first }), "it is under way");
    a.end(call, owed, Fate::Nothing).await;
    assert_eq!(b.again(1, 0).await, Ok(()), "it came to nothing");

    let mut call = a.call(2, 0);
    let owed = a.open(&mut call).await.unwrap();
    let first = call.request_id;
    let refused = Err(Refusal::Repeat { first });
    assert_eq!(b.again(2, 0).await, refused);
    clock.advance(LONG);
    a.end(call, owed, Fate::Happened).await;
    clock.advance(LONG);
    assert_eq!(b.again(2, 1).await, refused);
    assert_eq!(b.again(2, 0).await, Ok(()), "a new one");
}

#[tokio::test]
async fn a_call_that_waited_at_another_replica_for_the_first_one_to_happen_is_its_repetition() {
    let Some(database) = postgres("a").await else { return };
    let clock = clock();
    let (a, b) = (
        Replica::new(&database, "a", clock.clone()).await,
        Replica::new(&database, "b", clock.clone()).await,
    );
    clock.advance(LONG);
    let waited = b.call(1, 0);
    clock.advance(LONG);
    let first = a.made(1, Fate::Happened).await;
    let refused = Err(Refusal::Repeat { first });
    assert_eq!(b.auditor.claim(&waited, &asked()).await.map(drop), refused);
    assert_eq!(b.again(1, 0).await, Ok(()), "it came after that was known here");

    let first = a.made(2, Fate::Happened).await;
    clock.advance(SKEW / 2);
    let soon = b.call(2, 0);
    clock.advance(SKEW / 4);
    let refused = Err(Refusal::Repeat { first });
    assert_eq!(b.auditor.claim(&soon, &asked()).await.map(drop), refused, "the clocks may differ by as much");
    clock.advance(SKEW);
    assert_eq!(b.again(2, 0).await, Ok(()));
}

#[tokio::test]
async fn a_call_that_came_to_nothing_elsewhere_does_not_make_an_earlier_one_forgotten() {
    let Some(database) = postgres("a").await else { return };
    let clock = clock();
    let (a, b) = (
        Replica::new(&database, "a", clock.clone()).await,
        Replica::new(&database, "b", clock.clone()).await,
    );
    let c = Replica::new(&database, "c", clock.clone()).await;
    let first = a.made(1, Fate::Happened).await;
    clock.advance(SKEW * 2);
    b.made(1, Fate::Nothing).await;
    for replica in [&c, &a, &b] {
        assert_eq!(replica.again(1, 1).await, Err(Refusal::Repeat { first }));
    }
    clock.advance(WINDOW);
    assert_eq!(c.again(1, 1).await, Ok(()), "after the window it is forgotten");
}

#[tokio::test]
async fn an_outcome_that_was_heard_says_more_than_what_was_concluded_whatever_the_clocks_say() {
    let Some(database) = postgres("a").await else { return };
    let (clock, ahead) = (clock(), clock());
    ahead.advance(LONG);
    let a = Replica::new(&database, "a", clock.clone()).await;
    let b = Replica::new(&database, "b", clock.clone()).await;
    let fast = Replica::new(&database, "fast", ahead).await;
    let c = Replica::new(&database, "c", clock.clone()).await;
    // Behind an outcome nothing is concluded any more, but by the clock of who concluded it may seem so.
    for (tunnel, other) in [(1, &b), (2, &fast)] {
        let mut call = a.call(tunnel, 0);
        let owed = a.open(&mut call).await.unwrap();
        other.concludes(&owed.intent().clone(), "not applied").await;
        let first = a.end(call, owed, Fate::Happened).await;
        assert_eq!(c.again(tunnel, 1).await, Err(Refusal::Repeat { first }), "{tunnel}");
    }
    // Of one that was not heard, what was concluded is all there is: also where the two have the same time.
    for (tunnel, concluded, is_again) in [(3, "applied", false), (4, "not applied", true)] {
        let mut call = a.call(tunnel, 0);
        let owed = a.open(&mut call).await.unwrap();
        let intent = owed.intent().clone();
        let first = a.end(call, owed, Fate::Open).await;
        b.concludes(&intent, concluded).await;
        let expected = if is_again { Ok(()) } else { Err(Refusal::Repeat { first }) };
        assert_eq!(c.again(tunnel, 1).await, expected, "{concluded}");
    }
    // A start reads the same out of the record.
    let reader = Reader::open(&database).await.unwrap();
    let calls = reader.one_shot_since(Timestamp::UNIX_EPOCH).await.unwrap();
    let ended = |(_, ending): &(String, Option<String>)| {
        let ending = crate::json::read(ending.as_ref()?.as_bytes(), 64).unwrap();
        Some(ending.get("kind")?.as_str()?.to_owned())
    };
    let told: Vec<_> = calls.iter().filter_map(ended).collect();
    assert_eq!(told, ["outcome", "outcome", "resolved", "resolved"]);
    // And the view that people ask.
    let url = database.to_string();
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let ended = "SELECT ended FROM tunnelwarden.requests WHERE request_id IN (
        SELECT request_id FROM tunnelwarden.entries WHERE kind = 'resolved') ORDER BY seq";
    let ended = server().unwrap().sql(name, ended);
    assert_eq!(ended.lines().collect::<Vec<_>>(), told);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_calls_at_two_replicas_at_the_same_instant_one_is_made() {
    let Some(database) = postgres("a").await else { return };
    let clock = clock();
    let (a, b) = (
        Replica::new(&database, "a", clock.clone()).await,
        Replica::new(&database, "b", clock.clone()).await,
    );
    let replicas = [Arc::new(a), Arc::new(b)];
    for tunnel in 1..=200 {
        let calls = replicas.each_ref().map(|replica| {
            let replica = Arc::clone(replica);
            tokio::spawn(async move {
                let call = replica.call(tunnel, 0);
                (call.request_id, replica.auditor.claim(&call, &asked()).await.map(drop))
            })
        });
        let [one, other] = calls;
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        let (won, lost) = if one.1.is_ok() { (one, other) } else { (other, one) };
        assert_eq!(won.1, Ok(()));
        assert_eq!(lost.1, Err(Refusal::Repeat { first: won.0 }));
    }
}

#[tokio::test]
async fn a_replica_that_died_between_claim_and_intent_is_waited_for_no_longer_than_it_may_take() {
    let Some(database) = postgres("a").await else { return };
    let clock = clock();
    let a = Replica::new(&database, "a", clock.clone()).await;
    let b = Replica::new(&database, "b", clock.clone()).await;
    let dead = a.call(1, 0);
    a.auditor.claim(&dead, &asked()).await.unwrap();
    assert_eq!(b.again(1, 1).await, Err(Refusal::Repeat { first: dead.request_id }));

    // One that has no time at all is over it at once.
    let hasty = named(&database, "c");
    let shared = Shared::open(&hasty).unwrap().unwrap();
    let elsewhere =
        Elsewhere { shared: shared.clone(), claims: Claims::new(&shared, Duration::ZERO), send_within: LONG };
    let c = Replica::with(hasty, Some(elsewhere), clock.clone()).await;
    c.again(2, 0).await.unwrap();
    assert_eq!(b.again(2, 1).await, Ok(()));

    // And it sends nothing itself after the time that the others wait.
    let claim = a.auditor.claim(&a.call(3, 0), &asked()).await.unwrap().unwrap();
    clock.advance(LONG + MARGIN);
    assert!(!a.auditor.is_overdue(&claim));
    clock.advance(Duration::from_millis(1));
    assert!(a.auditor.is_overdue(&claim));
}

/// A clock on which a minute passes whenever it is looked at.
#[derive(Debug)]
struct Leaping(Arc<ManualClock>);

impl Clock for Leaping {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.advance(LONG);
        self.0.monotonic()
    }
}

#[tokio::test]
async fn a_call_whose_intent_came_too_late_is_not_sent_and_the_record_says_so() {
    let Some(database) = postgres("a").await else { return };
    let a = Replica::new(&database, "a", Arc::new(Leaping(clock()))).await;
    let mut call = a.call(1, 0);
    let refused = a.open(&mut call).await.map(drop);
    assert_eq!(refused, Err(Refusal::AuditUnavailable { why: super::super::SLOW }));
    assert!(a.auditor.settled(LONG).await);
    let reader = Reader::open(&database).await.unwrap();
    let rows = reader.get(&call.request_id.to_string()).await.unwrap();
    let entries: Vec<Json> =
        rows.iter().map(|row| crate::json::read(row.entry.as_bytes(), 64).unwrap()).collect();
    let told =
        |name: &str| entries.iter().map(|entry| entry.get(name).and_then(Json::as_str)).collect::<Vec<_>>();
    assert_eq!(told("kind"), [Some("intent"), Some("outcome")]);
    assert_eq!(told("sent"), [None, Some("no")]);
    let b = Replica::new(&database, "b", clock()).await;
    assert_eq!(b.again(1, 1).await, Ok(()));
}

#[tokio::test]
async fn while_nobody_can_tell_what_other_replicas_do_no_one_shot_call_is_made() {
    let Some(database) = postgres("a").await else { return };
    let away = Database::parse("postgres://writer@127.0.0.1:1/none?sslmode=disable", Path::new("")).unwrap();
    let shared = Shared::open(&named(&away, "a")).unwrap().unwrap();
    let elsewhere = Elsewhere::new(&shared, LONG);
    let a = Replica::with(named(&database, "a"), Some(elsewhere), clock()).await;
    let mut call = a.call(1, 0);
    assert_eq!(a.open(&mut call).await.map(drop), Err(Away.into()));
    assert!(!call.has_intent);
}
