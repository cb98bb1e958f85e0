use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use clap::Parser;

use super::*;
use crate::clock::ManualClock;

/// A certificate of version 1, as `openssl x509 -req` makes where no extensions are asked for.
const V1: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBEjCBuQIUJj3SAViS/Xe+r5BkKq5K32J6nfwwCgYIKoZIzj0EAwIwDDEKMAgG\n\
A1UEAwwBYzAeFw0yNjExMjgwMjMwNThaFw0zNjExMjUwMjMwNThaMAwxCjAIBgNV\n\
BAMMAWMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT+TGo4bWzoQOMoiSh7CPlE\n\
gNrBWo/3jzi+NLyk0VBiCMSjezs+xeMjG/dMAOR+Ot8DHxUoux0PaqkLNgkyhwUR\n\
MAoGCCqGSM49BAMCA0gAMEUCIQDGkFenDh2F3Afpjx1uSEkpHoEcGMQ441AL1VoR\n\
8BNi8QIgbgcO3vDl0+nxnMgXJ2BUz5LrP4o/FGBk8wQZ5xM5AaM=\n\
-----END CERTIFICATE-----\n";

/// A proxy that takes tokens of one issuer and has a list of revocations.
pub(super) const CONFIG: &str = r#"upstream.token_file = "token"
policy.file = "policy.cedar"
revocation.file = "revoked"
[audit]
database = "sqlite:audit.db"
signing_key_file = "signing.key"
fingerprint_key_file = "fingerprint.key"
[[issuer]]
issuer = "https://idp.example"
audience = "us"
jwks_file = "jwks.json"
algorithms = ["ES256"]
max_lifetime = "2h"
"#;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn ask(line: &[&str]) -> (String, Exit) {
    let (out, _, exit) = told(line);
    (out, exit)
}

/// What is said on both outputs, the reason for a stop among the errors.
fn told(line: &[&str]) -> (String, String, Exit) {
    let env = Env {
        vars: BTreeMap::new(),
        clock: ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap()),
        terminal: Default::default(),
    };
    let line = Line::try_parse_from([&["token"], line].concat()).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = runtime.block_on(run(line.command, &env, &mut out, &mut errors));
    let exit = ended.unwrap_or_else(|stop| {
        errors.extend(stop.what.into_bytes());
        stop.exit
    });
    (String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap(), exit)
}

#[test]
fn a_new_key_is_made_once_and_its_tokens_verify() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, jwks) = (path("dev.pem"), path("jwks.json"));
    let new = ["issue", "--new-key", &key, "--jwks", &jwks];
    let said = |what: &str| format!("{what}   {key}\n{what}   {jwks}\n");
    assert_eq!(told(&new), (String::new(), said("made"), Exit::Good));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let first = std::fs::read(&key).unwrap();
    assert_eq!(told(&new), (String::new(), said("kept"), Exit::Good));
    assert_eq!(std::fs::read(&key).unwrap(), first, "an existing key stays");

    let sign = ["issue", "--key", &key, "--issuer", "https://idp.example", "--audience", "us"];
    let who = ["--subject", "alice", "--team", "net", "--role", "viewer", "--lifetime", "90m"];
    let (token, exit) = ask(&[&sign[..], &who[..]].concat());
    assert_eq!(exit, Exit::Good);
    std::fs::write(path("token"), format!("Authorization: Bearer {token}")).unwrap();
    let (shown, exit) = ask(&["inspect", &path("token"), "--jwks", &jwks]);
    assert_eq!(exit, Exit::Good, "{shown}");
    for expected in [
        "sub: \"alice\"",
        "team: [\"net\"]",
        "exp: 1790005400  (2026-09-21T15:43:20.000000Z, ahead)",
        "iat: 1790000000  (2026-09-21T14:13:20.000000Z, past)",
        "signature: good",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let signature = token.trim().rsplit('.').next().unwrap();
    assert!(!shown.contains(signature));
    let (shown, exit) = ask(&["inspect", &path("token")]);
    assert!(exit == Exit::Good && shown.contains("not verified"), "{shown}");

    let other = path("other.json");
    let (_, exit) = ask(&["issue", "--new-key", &path("other.pem"), "--jwks", &other]);
    assert_eq!(exit, Exit::Good);
    let (shown, exit) = ask(&["inspect", &path("token"), "--jwks", &other]);
    assert!(exit == Exit::Failed && shown.contains("not good"), "{shown}");
}

#[test]
fn a_token_is_bound_to_the_first_certificate_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, file) = (path("dev.pem"), path("client.crt"));
    ask(&["issue", "--new-key", &key, "--jwks", &path("jwks.json")]);
    let sign = |file: &str| {
        let line = ["issue", "--key", &key, "--issuer", "i", "--audience", "a", "--subject", "s"];
        told(&[&line[..], &["--certificate", file]].concat())
    };
    let certificate = || {
        let own = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["robot".to_owned()]).unwrap().self_signed(&own).unwrap()
    };
    let [own, other] = [certificate(), certificate()];
    std::fs::write(&file, format!("a client's\n{}{}", own.pem(), other.pem())).unwrap();
    let (token, _, exit) = sign(&file);
    assert_eq!(exit, Exit::Good);
    std::fs::write(path("token"), token).unwrap();
    let (shown, _) = ask(&["inspect", &path("token")]);
    let bound = Thumbprint::of(own.der());
    assert!(shown.contains(&format!("cnf: {{\"x5t#S256\":\"{bound}\"}}")), "{shown}");

    for (text, why) in [
        (std::fs::read_to_string(&key).unwrap(), "has no certificate in it"),
        ("".to_owned(), "has no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(), "is not PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "of version 3"),
        (V1.to_owned(), "of version 3"),
    ] {
        std::fs::write(&file, &text).unwrap();
        let (token, why_not, exit) = sign(&file);
        assert_eq!((token.as_str(), exit), ("", Exit::Failed), "{text}");
        assert!(why_not.contains(&format!("`{file}` ")) && why_not.contains(why), "{why_not}");
    }
    let (_, why, exit) = sign(&path("none"));
    assert!(exit == Exit::Failed && why.contains("can't be read"), "{why}");
}

