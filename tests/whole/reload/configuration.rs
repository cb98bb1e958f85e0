//! A configuration that changes while the proxy runs, and SIGHUP: it is taken whole, or not at all.

use http::Method;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tunnelwarden::config::Algorithm;
use tunnelwarden::emulator::new_token;
use tunnelwarden::identify::dev::DevKey;
use tunnelwarden::json::Json;
use tunnelwarden::secret::ExposeSecret as _;

use super::{LIST_ONLY, certificate, parts, problem};
use crate::harness::{ISSUER, PATIENCE, Wishes, World, collection, tunnel_body};

/// What the log says of a change that is refused.
const REFUSED: &str = "not reloaded, what was before stays in force";

impl World {
    /// Changes the configuration's text.
    fn configure(&self, change: impl FnOnce(String) -> String) {
        self.write("tunnelwarden.toml", &change(std::fs::read_to_string(self.config()).unwrap()));
    }

    async fn status(&self, token: &str, path: &str) -> u16 {
        self.try_call(token, Method::GET, path, None, &[]).await.unwrap().status
    }

    /// The counter of reloads.
    async fn counted(&self, result: &str) -> u64 {
        let metrics = self.admin("/metrics").await.text();
        let name = format!("tunnelwarden_reloads_total{{result=\"{result}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

#[tokio::test]
async fn a_changed_configuration_takes_effect_as_one_with_all_that_it_names() {
    let world = World::start().await;
    let other = DevKey::generate(Algorithm::Es256).unwrap();
    let mut claims = world.claims("viewer");
    claims.set("iss", "https://other.example");
    let theirs = other.sign(&Json::Object(claims), &[]).unwrap();
    let own = world.token("viewer");
    assert_eq!((world.status(&own, "/0f").await, world.status(&theirs, "").await), (404, 401));
    world.write("other-jwks.json", &other.jwks().to_string());
    world.write("other.cedar", LIST_ONLY);
    world.configure(|text| {
        let text = text.replace("policy.cedar", "other.cedar");
        let text = text.replace(
            "subject = { read = \"none\", write = \"none\"",
            "subject = { read = \"none\", write = \"2/h\"",
        );
        let text = text.replace("filter = \"debug\"", "filter = \"info\"");
        format!(
            "{text}[[issuer]]\nissuer = \"https://other.example\"\naudience = \"tunnelwarden\"\n\
             jwks_file = \"other-jwks.json\"\nalgorithms = [\"ES256\"]\n"
        )
    });
    world.until("the new policy", &own, "/0f", |answer| answer.status == 403).await;
    assert_eq!(world.status(&theirs, "").await, 200);
    for status in [403, 403, 429] {
        let created = world.call("viewer", Method::POST, "", Some(&tunnel_body("a", 1))).await;
        assert_eq!(created.status, status, "two writes an hour, forbidden or not: {}", created.text());
    }
    let reloads = world.reloads().await;
    let [reloaded] = &reloads[..] else { panic!("one reload is recorded once: {reloads:?}") };
    assert_eq!(parts(reloaded), ["policy", "issuers", "limits", "log"]);
    let started = &world.entries().await[0];
    assert_eq!(reloaded.text("/config_digest_before"), started.text("/config_digest"));
    assert_ne!(reloaded.text("/config_digest"), started.text("/config_digest"));
    world.warns(None).await;
    assert_eq!((world.counted("taken").await, world.counted("refused").await), (1, 0));
    // Files that only the new configuration names are followed.
    world.write("other.cedar", "");
    world.until("the policy that permits nothing", &theirs, "", |answer| answer.status == 403).await;
}

/// Its body comes when everything that it is judged by has been replaced.
#[tokio::test]
async fn a_call_goes_by_what_was_in_force_when_it_began_to_its_end() {
    let world = World::start().await;
    let admin = world.token("admin");
    let body = tunnel_body("slow", 1);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {admin}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        collection(),
        body.len()
    );
    let mut slow = tokio::net::TcpStream::connect(world.proxy().api).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    let other = DevKey::generate(Algorithm::Es256).unwrap();
    world.write("policy.cedar", LIST_ONLY);
    world.write("jwks.json", &other.jwks().to_string());
    world.configure(|text| text.replace("secret = \"none\"", "secret = \"1/d\""));
    world.told("\"reloaded\"", 1).await;
    assert_eq!(world.status(&admin, "").await, 401);
    slow.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let entries = world.entries().await;
    let digest = entries[0].text("/policy_digest");
    let of_call: Vec<_> = entries.iter().filter(|entry| entry.text("/operation") == "create").collect();
    assert_eq!(of_call.len(), 2, "an intent and an outcome");
    assert!(of_call.iter().all(|entry| entry.text("/policy_digest") == digest), "{of_call:#?}");
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_says_so() {
    let world = World::start().await;
    let viewer = world.token("viewer");
    let good = std::fs::read_to_string(world.config()).unwrap();
    let half_a_set = &world.key.jwks().to_string()[..40];
    world.write("half.json", half_a_set);
    let shipped = include_str!("../../../config/policy.cedar");
    world.write("half.cedar", &shipped[..shipped.rfind("unless {").unwrap()]);
    world.write("list-only.cedar", LIST_ONLY);
    let other_policy = good.replace("policy.cedar", "list-only.cedar");
    let mut times = 0;
    // As many entries as were made, each with the first thing that it tells.
    let mut recorded = Vec::new();
    for (text, told, logged) in [
        (good[..good.len() / 2].to_owned(), "the changed configuration file is not good", "\"reload.file\""),
        (
            other_policy.replace("subject = { read = \"none\"", "subject = { read = \"a lot\""),
            "configuration file",
            "limits.subject.read",
        ),
        (other_policy.replace("reserve", "reserved") + "[limitz]\n", "configuration file", "limitz"),
        (other_policy.replace("jwks.json", "half.json"), "issuer.0.jwks_file", "half.json"),
        (
            other_policy.replace("jwks.json", "none.json"),
            "issuer.0.jwks_file",
            "none.json` is missing; put the issuer's public keys there",
        ),
        (good.replace("policy.cedar", "half.cedar"), "policy.file", "half.cedar"),
        (other_policy.replace("upstream-token", "none"), "upstream.token_file", "can't read"),
        (
            other_policy.replace("[policy]", "[revocation]\nfile = \"half.json\"\n[policy]"),
            "revocation.file",
            "line 1 is neither",
        ),
    ] {
        world.write("tunnelwarden.toml", &text);
        let warning = world.warns(Some(told)).await;
        assert!(!warning.contains(world.dir.path().to_str().unwrap()), "anybody reads this: {warning}");
        times += 1;
        world.told(REFUSED, times).await;
        let last = world.stderr().lines().rfind(|line| line.contains(REFUSED)).unwrap().to_owned();
        assert!(last.contains(logged), "{last}");
        times = world.stderr().matches(REFUSED).count();
        assert_eq!(world.status(&viewer, "/0f").await, 404, "{told}: the policy before");
        recorded = world.refused_reloads().await.iter().map(problem).collect();
        // The same again takes the warning away.
        world.write("tunnelwarden.toml", &good);
        world.warns(None).await;
    }
    assert!(world.reloads().await.is_empty());
    assert!(world.counted("refused").await >= 8);
    // Which keys they are the record tells where they are keys and not what somebody wrote instead of one.
    let told = |of: &str, what: &str, key: &str| (of.to_owned(), what.to_owned(), key.to_owned());
    let expected = [
        told("configuration", "not_good", ""),
        told("configuration", "not_good", "limits.subject.read"),
        told("configuration", "not_good", ""),
        told("file", "not_good", "issuer.0.jwks_file"),
        told("file", "missing", "issuer.0.jwks_file"),
        told("file", "not_good", "policy.file"),
        told("file", "missing", "upstream.token_file"),
        told("file", "not_good", "revocation.file"),
    ];
    assert_eq!(recorded, expected);
    let refused = world.refused_reloads().await;
    assert!(
        refused.iter().all(|entry| !entry.raw.contains("limitz") && !entry.raw.contains("a lot")),
        "{refused:#?}"
    );
    assert!(refused[0].text("/problems/0/found").starts_with("hmac-sha256:"), "{}", refused[0].raw);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_keeps_the_rest_from_being_taken() {
    let world = World::start().await;
    let viewer = world.token("viewer");
    world.write("list-only.cedar", LIST_ONLY);
    let good = std::fs::read_to_string(world.config()).unwrap();
    world.configure(|text| {
        let text = text.replace("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"127.0.0.2:0\"");
        text.replace("[audit]\n", "[audit]\nheartbeat = \"2m\"\n").replace("policy.cedar", "list-only.cedar")
    });
    let named = "needs a restart: admin.address, audit.heartbeat";
    world.warns(Some(named)).await;
    world.told(named, 1).await;
    assert_eq!(world.status(&viewer, "/0f").await, 404);
    assert!(world.reloads().await.is_empty());
    // To speak TLS from now on is up to the listener.
    let (_, pem, key) = certificate();
    world.write("tls.crt", &pem);
    world.write("tls.key", &key);
    world.write(
        "tunnelwarden.toml",
        &good.replace("[listen]", "[listen]\ncertificate_file = \"tls.crt\"\nprivate_key_file = \"tls.key\""),
    );
    world.warns(Some("needs a restart: listen.certificate_file, listen.private_key_file")).await;
    world.write("tunnelwarden.toml", &good.replace("policy.cedar", "list-only.cedar"));
    world.until("the new policy", &viewer, "/0f", |answer| answer.status == 403).await;
    world.warns(None).await;
}

#[tokio::test]
async fn at_sighup_all_is_read_again_and_the_log_says_how_it_went() {
    let world = World::start().await;
    let viewer = world.token("viewer");
    world.hang_up();
    world.told("there is nothing to reload", 1).await;
    world.write("policy.cedar", LIST_ONLY);
    world.configure(|text| format!("# another text\n{text}"));
    world.hang_up();
    world.until("the new policy", &viewer, "/0f", |answer| answer.status == 403).await;
    world.told("\"reloaded\"", 1).await;
    world.write("policy.cedar", "permit (");
    world.told(REFUSED, 1).await;
    // What is known to be bad is told again to who asks.
    world.hang_up();
    world.told(REFUSED, 2).await;
    world.told("asked to reload", 3).await;
    assert_eq!(world.status(&viewer, "").await, 200);
    let reloads = world.reloads().await;
    let [reloaded] = &reloads[..] else { panic!("one reload: {reloads:?}") };
    assert_eq!((world.counted("taken").await, world.counted("refused").await), (1, 2));
    let (config, id) = (world.config(), reloaded.text("/request_id"));
    let shown = world.program(&["audit", "show", "--config", &config, &id]).stdout;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.lines().any(|line| line.starts_with("reloaded") && line.ends_with("policy")), "{shown}");
}

/// A slip in one file does not keep a leaver in, or a token that was replaced in use.
#[tokio::test]
async fn revocations_and_tokens_are_taken_though_policy_and_configuration_are_bad() {
    let file = ("revocation.file", "\"revoked\"".to_owned());
    let world = World::with(Wishes { config: vec![file], ..Wishes::default() }).await;
    let (stays, goes) = (world.token("viewer"), world.token("operator"));
    assert_eq!(world.status(&goes, "").await, 200);
    world.write("policy.cedar", "permit (");
    world.warns(Some("policy.file")).await;
    world.write("revoked", &format!("sub {ISSUER} operator@test\n"));
    world.until("the leaver is out", &goes, "", |answer| answer.status == 401).await;
    world.configure(|text| text.replace("[policy]", "[policies]"));
    world.warns(Some("configuration file")).await;
    world.write("revoked", "");
    world.until("the leaver is back", &goes, "", |answer| answer.status == 200).await;
    // Also while a configuration is refused that names another file: the one that is in use counts.
    world.configure(|text| text.replace("[policies]", "[policy]").replace("\"revoked\"", "\"elsewhere\""));
    world.warns(Some("policy.file")).await;
    world.write("revoked", &format!("sub {ISSUER} operator@test\n"));
    world.until("the leaver is out again", &goes, "", |answer| answer.status == 401).await;
    world.write("upstream-token", new_token().unwrap().expose_secret());
    world.until("the new token", &stays, "", |answer| answer.status != 200).await;
    world.write("upstream-token", world.upstream_token.expose_secret());
    world.until("the old token", &stays, "", |answer| answer.status == 200).await;
    let told: Vec<Vec<String>> = world.reloads().await.iter().map(parts).collect();
    assert_eq!(
        told,
        [["revocation"], ["revocation"], ["revocation"], ["upstream_token"], ["upstream_token"]]
    );
}

#[tokio::test]
async fn what_cant_be_recorded_is_not_done_until_it_can() {
    let config = vec![("audit.append_timeout", "\"500ms\"".to_owned())];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    let admin = world.token("admin");
    let created = world.call("admin", Method::POST, "", Some(&tunnel_body("a", 1))).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let options = SqliteConnectOptions::new().filename(world.database()).busy_timeout(PATIENCE);
    let mut lock = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    world.write("policy.cedar", LIST_ONLY);
    world.told("it can't be recorded; it is tried again", 1).await;
    let ready = world.admin("/readyz").await;
    assert!(ready.text().contains("what changed is not in force"), "{}", ready.text());
    assert!(!world.stderr().contains("\"reloaded\""));
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    lock.close().await.unwrap();
    world.until("the new policy", &admin, "", |answer| answer.status == 403).await;
    world.warns(None).await;
    let last = world.reloads().await.pop().unwrap();
    let entries = world.entries().await;
    let denied = entries.iter().find(|entry| entry.text("/decision") == "deny").unwrap();
    assert!(last.seq < denied.seq && last.text("/policy_digest") == denied.text("/policy_digest"));
}
