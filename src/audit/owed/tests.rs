use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::audit::call::{Line, Named};
use crate::caller::Origin;
use crate::clock::{Ids, SystemClock};
use crate::config::{self, Bodies};
use crate::json::{MAX_DEPTH, read};
use crate::measure::Metrics;
use crate::operation::{AccountId, Operation, TunnelId};
use crate::seal::{Signer, generate_key};
use crate::secret::{ExposeSecret as _, Fingerprinter};
use crate::store::double::{self, Step};
use crate::store::{Filter, MAX_ENTRY, Reader, Settings, Store};

const CANARY: &str = "canary-of-a-key";

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn parse(text: &str) -> Json {
    read(text.as_bytes(), MAX_DEPTH).unwrap()
}

fn object(text: &str) -> Object {
    parse(text).as_object().unwrap().clone()
}

fn heard<'a>(body: &'a str, json: &'a Json, digest: String) -> End<'a> {
    End::Answered(Heard {
        status: 200,
        cf_ray: None,
        content_type: Some("application/json"),
        body: body.as_bytes(),
        digest,
        json: Some(json),
    })
}

/// An auditor with a record of its own.
pub(in crate::audit) struct Bench {
    pub(in crate::audit) auditor: Arc<Auditor>,
    pub(in crate::audit) store: Arc<Store>,
    /// What is to go wrong with the store.
    pub(in crate::audit) plan: double::Plan,
    clock: Arc<SystemClock>,
    pub(in crate::audit) reader: Reader,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(in crate::audit) async fn new(append_timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("audit.db");
        let clock = SystemClock::new();
        let (key, _) = generate_key("tunnelwarden/owed").unwrap();
        let signer = Arc::new(Signer::new(key.expose_secret()).unwrap());
        let settings =
            Settings { database: database.clone().into(), checkpoint_files: Vec::new(), append_timeout };
        let (store, plan) = double::failing(settings, signer, clock.clone()).await;
        let store = Arc::new(store);
        let config = config::Audit {
            database: database.clone().into(),
            signing_key_file: "unused".into(),
            fingerprint_key_file: "unused".into(),
            checkpoint_files: Vec::new(),
            bodies: Bodies { read: true, write: true, secret: true },
            append_timeout,
            one_shot_window: LONG,
            heartbeat: LONG,
            resolve_after: Duration::ZERO,
            reconcile: config::Reconcile {
                every: None,
                grace: Duration::ZERO,
                look_back: Duration::ZERO,
                accounts: Vec::new(),
            },
        };
        let ids = Arc::new(Ids::new(clock.clone()));
        let fingerprinter = Fingerprinter::new(b"a key of the tests");
        let auditor = Auditor::new(
            Arc::clone(&store),
            fingerprinter,
            ids,
            clock.clone(),
            &config,
            None,
            Metrics::new(),
        );
        let reader = Reader::open(&database).await.unwrap();
        Self { auditor, store, plan, clock, reader, _folder: folder }
    }

    pub(in crate::audit) fn call(&self, route: Route) -> Call {
        let origin = Origin {
            address: IpAddr::from([127, 0, 0, 1]),
            user_agent: None,
            retry_count: 0,
            certificate: None,
        };
        let mut call = Call::new(self.auditor.ids.next(), origin, Line::unread(), self.clock.clone());
        call.route = Some(route);
        call
    }

    /// A write whose intent is on disk.
    async fn owed(&self, call: &Call, asked: Asked) -> Owed {
        let members = call.members();
        let intent = self.auditor.finish(Kind::Intent, call, members);
        self.auditor.append(&intent).await.unwrap();
        let intent_id = intent.get("id").and_then(|id| id.as_str()?.parse().ok()).unwrap();
        let plan = Plan { asked, before: Vec::new(), expected: Vec::new(), token_until: None };
        let route = call.route.unwrap();
        Owed {
            auditor: Arc::clone(&self.auditor),
            plan,
            route,
            intent_id,
            intent,
            key: None,
            used: None,
            closed: false,
        }
    }

    /// The entries of one kind, when nothing is owed any more.
    async fn entries(&self, kind: Kind) -> Vec<Json> {
        assert!(self.auditor.settled(LONG).await);
        let rows = self.reader.list(&Filter { after: None, ..Filter::default() }).await.unwrap();
        let entries = rows.iter().map(|row| read(row.entry.as_bytes(), 64).unwrap());
        entries.filter(|entry| entry.get("kind") == Some(&kind.name().into())).collect()
    }
}

