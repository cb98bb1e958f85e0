//! Configurations that are wrong, and what is said of them; the shipped file against the defaults.

mod issuer;
mod listen;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read::resolve;
use super::{Config, KeySource, Problem, TokenSource, load};
use crate::operation::AccountId;
use crate::secret::ExposeSecret;

const SHIPPED: &str = include_str!("../../config/tunnelwarden.toml");

/// The smallest good file; each test adds or changes lines.
const SMALL: &str = r#"upstream.token_file = "token"
policy.file = "policy.cedar"
[audit]
database = "sqlite:audit.db"
signing_key_file = "signing.key"
fingerprint_key_file = "fingerprint.key"
[[issuer]]
issuer = "https://idp.example"
audience = "tunnelwarden"
jwks_file = "jwks.json"
algorithms = ["ES256"]
"#;

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[track_caller]
fn read(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
    resolve(text, Path::new("/etc/tw"), &vars(env)).map_err(|problems| problems.0)
}

#[track_caller]
fn good(text: &str, env: &[(&str, &str)]) -> Config {
    read(text, env).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

/// Replaces one text of the small file and wants exactly these problems: key, line, words.
#[track_caller]
fn refused(from: &str, to: &str, wanted: &[(&str, Option<usize>, &str)]) {
    assert_eq!(SMALL.matches(from).count(), 1, "{from}");
    refused_text(&SMALL.replace(from, to), &[], wanted);
}

#[track_caller]
fn refused_text(text: &str, env: &[(&str, &str)], wanted: &[(&str, Option<usize>, &str)]) {
    let found = read(text, env).expect_err(text);
    let fits = |(problem, (key, line, words)): (&Problem, &(&str, Option<usize>, &str))| {
        problem.key == *key && problem.line == *line && problem.what.contains(words)
    };
    assert!(found.len() == wanted.len() && found.iter().zip(wanted).all(fits), "{wanted:#?} {found:#?}");
    // What stands for a secret in these tables is never said again.
    assert!(!format!("{found:?}").contains("hunter2"), "{found:#?}");
}

/// Appends a section and wants one problem, on the second line of what was appended.
#[track_caller]
fn refused_in(section: &str, entry: &str, key: &str, words: &str) {
    let line = SMALL.lines().count() + 2;
    refused_text(&format!("{SMALL}[{section}]\n{entry}\n"), &[], &[(key, Some(line), words)]);
}

#[test]
fn the_small_file_has_the_designs_defaults() {
    let config = good(SMALL, &[]);
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9090");
    assert_eq!(config.upstream.base_url, "https://api.cloudflare.com/client/v4");
    assert_eq!(config.audit.database, PathBuf::from("/etc/tw/audit.db").into());
    assert!(
        matches!(&config.issuers[0].keys, KeySource::File(path) if path == Path::new("/etc/tw/jwks.json"))
    );
    let (subject, budget) = (config.limits.subject, config.limits.upstream_budget);
    assert_eq!(subject.secret.map(|r| (r.requests.get(), r.per)), Some((20, Duration::from_hours(1))));
    assert_eq!((budget.requests, budget.reserve, budget.window), (1200, 120, Duration::from_mins(5)));
    assert_eq!(config.digest.len(), 64);
}

#[test]
fn the_shipped_file_says_nothing_but_the_defaults() {
    let active = good(SHIPPED, &[]);
    let is_default = |line: &str| {
        let text = line.strip_prefix("# ").unwrap_or_default();
        text.split_once(" = ").is_some_and(|(key, _)| {
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        })
    };
    let defaults = SHIPPED.lines().filter(|line| is_default(line)).count();
    assert!(defaults > 25, "{defaults}");
    let uncommented: Vec<&str> =
        SHIPPED.lines().map(|line| if is_default(line) { &line[2..] } else { line }).collect();
    let explicit = good(&uncommented.join("\n"), &[]);
    assert_eq!(format!("{explicit:?}"), format!("{active:?}"));
}

#[test]
fn the_shipped_examples_are_good_too() {
    let uncommented: Vec<&str> =
        SHIPPED.lines().map(|line| line.strip_prefix("#   ").unwrap_or(line)).collect();
    let config = good(&uncommented.join("\n"), &[]);
    assert!(config.listen.tls.as_ref().is_some_and(|tls| tls.clients.is_some()));
    assert!(config.listen.tls.is_some() && config.audit.checkpoint_files.len() == 2);
    assert_eq!((config.issuers.len(), config.upstream.accounts.len()), (2, 1));
    let KeySource::Url { refresh, min_interval, ca_file, .. } = &config.issuers[1].keys else { panic!() };
    assert_eq!((refresh.as_secs(), min_interval.as_secs(), ca_file.is_some()), (300, 10, true));
}

#[test]
fn everything_wrong_is_said_at_once_in_order() {
    refused_text(
        "[listen]\nadress = \"x\"\nbody_timeout = \"never\"\n[audit]\nsigning_key = \"hunter2\"\n[[issuer]]\n\
         issuer = \"https://idp.example\"\nalgorithms = [\"HS256\", \"none\"]\n[zebra]\nx = 1\n",
        &[],
        &[
            ("listen.adress", Some(2), "did you mean `address`?"),
            ("listen.body_timeout", Some(3), "wants a duration such as"),
            ("audit.database", Some(4), "is missing"),
            ("audit.signing_key_file", Some(4), "tunnelwarden keys generate"),
            ("audit.fingerprint_key_file", Some(4), "is missing"),
            (
                "audit.signing_key",
                Some(5),
                "never a value here; put it into a file and name that with `signing_key_file`",
            ),
            ("issuer.0.audience", Some(6), "is missing"),
            ("issuer.0.jwks_file", Some(6), "exactly one of jwks_file and jwks_url"),
            ("issuer.0.algorithms", Some(8), "HS256 is symmetric"),
            ("issuer.0.algorithms", Some(8), "none is no signature"),
            ("zebra", Some(9), "unknown key"),
            ("upstream.token_file", None, "CLOUDFLARE_API_TOKEN"),
            ("policy.file", None, "is missing"),
        ],
    );
}

#[test]
fn a_file_that_is_not_toml_is_not_quoted() {
    refused_text("[upstream]\ntoken = \"hunter2\n", &[], &[("", Some(2), "not TOML")]);
    refused_text("a = 1\na = \"hunter2\"\n", &[], &[("", Some(2), "not TOML")]);
}

#[test]
fn numbers_and_times_have_bounds() {
    for (section, entry, key, words) in [
        ("listen", "max_connections = 0", "listen.max_connections", "from 1 to 65536"),
        ("listen", "max_connections = \"9\"", "listen.max_connections", "an integer"),
        ("listen", "max_connections = 9223372036854775808", "listen.max_connections", "from 1 to 65536"),
        ("listen", "max_header_bytes = 8191", "listen.max_header_bytes", "from 8KiB to 256KiB"),
        ("listen", "max_body_bytes = -1", "listen.max_body_bytes", "4MiB"),
        ("listen", "max_body_bytes = \"5MiB\"", "listen.max_body_bytes", "from 1KiB to 4MiB"),
        ("listen", "body_timeout = 30", "listen.body_timeout", "\"90s\""),
        ("listen", "header_timeout = \"0s\"", "listen.header_timeout", "from 100ms to 10m"),
        (
            "listen",
            "unidentified_per_address = \"none\"",
            "listen.unidentified_per_address",
            "a rate such as",
        ),
        (
            "listen",
            "proxy_protocol = [\"10.0.0.1/8\"]",
            "listen.proxy_protocol",
            "begins with its first address",
        ),
        ("listen", "trusted_hops = \"10.0.0.0/8\"", "listen.trusted_hops", "wants a list"),
        ("listen", "address = \"localhost:80\"", "listen.address", "not a name"),
        ("listen", "certificate_file = \"\"", "listen.certificate_file", "1 to 4096 bytes"),
        ("listen", "address = \"127.0.0.1:9090\"", "admin.address", "same as listen.address"),
        ("limits", "subject = { read = \"0/s\" }", "limits.subject.read", "or \"none\" for no limit"),
        ("limits", "subject = \"none\"", "limits.subject", "wants a table, not a string"),
        ("limits", "upstream_budget = { reserve = \"100%\" }", "limits.upstream_budget.reserve", "less than"),
        ("limits", "upstream_budget = { window = \"2h\" }", "limits.upstream_budget.window", "1s to 1h"),
        ("limits", "team = { reed = \"1/s\" }", "limits.team.reed", "did you mean `read`?"),
        ("log", "format = \"xml\"", "log.format", "\"text\" or \"json\""),
        ("log", "filter = \"a=b=c\"", "log.filter", "wants a filter"),
        ("log", "filter = \"tunnelwarden=debug\"", "log.filter", "for all else"),
        ("log", "filter = \"info,tunnelwarden\"", "log.filter", "for all else"),
        ("trace", "otlp_endpoint = \"collector:4318\"", "trace.otlp_endpoint", "absolute https URL"),
        ("trace", "sampling = \"101%\"", "trace.sampling", "from 0% to 100%"),
        ("trace", "sampling = \"0.1\"", "trace.sampling", "from 0% to 100%"),
        ("trace", "sampling = 5", "trace.sampling", "from 0% to 100%"),
        ("trace", "ratio = \"5%\"", "trace.ratio", ""),
        ("revocation", "file = 1979-05-27", "revocation.file", "not a date"),
        ("audit.bodies", "read = \"yes\"", "audit.bodies.read", "true or false"),
    ] {
        if key == "admin.address" {
            refused_text(&format!("{SMALL}[{section}]\n{entry}\n"), &[], &[(key, None, words)]);
        } else {
            refused_in(section, entry, key, words);
        }
    }
}

#[test]
fn a_secret_as_a_value_is_refused_with_the_remedy() {
    for (section, entry, key, words) in [
        ("listen", "private_key = \"hunter2\"", "listen.private_key", "`private_key_file`"),
        ("admin", "password = \"hunter2\"", "admin.password", "never a value"),
        ("upstream.accounts.a1", "token_file = \"t\"\ntoken = \"hunter2\"", "", "`token_file`"),
    ] {
        if key.is_empty() {
            let line = SMALL.lines().count() + 3;
            let text = format!("{SMALL}[{section}]\n{entry}\n");
            refused_text(&text, &[], &[("upstream.accounts.a1.token", Some(line), words)]);
        } else {
            refused_in(section, entry, key, words);
        }
    }
    refused(
        "upstream.token_file = \"token\"",
        "upstream.token_file = \"t\"\nupstream.api_key = \"hunter2\"",
        &[("upstream.api_key", Some(2), "`token_file`")],
    );
    let url = "upstream.token_file = \"t\"\nupstream.base_url = \"https://hunter2@host.example\"";
    refused("upstream.token_file = \"token\"", url, &[("upstream.base_url", Some(2), "no user")]);
    refused(
        "sqlite:audit.db",
        "postgres://u:hunter2@db/x",
        &[("audit.database", Some(4), "database_password_file")],
    );
    refused(
        "sqlite:audit.db",
        "postgres://u@db.example/x?sslmode=require",
        &[("audit.database", Some(4), "verify-full")],
    );
    refused("sqlite:audit.db", "mysql://u:hunter2@db/x", &[("audit.database", Some(4), "sqlite:")]);
    refused("sqlite:audit.db", "sqlite::memory:", &[("audit.database", Some(4), "a path")]);
}

#[test]
fn an_issuer_is_read_strictly() {
    let issuer = |entry: &str, key: &str, words: &str| {
        let line = SMALL.lines().count() + 1;
        refused_text(&format!("{SMALL}{entry}\n"), &[], &[(key, Some(line), words)]);
    };
    issuer("jwks_url = \"https://idp.example/jwks\"", "issuer.0.jwks_url", "exactly one");
    issuer("jwks_refresh = \"1m\"", "issuer.0.jwks_refresh", "only goes with jwks_url");
    issuer("leeway = \"6m\"", "issuer.0.leeway", "from 0s to 5m");
    issuer("max_lifetime = \"31d\"", "issuer.0.max_lifetime", "from 1m to 30d");
    issuer("max_token_bytes = 1", "issuer.0.max_token_bytes", "from 256 to 64KiB");
    issuer("claims = { subject = \"sub\" }", "issuer.0.claims.subject", "a JSON pointer");
    issuer("claims = { roles = \"/a~2\" }", "issuer.0.claims.roles", "a JSON pointer");
    let same = &SMALL[SMALL.find("[[issuer]]").unwrap()..];
    refused_text(&format!("{SMALL}{same}"), &[], &[("issuer.1.issuer", Some(13), "an issuer above")]);
    let url = "jwks_url = \"https://idp.example/jwks\"\njwks_refresh = \"1s\"\njwks_min_interval = \"1m\"";
    refused("jwks_file = \"jwks.json\"", url, &[("issuer.0.jwks_min_interval", Some(12), "not be longer")]);
    refused(
        "jwks_file = \"jwks.json\"",
        "jwks_url = \"http://idp.example/jwks\"",
        &[("issuer.0.jwks_url", Some(10), "allow_insecure_jwks")],
    );
    let none = &SMALL[..SMALL.find("[[issuer]]").unwrap()];
    refused_text(none, &[], &[("issuer", None, "[[issuer]]")]);
    refused_text(&format!("issuer = []\n{none}"), &[], &[("issuer", Some(1), "[[issuer]]")]);
}

#[test]
fn algorithms_are_known_asymmetric_and_each_once() {
    for (list, words) in [
        ("[]", "is empty"),
        ("\"ES256\"", "wants a list"),
        ("[\"ES256\", \"ES256\"]", "each once"),
        ("[\"es256\"]", "did you mean ES256?"),
        ("[\"RS512\"]", "known are ES256, ES384, EdDSA, RS256, PS256"),
        ("[\"HS512\"]", "symmetric"),
        ("[\"None\"]", "no signature"),
        ("[1]", "strings in quotes"),
    ] {
        refused("[\"ES256\"]", list, &[("issuer.0.algorithms", Some(11), words)]);
    }
}

#[test]
fn comparing_with_the_upstreams_logs_is_off_until_it_is_asked_for() {
    assert!(good(SMALL, &[]).audit.reconcile.every.is_none());
    let asked = format!("{SMALL}[audit.reconcile]\nevery = \"5m\"\naccounts = [\"0a\", \"0b\"]\n");
    let options = good(&asked, &[]).audit;
    assert_eq!(options.reconcile.every, Some(Duration::from_mins(5)));
    assert_eq!(options.reconcile.accounts.len(), 2);
    let by_variable = good(SMALL, &[("TUNNELWARDEN__AUDIT__RECONCILE__EVERY", "1h")]);
    assert_eq!(by_variable.audit.reconcile.every, Some(Duration::from_hours(1)));
    refused_in("audit.reconcile", "every = \"500ms\"", "audit.reconcile.every", "from 1s to 1d");
    refused_in("audit.reconcile", "look_back = \"8d\"", "audit.reconcile.look_back", "from 1s to 7d");
    refused_in("audit.reconcile", "look_back = \"5m\"", "audit.reconcile.look_back", "shorter than grace");
    for wrong in ["\"0a\"", "[\"A\"]", "[7]", "[[]]"] {
        let entry = format!("accounts = {wrong}");
        refused_in("audit.reconcile", &entry, "audit.reconcile.accounts", "list of account ids");
    }
}

#[test]
fn two_files_of_the_audit_are_never_one() {
    refused(
        "\"fingerprint.key\"",
        "\"signing.key\"",
        &[("audit.fingerprint_key_file", Some(6), "same file as signing_key_file")],
    );
}

#[test]
fn a_certificate_and_its_key_go_together() {
    let text = format!("{SMALL}[listen]\ncertificate_file = \"c\"\n");
    refused_text(&text, &[], &[("listen.private_key_file", Some(12), "both or neither")]);
}

#[test]
fn the_upstream_token_has_a_source() {
    let none = SMALL.replace("upstream.token_file = \"token\"\n", "");
    refused_text(
        &none,
        &[("CLOUDFLARE_API_TOKEN", " ")],
        &[("upstream.token_file", None, "no upstream token")],
    );
    let config = good(&none, &[("CLOUDFLARE_API_TOKEN", " made-up\n")]);
    assert!(
        matches!(&config.upstream.token, Some(TokenSource::Environment(t)) if t.expose_secret() == "made-up")
    );
    assert!(!format!("{config:?}").contains("made-up"));
    let config = good(SMALL, &[("CLOUDFLARE_API_TOKEN", "made-up")]);
    assert!(matches!(config.upstream.token, Some(TokenSource::File(_))));
    let config = good(&format!("{none}[upstream.accounts.a1]\ntoken_file = \"/t\"\n"), &[]);
    let account = AccountId::parse("a1").unwrap();
    assert!(config.upstream.token.is_none() && config.upstream.accounts.contains_key(&account));
    refused_text(
        &format!("{none}[upstream]\naccounts = {{}}\n"),
        &[],
        &[("upstream.token_file", Some(11), "no upstream token")],
    );
    let text = format!("{SMALL}[upstream.accounts.A1]\ntoken_file = \"t\"\n");
    refused_text(&text, &[], &[("upstream.accounts.A1", Some(12), "lower-case hex")]);
}

#[test]
fn variables_override_the_file() {
    let changed = |name: &str, value: &str| good(SMALL, &[(name, value)]);
    assert_eq!(changed("TUNNELWARDEN__LISTEN__ADDRESS", "[::1]:1").listen.address.to_string(), "[::1]:1");
    assert_eq!(changed("tunnelwarden__Listen__max_connections", "7").listen.max_connections, 7);
    assert_eq!(changed("TUNNELWARDEN__LISTEN__DRAIN_TIMEOUT", "1m").listen.drain_timeout.as_secs(), 60);
    assert_eq!(changed("TUNNELWARDEN__ISSUER__0__AUDIENCE", "12345").issuers[0].audience, "12345");
    assert_eq!(changed("TUNNELWARDEN__ISSUER__0__ALGORITHMS", "['PS256']").issuers[0].algorithms.len(), 1);
    assert!(changed("TUNNELWARDEN__LIMITS__SUBJECT__READ", "none").limits.subject.read.is_none());
    assert!(changed("TUNNELWARDEN__LIMITS__SUBJECT__READ", "none").limits.subject.write.is_some());
    assert!(changed("TUNNELWARDEN__AUDIT__BODIES__READ", "true").audit.bodies.read);
    assert_eq!(changed("TUNNELWARDEN__UPSTREAM__ACCOUNTS__01__TOKEN_FILE", "t").upstream.accounts.len(), 1);
    good(SMALL, &[("TUNNELWARDEN_LOG", "x"), ("PATH", "/bin"), ("TUNNELWARDEN", "x")]);
    let second = [
        ("TUNNELWARDEN__ISSUER__1__ISSUER", "two"),
        ("TUNNELWARDEN__ISSUER__1__AUDIENCE", "a"),
        ("TUNNELWARDEN__ISSUER__1__JWKS_FILE", "j"),
        ("TUNNELWARDEN__ISSUER__1__ALGORITHMS", "[\"ES256\"]"),
    ];
    assert_eq!(good(SMALL, &second).issuers[1].issuer, "two");
    let alone = &SMALL[..SMALL.find("[[issuer]]").unwrap()];
    let first = second.map(|(name, value)| (name.replace("__1__", "__0__"), value));
    let first: Vec<(&str, &str)> = first.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(good(alone, &first).issuers[0].issuer, "two");
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, key, words) in [
        ("TUNNELWARDEN__LISTEN__ADRESS", "x", "listen.adress", "did you mean `address`?"),
        ("TUNNELWARDEN__UPSTREAM__TOKEN", "hunter2", "upstream.token", "`token_file`"),
        ("TUNNELWARDEN__LISTEN__BODY_TIMEOUT", "hunter2", "listen.body_timeout", "a duration"),
        ("TUNNELWARDEN__POLICY__FILE__X", "hunter2", "policy.file.x", "plain value"),
        ("TUNNELWARDEN__ISSUER__7__ISSUER", "x", "issuer.7.issuer", "the next one is 1"),
        ("TUNNELWARDEN__ISSUER__X__ISSUER", "x", "issuer.x.issuer", "counted from 0"),
        ("TUNNELWARDEN__ZEBRA__X", "x", "zebra", "unknown key"),
    ] {
        refused_text(SMALL, &[(name, value)], &[(key, None, words)]);
        assert!(read(SMALL, &[(name, value)]).unwrap_err()[0].what.starts_with(&format!("`{name}`: ")));
    }
    refused_text(SMALL, &[("TUNNELWARDEN__A____B", "x")], &[("TUNNELWARDEN__A____B", None, "empty level")]);
    let twice = [("TUNNELWARDEN__LOG__FORMAT", "json"), ("TUNNELWARDEN__log__format", "text")];
    refused_text(SMALL, &twice, &[("TUNNELWARDEN__log__format", None, "unset one of the two")]);
}

