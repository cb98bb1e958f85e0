//! Starts the program in a folder of its own before an emulated upstream, calls it, reads its record, and when
//! dropped checks the whole log: it verifies, and no intent is open.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tunnelwarden::clock::{Clock, Ids, SystemClock};
use tunnelwarden::config::Algorithm;
use tunnelwarden::emulator::{Emulator, Options, Token, new_token};
use tunnelwarden::identify::dev::DevKey;
use tunnelwarden::json::{self, Json, Object};
use tunnelwarden::operation::{AccountId, TunnelId};
use tunnelwarden::secret::{ExposeSecret as _, SecretString};
use tunnelwarden::store::{Database, Filter, Reader};

#[path = "../postgres/server.rs"]
pub mod postgres;

pub const ACCOUNT: &str = "0a";
pub const ISSUER: &str = "https://idp.example";
pub const AUDIENCE: &str = "tunnelwarden";

/// How long anything in a test may take before it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a test wants other than the usual.
#[derive(Default)]
pub struct Wishes {
    /// `section.key = value` lines that replace the usual ones, each as `("section.key", "TOML value")`.
    pub config: Vec<(&'static str, String)>,
    /// The policy, if not the shipped one.
    pub policy: Option<String>,
    /// Where to keep the database, if not in the folder.
    pub database: Option<Database>,
    /// Environment variables of the proxy.
    pub env: Vec<(String, String)>,
    /// Whether the emulator limits nobody.
    pub unlimited: bool,
    /// Set where the test leaves the log in a state that need not verify or has open intents.
    pub unchecked: bool,
    /// Speak TLS, and so HTTP/2, with the upstream.
    pub upstream_tls: bool,
    /// Speak TLS with clients, and ask them for a certificate.
    pub listen_tls: bool,
    /// A command that runs the proxy and stays out of its way: the program and its arguments come behind it.
    pub through: Vec<String>,
}

pub struct World {
    pub emulator: Emulator,
    pub upstream_token: SecretString,
    pub dir: tempfile::TempDir,
    pub key: DevKey,
    pub clock: Arc<SystemClock>,
    record: Database,
    env: Vec<(String, String)>,
    /// Runs the proxy from the next start on, see [`Wishes::through`].
    pub through: Vec<String>,
    unchecked: bool,
    proxy: Option<Proxy>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// The program as a process.
pub struct Proxy {
    child: Child,
    pub api: SocketAddr,
    pub admin: SocketAddr,
}

impl Proxy {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Proxy {
    /// Whatever fails, nothing of it goes on.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client got.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// One entry of the record.
#[derive(Debug, Clone)]
pub struct Stored {
    pub seq: u64,
    pub raw: String,
    pub json: Json,
}

impl World {
    pub async fn start() -> Self {
        Self::with(Wishes::default()).await
    }

    pub async fn with(wishes: Wishes) -> Self {
        let mut world = Self::prepared(wishes).await;
        world.launch().await;
        world
    }

