//! The time of day jumps, by an hour or by years, back and forth: what is limited, remembered or ordered does not go by it.
//!
//! The whole product runs in the test's process, on a clock whose time of day can be moved. Not here: that identifiers
//! grow (`src/clock.rs`), a machine that was suspended.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use tunnelwarden::clock::{Clock, SystemClock};
use tunnelwarden::config;
use tunnelwarden::json::Json;
use tunnelwarden::service::{Running, Source};

use crate::harness::{Answer, Stored, Wishes, World, collection, tunnel_body};

const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;

/// The machine's clock, whose time of day can be moved.
#[derive(Debug)]
struct Jumping {
    clock: Arc<SystemClock>,
    seconds: AtomicI64,
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        self.clock.now() + SignedDuration::from_secs(self.seconds.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

/// A running product and its clock.
struct Here {
    world: World,
    running: Running,
    clock: Arc<Jumping>,
}

impl Here {
    async fn start(limits: &str) -> Self {
        let config = vec![("limits.subject", limits.to_owned())];
        let world = World::prepared(Wishes { config, unlimited: true, ..Wishes::default() }).await;
        let config = config::load(Path::new(&world.config()), &BTreeMap::new()).unwrap();
        let clock = Arc::new(Jumping { clock: SystemClock::new(), seconds: AtomicI64::new(0) });
        let source =
            Source { file: world.config().into(), variables: BTreeMap::new(), filter: Box::new(|_| {}) };
        let running = Running::start(config, source, clock.clone()).await.unwrap();
        Self { world, running, clock }
    }

    /// Moves the time of day to so many seconds from the true one.
    fn jump(&self, seconds: i64) {
        self.clock.seconds.store(seconds, Ordering::SeqCst);
    }

    /// A token of this role that is valid for an hour from the present time of day on.
    fn token(&self, role: &str) -> String {
        let mut claims = self.world.claims(role);
        let now = self.clock.now().as_second();
        claims.set("iat", now);
        claims.set("exp", now + HOUR);
        self.world.key.sign(&Json::Object(claims), &[]).unwrap()
    }

    async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<&str>,
        retries: u32,
    ) -> Answer {
        let uri = format!("http://{}{}{path}", self.running.api(), collection());
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("authorization", format!("Bearer {token}"))
            .header("x-stainless-retry-count", retries);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default().to_owned())).unwrap();
        self.world.send(request).await.unwrap()
    }

    /// Stops; the entries in their order. Dropping the world verifies the log.
    async fn end(self) -> (Vec<Stored>, World) {
        self.running.stop().await;
        (self.world.entries().await, self.world)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_time_of_day_jumps_no_entry_is_lost_and_places_and_ids_grow() {
    let here = Here::start("{ read = \"none\", write = \"none\", secret = \"none\" }").await;
    let mut ids = Vec::new();
    for (n, jump) in (1..).zip([0, HOUR, -HOUR, TEN_YEARS, 0, -TEN_YEARS, HOUR, 0]) {
        here.jump(jump);
        let token = here.token("admin");
        let made = here.call(&token, Method::POST, "", Some(&tunnel_body(&format!("t{n}"), n)), 0).await;
        assert_eq!(made.status, 200, "{jump}: {}", made.text());
        let read = here.call(&token, Method::GET, "", None, 0).await;
        assert_eq!(read.status, 200, "{jump}: {}", read.text());
        ids.extend([made.header("x-request-id"), read.header("x-request-id")]);
    }
    let (entries, _world) = here.end().await;
    let places: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(places, (0..entries.len() as u64).collect::<Vec<_>>());
    // Two threads may append in another order than they named their entries, so only a caller's own calls are compared.
    assert!(ids.is_sorted(), "{ids:?}");
    let ends = entries.iter().filter(|entry| entry.text("/kind") == "outcome");
    assert_eq!(ends.map(|entry| entry.text("/request_id")).collect::<Vec<_>>(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_stays_out_also_one_that_was_verified_before() {
    let here = Here::start("{ read = \"none\", write = \"none\", secret = \"none\" }").await;
    let token = here.token("viewer");
    assert_eq!(here.call(&token, Method::GET, "", None, 0).await.status, 200);
    for (jump, code) in [(HOUR + 120, 99218), (TEN_YEARS, 99218), (-HOUR, 99219), (-TEN_YEARS, 99219)] {
        here.jump(jump);
        let answer = here.call(&token, Method::GET, "", None, 0).await;
        assert_eq!((answer.status, answer.error_code()), (401, code), "{jump}: {}", answer.text());
    }
    here.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_spent_stays_spent_and_what_was_made_stays_known_whatever_the_time_of_day_is() {
    let here = Here::start("{ read = \"2/h\", write = \"none\", secret = \"none\" }").await;
    let body = tunnel_body("once", 1);
    let first = here.call(&here.token("admin"), Method::POST, "", Some(&body), 0).await;
    assert_eq!(first.status, 200, "{}", first.text());
    for _ in 0..2 {
        assert_eq!(here.call(&here.token("viewer"), Method::GET, "", None, 0).await.status, 200);
    }
    for jump in [0, HOUR, -HOUR, TEN_YEARS, -TEN_YEARS] {
        here.jump(jump);
        let read = here.call(&here.token("viewer"), Method::GET, "", None, 0).await;
        assert_eq!((read.status, read.error_code()), (429, 99300), "{jump}: {}", read.text());
        let again = here.call(&here.token("admin"), Method::POST, "", Some(&body), 1).await;
        assert_eq!((again.status, again.error_code()), (409, 99405), "{jump}: {}", again.text());
    }
    here.end().await;
}
