//! Several callers at once, each making whatever call comes into its mind until the proxy is gone.
//!
//! Not here: when it goes (`crash`).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinHandle;
use tunnelwarden::json::Json;
use tunnelwarden::operation::AccountId;

use crate::harness::{ACCOUNT, World, collection, tunnel_body};

const CALLERS: u64 = 6;

/// Numbers that a seed repeats (xorshift64*).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, round: u64) -> Self {
        let mut random = Self((seed ^ (round << 48)).max(1));
        // The first ones of neighboring seeds look alike.
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end
    }
}

/// An answer whose head a client got; of its body maybe nothing.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) request_id: String,
    pub(crate) status: u16,
}

/// Callers at work.
pub(crate) struct Callers {
    tasks: Vec<JoinHandle<()>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Callers {
    pub(crate) fn start(world: &World, random: &mut Random) -> Self {
        Self::over(world, random, Arc::new(Mutex::new(vec![world.proxy().api])), None)
    }

    /// At any of the replicas that serve, for as long as `goes_on` says so; without it, until one is gone.
    pub(crate) fn over(
        world: &World,
        random: &mut Random,
        at: Arc<Mutex<Vec<SocketAddr>>>,
        goes_on: Option<Arc<AtomicBool>>,
    ) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let account = AccountId::parse(ACCOUNT).unwrap();
        let text = |tunnel: &Json, name| tunnel.get(name).and_then(Json::as_str).unwrap().to_owned();
        let tunnels = world.emulator.tunnels(account);
        let tunnels: Vec<_> = tunnels.iter().map(|t| (text(t, "id"), text(t, "name"))).collect();
        let tasks = (0..CALLERS).map(|n| {
            let mut caller = Caller {
                n,
                at: Arc::clone(&at),
                goes_on: goes_on.clone(),
                token: token(world, n),
                tunnels: tunnels.clone(),
                random: Random::new(random.below(u64::MAX), n),
                heard: Arc::clone(&heard),
            };
            tokio::spawn(async move { caller.work().await })
        });
        Self { tasks: tasks.collect(), heard }
    }

    /// Waits until all have met the end of the proxy; what they heard before.
    pub(crate) async fn heard(self) -> Vec<Heard> {
        for task in self.tasks {
            let ended = tokio::time::timeout(Duration::from_secs(70), task).await;
            ended.expect("a caller meets the end of the proxy").unwrap();
        }
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

/// Each has a name of its own, and so quotas of its own.
fn token(world: &World, n: u64) -> String {
    let mut claims = world.claims("admin");
    claims.set("sub", format!("admin-{n}@test"));
    world.key.sign(&Json::Object(claims), &[]).unwrap()
}

struct Caller {
    n: u64,
    /// Where the replicas that serve are now.
    at: Arc<Mutex<Vec<SocketAddr>>>,
    /// Whether to try again when one is gone, for as long as this says so.
    goes_on: Option<Arc<AtomicBool>>,
    token: String,
    /// Id and name of those that are there when all begins; others delete them meanwhile.
    tunnels: Vec<(String, String)>,
    random: Random,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Caller {
    async fn work(&mut self) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        while self.goes_on.as_ref().is_none_or(|goes_on| goes_on.load(Ordering::Relaxed)) {
            let (method, path, body) = self.next();
            let at = self.at.lock().unwrap().clone();
            let Some(at) = at.get(usize::try_from(self.random.below(at.len().max(1) as u64)).unwrap()) else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let mut request = Request::builder()
                .method(method)
                .uri(format!("http://{at}{}{path}", collection()))
                .header("authorization", format!("Bearer {}", self.token));
            if body.is_some() {
                request = request.header("content-type", "application/json");
            }
            let request = request.body(Full::from(body.unwrap_or_default())).unwrap();
            let Ok(answer) = client.request(request).await else {
                if self.goes_on.is_none() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let id = answer.headers().get("x-request-id").expect("every answer names its call");
            let heard =
                Heard { request_id: id.to_str().unwrap().to_owned(), status: answer.status().as_u16() };
            self.heard.lock().unwrap().push(heard);
            if answer.into_body().collect().await.is_err() && self.goes_on.is_none() {
                return;
            }
        }
    }

    /// Any call; names and addresses are drawn from few, so that callers get into each other's way.
    fn next(&mut self) -> (Method, String, Option<String>) {
        let (id, name) = self.any();
        let (other, other_name) = self.any();
        let address = u8::try_from(1 + self.random.below(4)).unwrap();
        let body = tunnel_body(&name, address);
        let with_key = |body: &str, n: u64| body.replacen('{', &format!(r#"{{"psk":"key-{n:020}","#), 1);
        let element = |id: &str, body: &str| body.replacen('{', &format!(r#"{{"id":"{id}","#), 1);
        let n = self.random.below(1 << 40);
        match self.random.below(12) {
            0 => (Method::GET, String::new(), None),
            1 => (Method::GET, format!("/{id}"), None),
            2 => (Method::POST, String::new(), Some(tunnel_body(&format!("new-{}", n % 5), address))),
            3 => (Method::POST, String::new(), Some(tunnel_body(&format!("own-{}-{n}", self.n), address))),
            4 | 5 => (Method::PUT, format!("/{id}"), Some(body)),
            6 => (Method::PUT, format!("/{id}"), Some(with_key(&body, n))),
            7 | 8 if id != other => {
                let second = tunnel_body(&other_name, address);
                let both = [element(&id, &body), element(&other, &second)].join(",");
                (Method::PUT, String::new(), Some(format!(r#"{{"ipsec_tunnels":[{both}]}}"#)))
            }
            9 => (Method::DELETE, format!("/{id}"), None),
            10 => (
                Method::POST,
                "/psk".to_owned(),
                Some(format!(r#"{{"psks":[{{"id":"{id}","psk":"key-{n:020}"}}]}}"#)),
            ),
            _ => (Method::POST, format!("/{id}/psk_generate?validate_only={}", n.is_multiple_of(8)), None),
        }
    }

    fn any(&mut self) -> (String, String) {
        let at = self.random.below(self.tunnels.len() as u64);
        self.tunnels[usize::try_from(at).unwrap()].clone()
    }
}
