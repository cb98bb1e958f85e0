//! Several callers at once, each making whatever call comes into its mind until the proxy is gone; afterwards those who
//! got no answer to a call that must not be made twice try it again, as an SDK does.
//!
//! Each names itself and its call to the upstream, so that an effect tells whose it is. Not here: when the proxy goes
//! (`crash`).

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

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// May do all.
    Admin,
    /// May change nothing.
    Viewer,
    /// Has no token.
    Nobody,
}

impl Who {
    const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
            Self::Nobody => "nobody",
        }
    }
}

/// Enough to get into each other's way.
pub(crate) const ADMINS: [Who; 6] = [Who::Admin; 6];

/// With some whose calls must have no effect.
const ALL: [Who; 8] =
    [Who::Admin, Who::Admin, Who::Admin, Who::Admin, Who::Admin, Who::Admin, Who::Viewer, Who::Nobody];

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

/// A call to which no whole answer came.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    method: Method,
    path: String,
    body: Option<String>,
    token: String,
    agent: String,
}

impl Lost {
    /// Whether making it twice must be prevented.
    fn is_one_shot(&self) -> bool {
        self.method == Method::POST && !self.path.contains("validate_only=true")
    }

    fn request(&self, at: SocketAddr, retries: u32) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(format!("http://{at}{}{}", collection(), self.path))
            .header("user-agent", &self.agent)
            .header("x-stainless-retry-count", retries);
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        if self.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        request.body(Full::from(self.body.clone().unwrap_or_default())).unwrap()
    }
}

/// What all of them met.
#[derive(Debug, Default)]
pub(crate) struct Met {
    pub(crate) heard: Vec<Heard>,
    pub(crate) lost: Vec<Lost>,
    /// What must be nowhere: tokens, and keys in answers.
    pub(crate) secrets: Vec<String>,
}

impl Met {
    fn answered(&mut self, head: &http::response::Parts) {
        let id = head.headers.get("x-request-id").expect("every answer names its call");
        let request_id = id.to_str().unwrap().to_owned();
        self.heard.push(Heard { request_id, status: head.status.as_u16() });
    }

    fn read(&mut self, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let keys = text.split(r#""psk":""#).skip(1).filter_map(|rest| rest.split('"').next());
        self.secrets.extend(keys.filter(|key| key.len() > 12).map(str::to_owned));
    }
}

/// Makes the lost calls that must not happen twice again, as a client does that says so.
pub(crate) async fn retry(world: &World, lost: &[Lost], retries: u32) -> Met {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut met = Met::default();
    for lost in lost.iter().filter(|lost| lost.is_one_shot()) {
        let answer = client.request(lost.request(world.proxy().api, retries)).await.unwrap();
        let (head, body) = answer.into_parts();
        met.answered(&head);
        if let Ok(body) = body.collect().await {
            met.read(&body.to_bytes());
        }
    }
    met
}

/// Callers at work.
pub(crate) struct Callers {
    tasks: Vec<JoinHandle<()>>,
    met: Arc<Mutex<Met>>,
}

impl Callers {
    pub(crate) fn start(world: &World, random: &mut Random) -> Self {
        Self::over(world, random, &ALL, Arc::new(Mutex::new(vec![world.proxy().api])), None)
    }

    /// At any of the replicas that serve, for as long as `goes_on` says so; without it, until one is gone.
    pub(crate) fn over(
        world: &World,
        random: &mut Random,
        who: &[Who],
        at: Arc<Mutex<Vec<SocketAddr>>>,
        goes_on: Option<Arc<AtomicBool>>,
    ) -> Self {
        let met = Arc::new(Mutex::new(Met::default()));
        let account = AccountId::parse(ACCOUNT).unwrap();
        let text = |tunnel: &Json, name| tunnel.get(name).and_then(Json::as_str).unwrap().to_owned();
        let tunnels = world.emulator.tunnels(account);
        let tunnels: Vec<_> = tunnels.iter().map(|t| (text(t, "id"), text(t, "name"))).collect();
        let tasks = who.iter().zip(0..).map(|(who, n)| {
            let token = token(world, *who, n);
            met.lock().unwrap().secrets.extend(Some(token.clone()).filter(|token| !token.is_empty()));
            let mut caller = Caller {
                who: *who,
                n,
                made: 0,
                at: Arc::clone(&at),
                goes_on: goes_on.clone(),
                token,
                tunnels: tunnels.clone(),
                random: Random::new(random.below(u64::MAX), n),
                met: Arc::clone(&met),
            };
            tokio::spawn(async move { caller.work().await })
        });
        Self { tasks: tasks.collect(), met }
    }

    /// Waits until all have met the end of the proxy; what they met before.
    pub(crate) async fn end(self) -> Met {
        for task in self.tasks {
            let ended = tokio::time::timeout(Duration::from_secs(70), task).await;
            ended.expect("a caller meets the end of the proxy").unwrap();
        }
        std::mem::take(&mut self.met.lock().unwrap())
    }
}

/// Each has a name of its own, and so quotas of its own.
fn token(world: &World, who: Who, n: u64) -> String {
    if who == Who::Nobody {
        return String::new();
    }
    let mut claims = world.claims(who.name());
    claims.set("sub", format!("{}-{n}@test", who.name()));
    world.key.sign(&Json::Object(claims), &[]).unwrap()
}

struct Caller {
    who: Who,
    n: u64,
    /// How many calls so far.
    made: u32,
    /// Where the replicas that serve are now.
    at: Arc<Mutex<Vec<SocketAddr>>>,
    /// Whether to try again when one is gone, for as long as this says so.
    goes_on: Option<Arc<AtomicBool>>,
    token: String,
    /// Id and name of those that are there when all begins; others delete them meanwhile.
    tunnels: Vec<(String, String)>,
    random: Random,
    met: Arc<Mutex<Met>>,
}

impl Caller {
    async fn work(&mut self) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        while self.goes_on.as_ref().is_none_or(|goes_on| goes_on.load(Ordering::Relaxed)) {
            let (method, path, body) = self.next();
            self.made += 1;
            let agent = format!("{}-{}/{}", self.who.name(), self.n, self.made);
            let call = Lost { method, path, body, token: self.token.clone(), agent };
            let at = self.at.lock().unwrap().clone();
            let Some(at) = at.get(usize::try_from(self.random.below(at.len().max(1) as u64)).unwrap()) else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let whole = async {
                let (head, body) = client.request(call.request(*at, 0)).await.ok()?.into_parts();
                self.met.lock().unwrap().answered(&head);
                let body = body.collect().await.ok()?.to_bytes();
                self.met.lock().unwrap().read(&body);
                Some(())
            };
            if whole.await.is_none() {
                self.met.lock().unwrap().lost.push(call);
                if self.goes_on.is_none() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if self.who == Who::Nobody {
                // An address that sends too much without a token gets no answer.
                tokio::time::sleep(Duration::from_millis(20)).await;
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