#[tokio::test]
async fn an_outcome_too_large_for_the_record_says_what_is_true_and_what_is_left_out() {
    let bench = Bench::new(LONG).await;
    let account = AccountId::parse("a1").unwrap();
    let route = Route { operation: Operation::SetPsks, account, tunnel: None, validate_only: false };
    let asked = format!(r#"{{"psks":[{{"id":"0f","psk":"{CANARY}"}},{{"id":"0e","psk":"{CANARY}"}}]}}"#);
    let asked = Asked::read(route.operation, None, Some(parse(&asked))).unwrap();
    let body = format!(
        r#"{{"success":true,"errors":[],"messages":[],"result":{{"successfully_applied_psks":{{"0f":{{}}}},"unapplied_psks":{{"0e":"{}"}}}}}}"#,
        "x".repeat(MAX_ENTRY)
    );
    let json = parse(&body);
    let mut call = bench.call(route);
    call.tunnels = ["0f", "0e"].map(|id| Named { id: TunnelId::parse(id), name: None }).into();
    let owed = bench.owed(&call, asked).await;
    let digest = bench.auditor.fingerprinter().digest(body.as_bytes());
    let _recorded = owed.close(&mut call, &heard(&body, &json, digest), false).await;
    let outcomes = bench.entries(Kind::Outcome).await;
    let [outcome] = outcomes.as_slice() else { panic!("one outcome, not {}", outcomes.len()) };
    for (pointer, want) in [
        ("/status", Json::from(200)),
        ("/sent", "yes".into()),
        ("/upstream/status", 200.into()),
        ("/response/size", body.len().into()),
        ("/response/digest", bench.auditor.fingerprinter().digest(body.as_bytes()).into()),
        ("/results/0/applied", true.into()),
        ("/results/1/applied", false.into()),
    ] {
        assert_eq!(outcome.pointer(pointer), Some(&want), "{pointer}: {outcome}");
    }
    for absent in ["/refusal", "/ambiguous", "/recorded_late", "/response/body", "/results/1/reason"] {
        assert_eq!(outcome.pointer(absent), None, "{absent}: {outcome}");
    }
    let left_out = outcome.get("left_out").map(ToString::to_string).unwrap_or_default();
    assert!(left_out.contains("response.body") && left_out.contains("results[].reason"), "{left_out}");
}

#[tokio::test]
async fn a_resolution_that_was_stored_late_is_stored_once_and_ends_its_intent() {
    let bench = Bench::new(Duration::from_millis(200)).await;
    bench.plan.commits.lock().unwrap().push_back(Step::Hangs);
    let intent = bench.auditor.ids.next();
    bench.auditor.left(intent, 0);
    let call = Object::from_iter([("intent_id", intent.to_string())]);
    let mut health = bench.store.health();
    let release = async {
        health.wait_for(|health| !health.is_writable()).await.unwrap();
        bench.plan.gate.notify_one();
    };
    let resolved = bench.auditor.resolved(call, "applied", Vec::new());
    tokio::time::timeout(LONG, async { tokio::join!(resolved, release) }).await.unwrap();
    let before = bench.auditor.unended.ended_before();
    assert_eq!(bench.entries(Kind::Resolved).await.len(), 1);
    assert_eq!((before, bench.auditor.unended.ended_before()), (0, 1));
}

#[tokio::test]
async fn evidence_passes_the_guard() {
    let bench = Bench::new(LONG).await;
    let token = format!("cfut_{}", "a".repeat(40));
    let evidence = Object::from_iter([("because", token.as_str()), ("created_on", "redacted:psk:x")]);
    bench.auditor.resolved(Object::new(), "applied", vec![evidence]).await;
    let resolved = bench.entries(Kind::Resolved).await;
    let shown = resolved[0].get("evidence").map(ToString::to_string).unwrap_or_default();
    assert!(!shown.contains(&token) && !shown.contains("\"redacted:psk"), "{shown}");
}

#[test]
fn nothing_shows_a_body_or_a_state() {
    let body = format!(r#"{{"success":true,"result":{{"psk":"{CANARY}"}}}}"#);
    let json = parse(&body);
    let plan = Plan {
        asked: Asked::read(Operation::Create, None, Some(parse(&format!(r#"{{"psk":"{CANARY}"}}"#))))
            .unwrap(),
        before: vec![object(&format!(r#"{{"bgp":{{"md5_key":"{CANARY}"}}}}"#))],
        expected: vec![object(&format!(r#"{{"name":"{CANARY}"}}"#))],
        token_until: None,
    };
    let shown = format!("{:?} {plan:?}", heard(&body, &json, String::new()));
    let in_digits = format!("{:?}", CANARY.as_bytes());
    assert!(!shown.contains(CANARY) && !shown.contains(in_digits.trim_matches(['[', ']'])), "{shown}");
}
