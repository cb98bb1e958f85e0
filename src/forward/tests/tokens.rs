//! Tokens: which are taken, and how they are replaced.

use super::server::{Server, answer};
use super::*;
use crate::secret::ExposeSecret as _;

const FIRST: &str = "test_token_that_opens_nothing_first";
const SECOND: &str = "test_token_that_opens_nothing_second";
const GLOBAL_KEY: &str = "cfk_test_key_that_opens_nothing_0123456789";

fn shown(secrets: &[SecretString]) -> Vec<&str> {
    secrets.iter().map(|secret| secret.expose_secret()).collect()
}

fn with_file(content: &str) -> (config::Upstream, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let mut config = config("http://127.0.0.1:1");
    config.token = Some(TokenSource::File(file.path().into()));
    (config, file)
}

#[test]
fn only_api_tokens_are_taken() {
    let taken = |token: &str| assert_eq!(token_problem(token), None, "{token}");
    taken(&"aB3".repeat(14)[..40]);
    taken("cfut_test_token_that_opens_nothing");
    taken("cfat_test-token-that-opens-nothing");
    let refused = |token: &str, start: &str| {
        let problem = token_problem(token).unwrap_or_default();
        assert!(problem.starts_with(start), "{token}: {problem}");
    };
    refused("", "the token is empty");
    refused(GLOBAL_KEY, "this is a global API key");
    refused("cfk_", "this is a global API key");
    refused(&"0af".repeat(13)[..37], "this is a global API key");
    refused("eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl", "this is a JWT");
    refused("Bearer test_token_that_opens_nothing", "the token holds characters");
    refused("test_token\nthat_opens_nothing", "the token holds characters");
    refused("test_token_tha\u{2026}", "the token holds characters");
    refused("too_short", "the token is too short");
    refused(&"a".repeat(257), "the token is too long");
}

#[tokio::test]
async fn a_bad_token_does_not_start() {
    for (content, want) in [(GLOBAL_KEY, "this is a global API key"), (" \n", "the token is empty")] {
        let (config, _file) = with_file(content);
        let error = start(&config).unwrap_err().to_string();
        assert!(error.starts_with(&format!("upstream.token_file: {want}")), "{error}");
        assert!(!error.contains("opens_nothing"), "{error}");
    }
    let mut config = config("http://127.0.0.1:1");
    config.token = Some(TokenSource::File("/does/not/exist".into()));
    assert!(matches!(start(&config), Err(ForwardError::Token { .. })));
    config.token = Some(TokenSource::File(std::env::temp_dir()));
    assert!(matches!(start(&config), Err(ForwardError::Token { .. })));
    config.token = None;
    assert!(matches!(start(&config), Err(ForwardError::NoToken)));
}

#[test]
fn the_last_good_token_is_kept_and_health_says_why() {
    let (config, file) = with_file(&format!("  {FIRST}\n"));
    let tokens = Tokens::load(&config).unwrap();
    let check = |content: Option<&str>, secrets: &[&str], health: Option<&str>| {
        match content {
            Some(content) => std::fs::write(file.path(), content).unwrap(),
            None => std::fs::remove_file(file.path()).unwrap(),
        }
        tokens.reload();
        assert_eq!(shown(&tokens.secrets()), secrets);
        let told = tokens.health();
        assert_eq!(told.is_empty(), health.is_none(), "{told:?}");
        assert!(told.iter().all(|told| told.contains(health.unwrap_or_default())), "{told:?}");
        assert!(told.iter().all(|told| !told.contains("opens_nothing")), "{told:?}");
    };
    check(Some(FIRST), &[FIRST], None);
    check(Some(GLOBAL_KEY), &[FIRST], Some("global API key"));
    check(Some(""), &[FIRST], Some("the token is empty"));
    check(None, &[FIRST], Some("can't read"));
    check(Some("\u{fffd}\u{fffd}"), &[FIRST], Some("characters"));
    check(Some(SECOND), &[SECOND, FIRST], None);
    check(Some(SECOND), &[SECOND, FIRST], None);
}