#[test]
fn the_digest_tells_values_apart_and_nothing_else() {
    let plain = good(SMALL, &[]).digest;
    let commented = good(&format!("# hello\n{SMALL}"), &[]).digest;
    let spelled = good(SMALL, &[("TUNNELWARDEN__LISTEN__BODY_TIMEOUT", "30000ms")]).digest;
    let elsewhere = resolve(SMALL, Path::new("other"), &BTreeMap::new()).unwrap().digest;
    let token = good(SMALL, &[("CLOUDFLARE_API_TOKEN", "made-up")]).digest;
    assert_eq!([&commented, &spelled, &elsewhere, &token], [&plain; 4]);
    for (name, value) in [
        ("TUNNELWARDEN__LISTEN__BODY_TIMEOUT", "31s"),
        ("TUNNELWARDEN__POLICY__FILE", "other.cedar"),
        ("TUNNELWARDEN__ISSUER__0__CLAIMS__ROLES", "/roles"),
        ("TUNNELWARDEN__UPSTREAM__ACCOUNTS__A1__TOKEN_FILE", "t"),
        ("TUNNELWARDEN__LIMITS__UPSTREAM_BUDGET__RESERVE_ROLES", "[]"),
    ] {
        assert_ne!(good(SMALL, &[(name, value)]).digest, plain, "{name}");
    }
}