    /// Everything but the proxy itself.
    pub async fn prepared(wishes: Wishes) -> Self {
        let clock = SystemClock::new();
        let upstream_token = new_token().unwrap();
        let mut options = Options::new(vec![Token::user(upstream_token.clone())]);
        if wishes.unlimited {
            options.rate = None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut wishes = wishes;
        if wishes.upstream_tls {
            options.tls = Some(tls(&dir.path().join("roots.pem")));
            wishes.config.push(("upstream.ca_file", format!("{:?}", "roots.pem")));
        }
        if wishes.listen_tls {
            listener_tls(dir.path(), &mut wishes.config);
        }
        let ids = Arc::new(Ids::new(clock.clone()));
        let emulator = Emulator::start(options, clock.clone(), ids).await.unwrap();
        let key = DevKey::generate(Algorithm::Es256).unwrap();
        let record = record(wishes.database.as_ref(), dir.path());
        let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        file("jwks.json", &key.jwks().to_string());
        file("upstream-token", upstream_token.expose_secret());
        let shipped = include_str!("../../config/policy.cedar");
        file("policy.cedar", wishes.policy.as_deref().unwrap_or(shipped));
        file("tunnelwarden.toml", &config(&emulator.base_url(), &record, &wishes.config));
        let world = Self {
            emulator,
            upstream_token,
            dir,
            key,
            clock,
            record,
            env: wishes.env,
            through: wishes.through,
            unchecked: wishes.unchecked,
            proxy: None,
            client: Client::builder(TokioExecutor::new()).build_http(),
        };
        let made = world.program(&["keys", "generate", "--config", &world.config()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        world
    }

    /// Starts the proxy process and waits until it serves.
    pub async fn launch(&mut self) {
        let started = self.try_launch().await;
        assert!(started, "the proxy did not start:\n{}{}", self.stdout(), self.stderr());
    }

    /// The same, where it may fail; answers whether it serves.
    pub async fn try_launch(&mut self) -> bool {
        assert!(self.proxy.is_none(), "one proxy at a time");
        self.proxy = self.serve(&self.config(), "").await;
        self.proxy.is_some()
    }

    /// Starts the program with a configuration; its output goes to files with this end. None where it ends before it serves.
    async fn serve(&self, config: &str, end: &str) -> Option<Proxy> {
        let log = |name: &str| {
            let path = self.dir.path().join(format!("{name}{end}"));
            std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap()
        };
        let before = self.stderr_of(end).len();
        let program = env!("CARGO_BIN_EXE_tunnelwarden").to_owned();
        let line = [&self.through[..], &[program]].concat();
        let child = Command::new(&line[0])
            .args(&line[1..])
            .args(["serve", "--config", config])
            .env_clear()
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log("stdout"))
            .stderr(log("stderr"))
            .spawn()
            .unwrap();
        // From here on it ends with this, also where nobody waits any more until it serves.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut proxy = Proxy { child, api: nowhere, admin: nowhere };
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let told = self.stderr_of(end);
            if let Some((api, admin)) = addresses(&told[before..]) {
                (proxy.api, proxy.admin) = (api, admin);
                return Some(proxy);
            }
            if proxy.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(tokio::time::Instant::now() < until, "the proxy neither serves nor ends:\n{told}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts another replica on the same record, which is on a server, with a checkpoint file of its own.
    pub async fn replica(&self, name: &str) -> Option<Proxy> {
        let own = self.dir.path().join(format!("{name}.toml"));
        let text = std::fs::read_to_string(self.config()).unwrap();
        let named = |key: &str, was: &str, is: &str| format!("{key} = {was:?}\n").replace(was, is);
        let Database::Postgres(server) = &self.record else { panic!("a file has no replicas") };
        let changed = text
            .replace(&format!("replica = {:?}\n", server.replica()), &named("replica", "x", name))
            .replace("checkpoint.txt", &format!("checkpoint-{name}.txt"));
        std::fs::write(&own, changed).unwrap();
        self.serve(own.to_str().unwrap(), &format!("-{name}")).await
    }

    /// What a replica wrote to standard error.
    pub fn stderr_of(&self, end: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("stderr{end}"))).unwrap_or_default()
    }

    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("the proxy runs")
    }

    pub fn config(&self) -> String {
        self.dir.path().join("tunnelwarden.toml").to_str().unwrap().to_owned()
    }

    /// The record's file.
    pub fn database(&self) -> &Path {
        self.record.file().expect("a test of what happens to a file")
    }

    /// Where the record is.
    pub const fn record(&self) -> &Database {
        &self.record
    }

    /// All that the proxy wrote to standard error so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stdout")).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut proxy = self.proxy.take().expect("the proxy runs");
        proxy.child.kill().unwrap();
        proxy.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) {
        self.terminate();
        self.ended().await;
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = self.proxy().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits until the proxy has ended by itself.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let mut proxy = self.proxy.take().expect("the proxy runs");
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = proxy.child.try_wait().unwrap() {
                return status;
            }
            assert!(tokio::time::Instant::now() < until, "the proxy does not stop:\n{}", self.stderr());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs the program with other arguments to its end.
    pub fn program(&self, args: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
            .args(args)
            .env_clear()
            .env("TZ", "UTC0")
            .output()
            .unwrap()
    }

    /// The claims of a token for a role, to change and sign.
    pub fn claims(&self, role: &str) -> Object {
        let now = self.clock.now().as_second();
        let mut claims = Object::new();
        claims.set("iss", ISSUER);
        claims.set("aud", AUDIENCE);
        claims.set("sub", format!("{role}@test"));
        claims.set("team", "network");
        claims.set("role", role);
        claims.set("iat", now);
        claims.set("exp", now + 3600);
        claims
    }

    /// What must be nowhere: the upstream's token and every key that it made.
    pub fn secrets(&self) -> Vec<String> {
        let account = AccountId::parse(ACCOUNT).unwrap();
        let id = |tunnel: &Json| TunnelId::parse(tunnel.get("id")?.as_str()?);
        let keys = self.emulator.tunnels(account).iter().filter_map(id).collect::<Vec<_>>();
        let keys = keys.into_iter().filter_map(|id| self.emulator.psk(account, id));
        keys.chain([self.upstream_token.clone()]).map(|secret| secret.expose_secret().to_owned()).collect()
    }

    pub fn token(&self, role: &str) -> String {
        self.key.sign(&Json::Object(self.claims(role)), &[]).unwrap()
    }

    /// Calls an operation as `role`; `path` follows the collection.
    pub async fn call(&self, role: &str, method: Method, path: &str, body: Option<&str>) -> Answer {
        self.call_with(role, method, path, body, &[]).await
    }

    pub async fn call_with(
        &self,
        role: &str,
        method: Method,
        path: &str,
        body: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let sent = self.try_call(&self.token(role), method, path, body, headers).await;
        sent.expect("the proxy answers")
    }

    /// The same with a token given, where the connection may break.
    pub async fn try_call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let uri = format!("http://{}{}{path}", self.proxy().api, collection());
        let mut request =
            Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {token}"));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default().to_owned()));
        self.send(request.body(body).unwrap()).await
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|e| format!("{e:?}"))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|e| format!("{e:?}"))?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time")
    }