#[tokio::test]
async fn a_changed_file_is_seen_without_being_asked_for() {
    let (config, file) = with_file(FIRST);
    let upstream = upstream(&config);
    std::fs::write(file.path(), SECOND).unwrap();
    let seen = async {
        while shown(&upstream.secrets()).first() != Some(&SECOND) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap();
}

#[tokio::test]
async fn nothing_shows_a_token() {
    let (config, _file) = with_file(FIRST);
    let upstream = upstream(&config);
    let shown = format!("{upstream:?} {config:?} {:?}", upstream.secrets());
    assert!(!shown.contains("opens_nothing"), "{shown}");
}

#[tokio::test]
async fn health_tells_of_a_token_that_the_upstream_refuses() {
    let server = Server::answering(answer("401 Unauthorized", "", b"{}")).await;
    let upstream = upstream(&config(&server.base));
    send(&upstream, Operation::List).await.unwrap();
    assert_eq!(upstream.health(), ["CLOUDFLARE_API_TOKEN: the upstream refuses this token (401)"]);
}

#[tokio::test]
async fn tokens_are_verified_where_they_belong() {
    let check = async |token: &str, account: bool, body: &str, paths: &[&str], want: &Verdict| {
        let acts = vec![server::Act::Answer(answer("200 OK", "", body.as_bytes())); 2];
        let server = Server::start(vec![acts]).await;
        let mut config = config(&server.base);
        config.token = Some(TokenSource::Environment(SecretString::from(token)));
        let account = account.then(|| AccountId::parse("a1").unwrap());
        let got = upstream(&config).verify_token(&taken(), account, Uuid::nil()).await;
        assert_eq!(&got, want, "{token} {body}");
        let seen = server.seen();
        let asked: Vec<_> = seen.iter().map(|request| request.split(' ').nth(1).unwrap()).collect();
        assert_eq!(asked, paths, "{token}");
    };
    let active = r#"{"success":true,"result":{"status":"active"}}"#;
    let user = "/client/v4/user/tokens/verify";
    let of_account = "/client/v4/accounts/a1/tokens/verify";
    let (good, refused) =
        (Verdict::Good, |why: &str| Verdict::Refused(format!("CLOUDFLARE_API_TOKEN: {why}")));
    check("cfut_test_token_that_opens_nothing", true, active, &[user], &good).await;
    check("cfat_test_token_that_opens_nothing", true, active, &[of_account], &good).await;
    let unasked = Verdict::Unasked(format!("CLOUDFLARE_API_TOKEN: {}", token::UNASKED));
    check("cfat_test_token_that_opens_nothing", false, active, &[], &unasked).await;
    check(FIRST, true, active, &[user], &good).await;
    let disabled = r#"{"result":{"status":"disabled"}}"#;
    check(FIRST, true, disabled, &[user, of_account], &refused("the token is disabled")).await;
    check(FIRST, false, "{}", &[user], &refused("the upstream does not call the token active")).await;
}

#[tokio::test]
async fn what_the_upstream_can_not_say_is_no_refusal_of_the_token() {
    for (answered, refused) in [
        ("401 Unauthorized", true),
        ("400 Bad Request", true),
        ("429 Too Many Requests", false),
        ("503 Service Unavailable", false),
    ] {
        let server = Server::answering(answer(answered, "", b"{}")).await;
        let got = upstream(&config(&server.base)).verify_token(&taken(), None, Uuid::nil()).await;
        assert_eq!(matches!(got, Verdict::Refused(_)), refused, "{answered}: {got:?}");
        assert_eq!(matches!(got, Verdict::Unanswered(_)), !refused, "{answered}: {got:?}");
    }
    let got = upstream(&config("http://127.0.0.1:9")).verify_token(&taken(), None, Uuid::nil()).await;
    assert!(matches!(got, Verdict::Unanswered(_)), "{got:?}");
}

#[tokio::test]
async fn an_account_token_for_all_accounts_is_unchecked_until_an_answer_tells() {
    let server = Server::answering(answer("200 OK", "", b"{}")).await;
    let mut config = config(&server.base);
    config.token = Some(TokenSource::Environment(SecretString::from("cfat_test_token_that_opens_nothing")));
    let upstream = upstream(&config);
    assert_eq!(upstream.health(), [format!("CLOUDFLARE_API_TOKEN: {}", token::UNASKED)]);
    send(&upstream, Operation::List).await.unwrap();
    assert_eq!(upstream.health(), Vec::<String>::new());
}
