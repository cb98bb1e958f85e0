//! Files that change while the proxy runs: policy, upstream token, keys, revocations, certificate. A good one takes
//! effect by itself; a bad one changes nothing and readiness says so. Beside it: the configuration itself
//! (`configuration`), all of it under load (`load`), and who is revoked while a call waits (`leaver`).

mod configuration;
mod leaver;
mod load;

use std::process::Command;
use std::sync::Arc;

use http::Method;
use rustls_pki_types::{CertificateDer, ServerName};
use tunnelwarden::config::Algorithm;
use tunnelwarden::emulator::new_token;
use tunnelwarden::identify::dev::DevKey;
use tunnelwarden::json::Json;
use tunnelwarden::secret::ExposeSecret as _;

use crate::harness::{Answer, ISSUER, PATIENCE, Stored, Wishes, World};

/// A policy under which viewers may do nothing but list.
const LIST_ONLY: &str =
    "@id(\"list-only\")\npermit (principal in Role::\"viewer\", action == Action::\"list\", resource);\n";

impl World {
    fn write(&self, name: &str, text: &str) {
        // As editors and orchestrators do it: whole, and at once.
        let (new, path) = (self.dir.path().join(format!("{name}.new")), self.dir.path().join(name));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// SIGHUP.
    fn hang_up(&self) {
        let pid = self.proxy().id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// Waits until the log tells of something so many times.
    async fn told(&self, what: &str, times: usize) {
        let until = tokio::time::Instant::now() + PATIENCE;
        while self.stderr().matches(what).count() < times {
            assert!(tokio::time::Instant::now() < until, "never {times} times: {what}\n{}", self.stderr());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// The entries that tell of a reload.
    async fn reloads(&self) -> Vec<Stored> {
        let entries = self.entries().await;
        entries.into_iter().filter(|entry| entry.text("/kind") == "reloaded").collect()
    }

    /// The entries that tell of a change that was not taken.
    async fn refused_reloads(&self) -> Vec<Stored> {
        let entries = self.entries().await;
        entries.into_iter().filter(|entry| entry.text("/kind") == "reload_refused").collect()
    }

    /// Calls until the answer is as wanted.
    async fn until(&self, what: &str, token: &str, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.try_call(token, Method::GET, path, None, &[]).await.unwrap();
            if wanted(&answer) {
                return answer;
            }
            assert!(
                tokio::time::Instant::now() < until,
                "never: {what}: {} {}",
                answer.status,
                answer.text()
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Waits for a warning in `/readyz`, or for none.
    async fn warns(&self, part: Option<&str>) -> String {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.admin("/readyz").await;
            let json = answer.json();
            let warnings = json.get("warnings").and_then(Json::as_array).unwrap();
            let found = match part {
                Some(part) => warnings.iter().any(|warning| warning.as_str().unwrap().contains(part)),
                None => warnings.is_empty(),
            };
            if found {
                // A warning is no reason to stop serving.
                assert_eq!((answer.status, answer.text_at("/status").as_str()), (200, "ready"));
                return answer.text();
            }
            assert!(tokio::time::Instant::now() < until, "never: {part:?} in {}", answer.text());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// What a reload tells to have changed.
fn parts(reloaded: &Stored) -> Vec<String> {
    let parts = reloaded.json.get("parts").and_then(Json::as_array).unwrap();
    parts.iter().map(|part| part.as_str().unwrap().to_owned()).collect()
}

/// The first thing that kept a change out: of what, what, and the first key.
fn problem(refused: &Stored) -> (String, String, String) {
    let text = |member: &str| refused.text(&format!("/problems/0/{member}"));
    (text("of"), text("what"), text("keys/0"))
}

/// As `sha256sum` has it.
fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    format!("sha256:{}", data_encoding::HEXLOWER.encode(digest.as_ref()))
}

#[tokio::test]
async fn a_changed_policy_takes_effect_and_is_recorded_before_it_does() {
    let world = World::start().await;
    let viewer = world.token("viewer");
    let before = world.until("allowed", &viewer, "/0f", |answer| answer.status == 404).await;
    world.write("policy.cedar", LIST_ONLY);
    let denied = world.until("denied", &viewer, "/0f", |answer| answer.status == 403).await;
    let reloads = world.reloads().await;
    let [reloaded] = &reloads[..] else { panic!("one reload is recorded once") };
    assert_eq!(parts(reloaded), ["policy"]);
    let by = async |answer: &Answer| {
        world.entries_of(&answer.header("x-request-id")).await[0].text("/policy_digest")
    };
    assert_eq!(reloaded.text("/policy_digest_before"), by(&before).await);
    assert_eq!(reloaded.text("/policy_digest"), by(&denied).await);
    assert_ne!(by(&before).await, by(&denied).await);
    let started = &world.entries().await[0];
    assert_eq!(started.text("/config_digest").len(), 64);
    assert_eq!(reloaded.text("/config_digest"), started.text("/config_digest"), "{}", reloaded.raw);
    let order: Vec<String> = world.entries().await.iter().map(|entry| entry.text("/policy_digest")).collect();
    let first = order.iter().position(|digest| *digest == reloaded.text("/policy_digest")).unwrap();
    assert_eq!(world.entries().await[first].text("/kind"), "reloaded");
}

#[tokio::test]
async fn a_policy_that_permits_nothing_is_warned_of() {
    let mut world = World::start().await;
    let good = std::fs::read_to_string(world.dir.path().join("policy.cedar")).unwrap();
    let words = "the policy permits nothing";
    world.write("policy.cedar", "");
    world.warns(Some(words)).await;
    world.told(words, 1).await;
    world.write("policy.cedar", &good);
    world.warns(None).await;
    world.stop().await;
    world.write("policy.cedar", "@id(\"no\")\nforbid (principal, action, resource);\n");
    world.launch().await;
    world.warns(Some(words)).await;
    world.told(words, 2).await;
    assert!(world.stderr().lines().filter(|line| line.contains(words)).all(|line| line.contains("WARN")));
}

#[tokio::test]
async fn another_fingerprint_key_than_at_the_last_start_is_warned_of() {
    let mut world = World::start().await;
    let id = world.entries().await[0].text("/fingerprint_key_id");
    assert_eq!(id.len(), 8, "{id}");
    world.stop().await;
    let other = data_encoding::BASE64.encode(&[7; 32]);
    // In place, as the key is its owner's alone.
    std::fs::write(world.dir.path().join("audit-fingerprint.key"), other).unwrap();
    world.launch().await;
    world.warns(Some(&format!("of this replica or another one ({id})"))).await;
    world.told("than at the last start", 1).await;
    world.stop().await;
    world.launch().await;
    world.warns(None).await;
}

#[tokio::test]
async fn a_broken_or_missing_policy_changes_nothing_and_readiness_warns() {
    let world = World::start().await;
    let viewer = world.token("viewer");
    let good = std::fs::read_to_string(world.dir.path().join("policy.cedar")).unwrap();
    let digest = world.entries().await[0].text("/policy_digest");
    for text in [
        "permit (principal, action, resource)",
        "permit (principal, action, resource);",
        "@id(\"hunter2\") permit (principal, action, resource) when { resource.hunter2 == 1 };",
    ] {
        world.write("policy.cedar", text);
        let told = world.warns(Some("not in force")).await;
        assert!(!told.contains("hunter2"), "anybody reads this: {told}");
        let answer = world.until("served", &viewer, "", |answer| answer.status == 200).await;
        let entries = world.entries_of(&answer.header("x-request-id")).await;
        assert_eq!(entries[0].text("/policy_digest"), digest, "{text}");
        // Of the file the record has its digest, and nothing that stands in it.
        let refused = world.refused_reloads().await.pop().unwrap();
        assert_eq!(refused.text("/policy_digest"), digest);
        assert_eq!(problem(&refused), ("file".into(), "not_good".into(), "policy.file".into()));
        assert_eq!(refused.text("/problems/0/found"), sha256(text));
        assert_eq!(refused.text("/problems/0/in_force"), sha256(&good));
        assert!(!refused.raw.contains("hunter2"), "{}", refused.raw);
        // The same file again is good, and takes the warning away.
        world.write("policy.cedar", &good);
        world.warns(None).await;
    }
    std::fs::remove_file(world.dir.path().join("policy.cedar")).unwrap();
    let told = world.warns(Some("can't be read")).await;
    assert!(!told.contains(world.dir.path().to_str().unwrap()), "anybody reads this: {told}");
    world.until("served", &viewer, "", |answer| answer.status == 200).await;
    world.write("policy.cedar", &good);
    world.warns(None).await;
    let refused = world.refused_reloads().await;
    assert_eq!(refused.len(), 4, "one for each text, however often it was looked at: {refused:#?}");
    assert_eq!(problem(&refused[3]), ("file".into(), "missing".into(), "policy.file".into()));
    assert!(world.entries().await.iter().all(|entry| entry.text("/kind") != "reloaded"));
}

#[tokio::test]
async fn an_empty_policy_is_one_that_permits_nothing() {
    let world = World::start().await;
    world.write("policy.cedar", "");
    world.until("locked", &world.token("admin"), "", |answer| answer.status == 403).await;
    world.warns(Some("the policy permits nothing")).await;
}

#[tokio::test]
async fn a_changed_upstream_token_is_used_and_a_broken_one_is_not() {
    let world = World::start().await;
    let viewer = world.token("viewer");
    let next = new_token().unwrap();
    world.until("the first token is good", &viewer, "", |answer| answer.status == 200).await;
    for broken in ["", "cfk_0123456789abcdef0123456789abcdef012345", "half a token\nand more"] {
        world.write("upstream-token", broken);
        let told = world.warns(Some("token")).await;
        assert!(broken.is_empty() || !told.contains(broken), "{told}");
        world.until("the last good token stays", &viewer, "", |answer| answer.status == 200).await;
    }
    // A token that the emulator does not know: that it is used shows by its refusal.
    world.write("upstream-token", next.expose_secret());
    world
        .until("the new token is used", &viewer, "", |answer| answer.status == 502 || answer.status == 401)
        .await;
    world.write("upstream-token", world.upstream_token.expose_secret());
    world.until("the old one is used again", &viewer, "", |answer| answer.status == 200).await;
    world.warns(None).await;
    assert!(!world.stderr().contains(next.expose_secret()));
}

#[tokio::test]
async fn new_keys_are_taken_up_and_a_half_written_set_leaves_the_old_ones() {
    let world = World::start().await;
    let new = DevKey::generate(Algorithm::Es256).unwrap();
    let (old_token, new_token) =
        (world.token("viewer"), new.sign(&Json::Object(world.claims("viewer")), &[]).unwrap());
    let status = async |token: &str| world.try_call(token, Method::GET, "", None, &[]).await.unwrap().status;
    assert_eq!((status(&old_token).await, status(&new_token).await), (200, 401));
    let new_set = new.jwks().to_string();
    std::fs::write(world.dir.path().join("jwks.json"), &new_set[..new_set.len() / 2]).unwrap();
    world.warns(Some("keys")).await;
    let refused = world.refused_reloads().await;
    let [refused] = &refused[..] else { panic!("one entry: {refused:?}") };
    assert_eq!(problem(refused), ("file".into(), "not_good".into(), "issuer.0.jwks_file".into()));
    assert_eq!(refused.text("/problems/0/found"), sha256(&new_set[..new_set.len() / 2]));
    // While the set can't be read, nobody knows that its key is not in it.
    assert_eq!((status(&old_token).await, status(&new_token).await), (200, 503));
    std::fs::write(world.dir.path().join("jwks.json"), &new_set).unwrap();
    world.until("the new key", &new_token, "", |answer| answer.status == 200).await;
    // A token of a key that was taken away is out, though it was verified and cached before.
    assert_eq!(status(&old_token).await, 401);
    world.warns(None).await;
}

#[tokio::test]
async fn revocations_take_effect_and_a_broken_file_lets_nobody_back_in() {
    let file = ("revocation.file", "\"revoked\"".to_owned());
    let world = World::with(Wishes { config: vec![file], ..Wishes::default() }).await;
    let mut claims = world.claims("viewer");
    claims.set("jti", "t-1");
    let by_id = world.key.sign(&Json::Object(claims), &[]).unwrap();
    let viewer = world.token("viewer");
    let status = async |token: &str| world.try_call(token, Method::GET, "", None, &[]).await.unwrap().status;
    assert_eq!((status(&by_id).await, status(&viewer).await), (200, 200));
    world.write("revoked", "jti t-1\n");
    let refused = world.until("by jti", &by_id, "", |answer| answer.status == 401).await;
    // Whose token it was is told, and it counts as nobody's call.
    let entries = world.entries_of(&refused.header("x-request-id")).await;
    let told = ["/refused_token/subject", "/refused_token/issuer", "/refused_token/jti", "/subject", "/jti"]
        .map(|at| entries[0].text(at));
    assert_eq!(told, ["viewer@test", ISSUER, "t-1", "", ""]);
    assert_eq!(entries[0].json.get("teams"), None, "{}", entries[0].raw);
    assert_eq!(status(&viewer).await, 200);
    world.write("revoked", "jti t-1\nsub https://idp.example viewer@test\n");
    world.until("by subject", &viewer, "", |answer| answer.status == 401).await;
    world.write("revoked", "everybody\n");
    world.warns(Some("revocation")).await;
    assert_eq!((status(&by_id).await, status(&viewer).await), (401, 401));
    world.write("revoked", "jti t-1\n");
    world.until("the subject is back", &viewer, "", |answer| answer.status == 200).await;
    assert_eq!(status(&by_id).await, 401);
    world.warns(None).await;
}

/// Somebody else's bad tokens behind the same address keep nobody out who was verified before the revocation.
#[tokio::test]
async fn a_revocation_leaves_those_in_who_were_verified_before_whatever_their_neighbors_do() {
    let config = vec![
        ("revocation.file", "\"revoked\"".to_owned()),
        ("listen.unidentified_per_address", "\"1/h\"".to_owned()),
    ];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    let (stays, goes) = (world.token("viewer"), world.token("operator"));
    let list = async |token: &str| world.try_call(token, Method::GET, "", None, &[]).await;
    for token in [&stays, &goes] {
        assert_eq!(list(token).await.unwrap().status, 200);
    }
    assert_eq!(list("none").await.unwrap().status, 401);
    assert_eq!(list("none").await.unwrap().status, 429);
    world.write("revoked", &format!("sub {ISSUER} operator@test\n"));
    world.until("the revocation", &goes, "", |answer| answer.status != 200).await;
    let stayed = list(&stays).await.unwrap();
    assert_eq!(stayed.status, 200, "{}", stayed.text());
    let gone = list(&goes).await.unwrap();
    assert_eq!(gone.status, 429, "once it is known to be bad it is a stranger's: {}", gone.text());
}

/// A certificate for localhost that signs itself, with its key, both PEM.
fn certificate() -> (CertificateDer<'static>, String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().clone(), certificate.pem(), key.serialize_pem())
}

impl World {
    /// The certificate that a new connection gets.
    async fn presented(&self, roots: &[&CertificateDer<'static>]) -> CertificateDer<'static> {
        let mut store = rustls::RootCertStore::empty();
        roots.iter().for_each(|root| store.add((*root).clone()).unwrap());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(store).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tcp = tokio::net::TcpStream::connect(self.proxy().api).await.unwrap();
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

#[tokio::test]
async fn a_new_certificate_is_given_to_new_connections_and_a_bad_one_is_not() {
    let (first, first_pem, first_key) = certificate();
    let (second, second_pem, second_key) = certificate();
    let tls = ["certificate", "private_key"].map(|name| format!("\"{name}.pem\""));
    let [certificate_file, private_key_file] = tls;
    let config =
        vec![("listen.certificate_file", certificate_file), ("listen.private_key_file", private_key_file)];
    let mut world = World::prepared(Wishes { config, ..Wishes::default() }).await;
    world.write("certificate.pem", &first_pem);
    world.write("private_key.pem", &first_key);
    world.launch().await;
    let roots = [&first, &second];
    assert_eq!(world.presented(&roots).await, first);
    for bad in ["", "no certificate", &second_pem] {
        // The last is a good one, of another key.
        world.write("certificate.pem", bad);
        let told = world.warns(Some("certificate")).await;
        assert!(!told.contains(world.dir.path().to_str().unwrap()), "anybody reads this: {told}");
        assert_eq!(world.presented(&roots).await, first, "{bad}");
    }
    world.write("private_key.pem", &second_key);
    world.warns(None).await;
    assert_eq!(world.presented(&roots).await, second);
    std::fs::remove_file(world.dir.path().join("private_key.pem")).unwrap();
    world.warns(Some("private_key_file")).await;
    assert_eq!(world.presented(&roots).await, second);
}