    /// Sends bytes as they are and reads until the proxy closes the connection.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        self.raw_from([127, 0, 0, 1], bytes).await
    }

    /// Connects from one of this machine's addresses.
    pub async fn connect_from(&self, address: [u8; 4]) -> tokio::net::TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        socket.connect(self.proxy().api).await.unwrap()
    }

    /// The same as [`World::raw`] from one of this machine's addresses.
    pub async fn raw_from(&self, address: [u8; 4], bytes: &[u8]) -> String {
        let exchange = async {
            let mut stream = self.connect_from(address).await;
            stream.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            // A reset after the answer is an end like any other.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time")
    }

    /// The record, oldest first.
    pub async fn entries(&self) -> Vec<Stored> {
        stored(&self.record).await
    }

    /// The record behind its first `count` entries, oldest first.
    pub async fn entries_after(&self, count: u64) -> Vec<Stored> {
        stored_after(&self.record, count).await
    }

    /// The intents that nothing has ended yet.
    pub async fn open_intents(&self) -> Vec<String> {
        let reader = Reader::open(&self.record).await.unwrap();
        let open = reader.intents_without_outcome(0).await.unwrap();
        reader.close().await;
        open.into_iter().map(|row| row.entry).collect()
    }

    /// How many calls nobody knows the end of: without an outcome, or with one that does not know it either.
    pub async fn unresolved(&self) -> usize {
        let reader = Reader::open(&self.record).await.unwrap();
        let ambiguous = reader.intents_ambiguous().await.unwrap();
        reader.close().await;
        self.open_intents().await.len() + ambiguous.len()
    }

    /// The entries of one call.
    pub async fn entries_of(&self, request_id: &str) -> Vec<Stored> {
        let all = self.entries().await;
        all.into_iter().filter(|entry| entry.text("/request_id") == request_id).collect()
    }

    /// Waits until the record satisfies a condition.
    pub async fn wait_for(&self, what: &str, found: impl Fn(&[Stored]) -> bool) -> Vec<Stored> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let entries = self.entries().await;
            if found(&entries) {
                return entries;
            }
            assert!(tokio::time::Instant::now() < until, "never: {what}\n{}", self.stderr());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the audit API or the console, with these headers.
    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let uri = format!("http://{}{path}", self.proxy().admin);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap()
    }