#[test]
fn differences_are_told_by_key_path() {
    let plain = good(SMALL, &[]);
    for (name, value, key) in [
        ("TUNNELWARDEN__LISTEN__BODY_TIMEOUT", "31s", "listen.body_timeout"),
        ("TUNNELWARDEN__ADMIN__TOKEN_HEADER", "x-access", "admin.token_header"),
        ("TUNNELWARDEN__ISSUER__0__CLAIMS__ROLES", "/roles", "issuer.0.claims.roles"),
        ("TUNNELWARDEN__UPSTREAM__ACCOUNTS__A1__TOKEN_FILE", "t", "upstream.accounts.a1.token_file"),
    ] {
        let other = good(SMALL, &[(name, value)]);
        assert_eq!(plain.differences(&other), BTreeSet::from([key]), "{name}");
        assert_eq!(other.differences(&plain), BTreeSet::from([key]), "{name}");
    }
    assert!(plain.differences(&good(&format!("# hello\n{SMALL}"), &[])).is_empty());
}

#[test]
fn a_file_is_read_from_disk_with_a_bound() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tunnelwarden.toml");
    let problem = |path: &Path| load(path, &BTreeMap::new()).unwrap_err().to_string();
    assert!(problem(&path).contains("can't read the configuration file"));
    std::fs::write(&path, SMALL).unwrap();
    assert_eq!(load(&path, &BTreeMap::new()).unwrap().policy.file, directory.path().join("policy.cedar"));
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(problem(&path).contains("larger than 1MiB"));
    std::fs::write(&path, b"a = \"\xff\"").unwrap();
    assert!(problem(&path).contains("not UTF-8"));
    std::fs::write(&path, SMALL.replace("[audit]", "[audit]\nbodies.read = 1")).unwrap();
    assert_eq!(problem(&path), "audit.bodies.read (line 4): wants true or false, without quotes");
}
