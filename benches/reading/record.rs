//! A record of the shape that the proxy writes, filled through the store itself.
//!
//! Of eleven entries nine are reads, of which some are refused, then come an update's intent and its outcome, with bodies and
//! diffs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tunnelwarden::clock::SystemClock;
use tunnelwarden::seal::{Signer, generate_key};
use tunnelwarden::secret::ExposeSecret as _;
use tunnelwarden::store::{Settings, Store};

/// Entries of ten calls.
const CALLS: u64 = 11;

/// One entry of so many is a refusal.
const REFUSED: u64 = 11 * 13;

/// The file that says that a folder's record is whole.
const PUBLIC_KEY: &str = "audit.pub";

/// Entries that are given to the store at once.
const BATCH: u64 = 550;

/// A filled record.
pub struct Record {
    folder: PathBuf,
    /// Goes with the record, where the folder was made for it.
    _made: Option<tempfile::TempDir>,
    /// What checks its checkpoints.
    pub public_key: String,
}

impl Record {
    /// Makes one of so many entries: in this folder, to be kept and taken again, or in one of its own.
    pub async fn of(entries: u64, folder: Option<PathBuf>) -> Self {
        let made = folder.is_none().then(|| tempfile::tempdir().unwrap());
        let folder = folder.unwrap_or_else(|| made.as_ref().unwrap().path().to_owned());
        std::fs::create_dir_all(&folder).unwrap();
        let known = std::fs::read_to_string(folder.join(PUBLIC_KEY));
        let (secret, public_key) = generate_key("tunnelwarden/bench").unwrap();
        let record = Self { folder, _made: made, public_key: known.as_ref().unwrap_or(&public_key).clone() };
        if known.is_ok() {
            return record;
        }
        let signer = Arc::new(Signer::new(secret.expose_secret()).unwrap());
        let settings = Settings {
            database: record.database().into(),
            checkpoint_files: vec![record.checkpoint_file()],
            append_timeout: Duration::from_secs(60),
        };
        let store = Store::open(settings, signer, SystemClock::new()).await.unwrap();
        let mut n = 0;
        while n < entries {
            let to = entries.min(n + BATCH);
            store.append((n..to).map(entry).collect()).await.unwrap();
            n = to;
        }
        store.close().await;
        std::fs::write(record.signing_key_file(), secret.expose_secret()).unwrap();
        std::fs::write(record.folder.join(PUBLIC_KEY), &record.public_key).unwrap();
        record
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn database(&self) -> PathBuf {
        self.folder.join("audit.db")
    }

    pub fn signing_key_file(&self) -> PathBuf {
        self.folder.join("audit-signing.key")
    }

    pub fn checkpoint_file(&self) -> PathBuf {
        self.folder.join("checkpoint.txt")
    }
}

/// When the n-th entry was made: one a millisecond, from the year's begin.
pub fn time(n: u64) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(1_767_225_600_000_000 + i64::try_from(n).unwrap() * 1000).unwrap()
}

/// The n-th entry.
fn entry(n: u64) -> String {
    let id = |n: u64| {
        let millis = 0x019b_0000_0000 + u128::from(n);
        uuid::Uuid::from_u128(
            millis << 80 | 7 << 76 | 2 << 62 | u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2),
        )
    };
    let (kind, call, operation) = match n % CALLS {
        0 if n.is_multiple_of(REFUSED) => ("refusal", n, "get"),
        9 => ("intent", n, "update"),
        10 => ("outcome", n - 1, "update"),
        _ => ("outcome", n, "get"),
    };
    let time = time(n);
    let caller = call % 50;
    let tunnel = call.wrapping_mul(7919) % 1000;
    let head = format!(
        r#"{{"kind":"{kind}","id":"{id}","time":"{time:.6}","request_id":"{call}","subject":"caller-{caller}@corp.example","teams":["network"],"roles":["operator"],"issuer":"https://idp.example","jti":"{jti}","key_id":"WeF68Vi9myYRflQiHyCwYY8G0-gZtDbQtqhBIImCmkA","client_address":"192.0.2.{caller}","user_agent":"cloudflare-go/4.2","operation":"{operation}","account":"023e105f4ecef8ad9ca31a8372d0c353","tunnels":[{{"id":"{tunnel:032x}","name":"site-{tunnel}"}}],"decision":"allow","policies":["operators-work"],"policy_digest":"7efd67fea199bb8488309ad77b9c4c05ff4df20f4c9b75eea71db06907a1cf89""#,
        id = id(n),
        call = id(call),
        jti = id(caller),
    );
    let body = |description: u64| {
        format!(
            r#"{{"name":"site-{tunnel}","customer_endpoint":"198.51.100.1","cloudflare_endpoint":"203.0.113.1","interface_address":"10.213.0.11/31","description":"the way to site {tunnel}, as of change {description}","health_check":{{"enabled":true,"direction":"bidirectional","rate":"mid","target":"10.213.0.10","type":"request"}},"psk":"redacted:psk:484a9bd2:da4c577f40a2276437a6324df35f6e24","replay_protection":true}}"#
        )
    };
    let digest = "hmac-sha256:484a9bd2:da4c577f40a2276437a6324df35f6e24";
    let end = match (kind, operation) {
        ("intent", _) => format!(
            r#","changed":["description"],"weakened":[],"request":{{"size":512,"digest":"{digest}","body":{}}},"state_before":[{}],"expected":[{{"tunnel":"{tunnel:032x}","before":"\"{n:032x}\"","after":"\"{n:032x}\"","replaces_key":false}}]}}"#,
            body(n),
            body(n - 1),
        ),
        (_, "update") => format!(
            r#","intent_id":"{}","status":200,"sent":"yes","upstream":{{"status":200,"cf_ray":"{n:016x}-TST"}},"response":{{"size":1647,"digest":"{digest}","content_type":"application/json","body":{{"success":true,"errors":[],"messages":[],"result":{{"modified":true,"modified_ipsec_tunnel":{}}}}}}},"request_response_diff":[],"before_after_diff":[{{"tunnel":"{tunnel:032x}","patch":[{{"op":"replace","path":"/description","value":"the way to site {tunnel}, as of change {n}","old":"the way to site {tunnel}"}}]}}],"duration_us":4223,"stages_us":{{"identify":5,"limit":3,"body":12,"authorize":41,"record":900,"forward":3209}}}}"#,
            id(call),
            body(n),
        ),
        ("refusal", _) => {
            r#","status":429,"refusal":{"name":"quota_spent","code":99300,"message":"the subject's quota of read calls is spent; wait 1 s"},"duration_us":40}"#.to_owned()
        }
        _ => format!(
            r#","status":200,"sent":"yes","upstream":{{"status":200,"cf_ray":"{n:016x}-TST"}},"response":{{"size":1647,"digest":"{digest}","content_type":"application/json"}},"duration_us":{},"stages_us":{{"identify":5,"limit":3,"body":2,"authorize":2,"forward":209}}}}"#,
            200 + n % 5000,
        ),
    };
    head + &end
}