#[test]
fn with_a_configuration_a_token_is_judged_as_the_proxy_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("tw.toml"), CONFIG).unwrap();
    std::fs::write(path("revoked"), "sub https://idp.example mallory\n").unwrap();
    let key = path("dev.pem");
    ask(&["issue", "--new-key", &key, "--jwks", &path("jwks.json")]);
    let check = |who: &[&str], exit: Exit, said: &str| {
        let sign = ["issue", "--key", &key, "--issuer", "https://idp.example"];
        std::fs::write(path("token"), ask(&[&sign[..], who].concat()).0).unwrap();
        let (shown, found) = ask(&["inspect", &path("token"), "--config", &path("tw.toml")]);
        assert!(found == exit && shown.contains(said), "{said}: {shown}");
    };
    let roles = "accepted: `alice` of https://idp.example, until 2026-09-21T15:13:20.000000Z\n  roles: a, b\n  teams: none";
    check(&["--audience", "us", "--subject", "alice", "--role", "b", "--role", "a"], Exit::Good, roles);
    check(&["--audience", "them", "--subject", "alice"], Exit::Failed, "refused: ");
    check(&["--audience", "us", "--subject", "mallory"], Exit::Failed, "revoked");
    check(&["--audience", "us", "--subject", "a", "--lifetime", "3h"], Exit::Failed, "refused: ");
    let (_, exit) = ask(&["inspect", &path("token"), "--config", &path("none.toml")]);
    assert_eq!(exit, Exit::Usage);
}

#[test]
fn a_configuration_says_issuer_and_audience_where_the_command_line_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, config) = (path("dev.pem"), path("tw.toml"));
    ask(&["issue", "--new-key", &key, "--jwks", &path("jwks.json")]);
    let issuer = |name: &str, audience: &str| {
        format!("[[issuer]]\nissuer = \"https://{name}.example\"\naudience = \"{audience}\"\n")
    };
    let (one, two) = (issuer("one", "first"), issuer("one", "first") + &issuer("two", "second"));
    let check = |text: &str, more: &[&str], says: Option<(&str, &str)>| {
        std::fs::write(&config, text).unwrap();
        let sign = ["issue", "--key", &key, "--subject", "alice", "--config", &config];
        let (token, exit) = ask(&[&sign[..], more].concat());
        let Some((issuer, audience)) = says else { return assert_eq!(exit, Exit::Usage, "{more:?}") };
        std::fs::write(path("token"), token).unwrap();
        let (shown, _) = ask(&["inspect", &path("token")]);
        for said in [format!("iss: \"{issuer}\""), format!("aud: \"{audience}\"")] {
            assert!(shown.contains(&said), "{more:?}: {said}: {shown}");
        }
    };
    check(&one, &[], Some(("https://one.example", "first")));
    check(&one, &["--audience", "us"], Some(("https://one.example", "us")));
    check(&one, &["--issuer", "https://other.example"], None);
    check(
        &one,
        &["--issuer", "https://other.example", "--audience", "us"],
        Some(("https://other.example", "us")),
    );
    // Which of the two is meant has to be said, and then its audience is known.
    check(&two, &[], None);
    check(&two, &["--issuer", "https://two.example"], Some(("https://two.example", "second")));
    check("", &[], None);
    check("[[issuer]]\nissuer = 1\n", &[], None);
    let (_, exit) = ask(&["issue", "--key", &key, "--subject", "alice"]);
    assert_eq!(exit, Exit::Usage, "without a configuration both have to be said");
}

#[test]
fn what_a_terminal_would_obey_is_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token").to_str().unwrap().to_owned();
    let key = DevKey::generate(Algorithm::EdDsa).unwrap();
    let payload = "{\"sub\":\"a\u{202e}b\\u001b[2J\",\"\u{200b}\":1}";
    std::fs::write(&path, key.sign_texts(r#"{"alg":"none"}"#, payload).unwrap()).unwrap();
    let (shown, exit) = ask(&["inspect", &path]);
    assert_eq!(exit, Exit::Failed);
    assert!(!shown.contains(|c| c != '\n' && is_unseen(c)), "{shown:?}");
    assert!(shown.contains("\\u{202e}") && shown.contains("refused: "), "{shown}");
}

#[test]
fn a_token_in_the_argument_list_is_not_taken() {
    assert_eq!(ask(&["inspect", "eyJhbGciOiJub25lIn0.e30.AA"]), (String::new(), Exit::Usage));
}

#[test]
fn keys_of_another_type_are_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key").to_str().unwrap().to_owned();
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let line = ["issue", "--key", &path, "--issuer", "i", "--audience", "a", "--subject", "s"];
    assert_eq!(ask(&line), (String::new(), Exit::Failed));
}