    /// Asks the audit API as `role`.
    pub async fn read(&self, role: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token(role));
        self.ask(Method::GET, &format!("/api/v1/{path}"), &[("authorization", &bearer)], "").await
    }

    /// `/readyz`, `/metrics` and the like.
    pub async fn admin(&self, path: &str) -> Answer {
        let uri = format!("http://{}{path}", self.proxy().admin);
        self.send(Request::get(uri).body(Full::default()).unwrap()).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut proxy) = self.proxy.take() {
            let pid = proxy.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            for _ in 0..500 {
                if proxy.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = proxy.child.kill();
            let _ = proxy.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.stderr());
            return;
        }
        if self.unchecked || self.record.file().is_some_and(|file| !file.exists()) {
            return;
        }
        let verified = self.program(&["audit", "verify", "--config", &self.config()]);
        let told = String::from_utf8_lossy(&verified.stdout);
        assert!(
            verified.status.success(),
            "the log must verify: {told}{}",
            String::from_utf8_lossy(&verified.stderr)
        );
        let database = self.record.clone();
        // A runtime can't be started within one, so the check has a thread of its own.
        let open = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                Reader::open(&database).await.unwrap().intents_without_outcome(0).await.unwrap()
            })
        });
        let open = open.join().unwrap();
        assert!(open.is_empty(), "open intents: {open:#?}");
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Json {
        json::read(&self.body, json::MAX_DEPTH).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text_at(&self, pointer: &str) -> String {
        let json = self.json();
        json.pointer(pointer).and_then(Json::as_str).unwrap_or_else(|| panic!("{pointer}: {json}")).to_owned()
    }

    /// A header's value, empty where there is none.
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    pub fn error_code(&self) -> i64 {
        self.json().pointer("/errors/0/code").and_then(Json::as_i64).unwrap_or_default()
    }
}

impl Stored {
    /// The text at a pointer, empty where there is none.
    pub fn text(&self, pointer: &str) -> String {
        self.json.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned()
    }

    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.json.pointer(pointer).and_then(Json::as_i64)
    }
}

/// A file, or where the variable `TUNNELWARDEN_TEST_RECORD` says `postgres`, a new database on a server.
fn record(given: Option<&Database>, folder: &Path) -> Database {
    let on_server = std::env::var_os("TUNNELWARDEN_TEST_RECORD").is_some_and(|record| record == "postgres");
    match given {
        Some(given) => given.clone(),
        None if on_server => on_a_server("a").expect("PostgreSQL is there"),
        None => folder.join("audit.db").into(),
    }
}

/// A record on a PostgreSQL server, as the replica of this name writes it.
pub fn on_a_server(replica: &str) -> Option<Database> {
    postgres::server().map(|server| on_this_server(server, replica))
}

/// The same on this one.
pub fn on_this_server(server: &postgres::Server, replica: &str) -> Database {
    let name = server.database(None);
    let owner = server.url("owner", &name);
    let made = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
        .args(["migrate", "--database", &owner, "--writer", "writer", "--reader", "analyst"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    replica_of(&server.url("writer", &name), replica)
}

fn replica_of(url: &str, replica: &str) -> Database {
    match Database::parse(url, Path::new("")).unwrap() {
        Database::Postgres(server) => Database::Postgres(server.for_replica(replica).unwrap()),
        Database::Sqlite(_) => unreachable!("it is a server's address"),
    }
}

pub async fn stored(database: impl Into<Database>) -> Vec<Stored> {
    stored_after(database, 0).await
}

async fn stored_after(database: impl Into<Database>, count: u64) -> Vec<Stored> {
    let database = database.into();
    let reader = Reader::open(&database).await.unwrap();
    // Of a server no place follows from a number of entries.
    let after = count.checked_sub(1).filter(|_| database.file().is_some());
    let filter = Filter { after, limit: None, ..Filter::default() };
    let mut rows = reader.list(&filter).await.unwrap();
    reader.close().await;
    rows.sort_by_key(|row| row.seq);
    let before = if after.is_none() { usize::try_from(count).unwrap() } else { 0 };
    rows.into_iter()
        .skip(before)
        .map(|row| Stored {
            seq: row.seq,
            json: json::read(row.entry.as_bytes(), json::MAX_DEPTH).unwrap(),
            raw: row.entry,
        })
        .collect()
}

/// The path of the collection.
pub fn collection() -> String {
    format!("/client/v4/accounts/{ACCOUNT}/magic/ipsec_tunnels")
}

/// A body that creates or replaces a tunnel; `n` makes its addresses its own.
pub fn tunnel_body(name: &str, n: u8) -> String {
    format!(
        r#"{{"name":"{name}","cloudflare_endpoint":"203.0.113.1","customer_endpoint":"198.51.100.{n}","interface_address":"10.1.{n}.0/31","replay_protection":true}}"#
    )
}

/// TLS for 127.0.0.1, by an authority whose certificate is written to `roots`.
/// A certificate for the API's listener, and whose certificates its clients may have.
fn listener_tls(folder: &Path, config: &mut Vec<(&'static str, String)>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = authority.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    for (wish, name, text) in [
        ("listen.certificate_file", "tls.crt", own.pem()),
        ("listen.private_key_file", "tls.key", key.serialize_pem()),
        ("listen.client_ca_file", "clients.crt", authority.pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
        config.push((wish, format!("{name:?}")));
    }
    config.push(("listen.client_certificate", "\"optional\"".to_owned()));
}

fn tls(roots: &Path) -> rustls::ServerConfig {
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(roots, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    versions.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key.into()).unwrap()
}

fn addresses(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line = log.lines().find(|line| line.contains("\"serving\""))?;
    let line = json::read(line.as_bytes(), json::MAX_DEPTH).ok()?;
    let address = |name: &str| line.get("fields")?.get(name)?.as_str()?.parse().ok();
    Some((address("listen.address")?, address("admin.address")?))
}

fn config(upstream: &str, record: &Database, wishes: &[(&str, String)]) -> String {
    let quoted = |text: &str| format!("{text:?}");
    let (database, replica) = match record {
        Database::Sqlite(path) => (format!("sqlite:{}", path.display()), ""),
        Database::Postgres(server) => (record.to_string(), server.replica()),
    };
    let mut keys: Vec<(&str, String)> = vec![
        ("listen.address", quoted("127.0.0.1:0")),
        ("admin.address", quoted("127.0.0.1:0")),
        ("upstream.base_url", quoted(upstream)),
        ("upstream.token_file", quoted("upstream-token")),
        ("policy.file", quoted("policy.cedar")),
        ("limits.subject", "{ read = \"none\", write = \"none\", secret = \"none\" }".to_owned()),
        ("limits.team", "{ read = \"none\", write = \"none\", secret = \"none\" }".to_owned()),
        ("audit.database", quoted(&database)),
        ("audit.signing_key_file", quoted("audit-signing.key")),
        ("audit.fingerprint_key_file", quoted("audit-fingerprint.key")),
        ("audit.checkpoint_file", quoted("checkpoint.txt")),
        ("audit.resolve_after", quoted("200ms")),
        ("log.format", quoted("json")),
        ("log.filter", quoted("debug")),
        ("issuer.issuer", quoted(ISSUER)),
        ("issuer.audience", quoted(AUDIENCE)),
        ("issuer.jwks_file", quoted("jwks.json")),
        ("issuer.algorithms", "[\"ES256\"]".to_owned()),
    ];
    if !replica.is_empty() {
        keys.push(("audit.replica", quoted(replica)));
    }
    for (key, value) in wishes {
        keys.retain(|(known, _)| known != key);
        if !value.is_empty() {
            keys.push((key, value.clone()));
        }
    }
    let mut text = String::new();
    for section in
        ["listen", "admin", "upstream", "policy", "limits", "audit", "log", "trace", "revocation", "issuer"]
    {
        let own: Vec<_> = keys.iter().filter(|(key, _)| key.split('.').next() == Some(section)).collect();
        if own.is_empty() {
            continue;
        }
        text += &if section == "issuer" { format!("[[{section}]]\n") } else { format!("[{section}]\n") };
        for (key, value) in own {
            text += &format!("{} = {value}\n", key.split_once('.').unwrap().1);
        }
    }
    text
}
