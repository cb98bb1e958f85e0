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

#[tokio::test]
async fn another_token_is_used_and_the_one_before_is_a_secret_for_a_while() {
    let (config, file) = with_file(&format!("  {FIRST}\n"));
    let upstream = upstream(&config);
    let check = |content: &str, secrets: &[&str]| {
        std::fs::write(file.path(), content).unwrap();
        upstream.take_up(NewTokens::load(&config).unwrap());
        assert_eq!(shown(&upstream.secrets()), secrets);
    };
    check(FIRST, &[FIRST]);
    check(SECOND, &[SECOND, FIRST]);
    check(SECOND, &[SECOND, FIRST]);
    check(FIRST, &[FIRST, SECOND]);
    let many: Vec<String> = (0..9).map(|n| format!("test_token_that_opens_nothing_{n}")).collect();
    for at in 6..9 {
        let newest: Vec<&str> = many.iter().take(at + 1).rev().take(6).map(String::as_str).collect();
        many.iter().take(at + 1).for_each(|token| {
            std::fs::write(file.path(), token).unwrap();
            upstream.take_up(NewTokens::load(&config).unwrap());
        });
        assert_eq!(shown(&upstream.secrets()), newest, "not for ever");
    }
    for (content, wants) in
        [(GLOBAL_KEY, "global API key"), ("", "the token is empty"), ("\u{fffd}", "characters")]
    {
        std::fs::write(file.path(), content).unwrap();
        let told = NewTokens::load(&config).unwrap_err()[0].to_string();
        assert!(told.contains(wants) && !told.contains("opens_nothing"), "{told}");
    }
}

#[tokio::test]
async fn accounts_come_and_go_and_what_is_known_of_a_token_stays() {
    let server = Server::answering(answer("401 Unauthorized", "", b"{}")).await;
    let (mut config, _file) = with_file(FIRST);
    config.base_url = server.base.parse().unwrap();
    let upstream = upstream(&config);
    send(&upstream, Operation::List).await.unwrap();
    let refused = ["upstream.token_file: the upstream refuses this token (401)"];
    assert_eq!(upstream.health(), refused);
    let account = AccountId::parse("b2").unwrap();
    config.accounts.insert(account, TokenSource::Environment(SecretString::from(SECOND)));
    upstream.take_up(NewTokens::load(&config).unwrap());
    assert_eq!(upstream.health(), refused, "the default token is as it was");
    assert_eq!(
        (upstream.accounts(), shown(&upstream.secrets())),
        (vec![None, Some(account)], vec![FIRST, SECOND])
    );
    config.accounts.clear();
    upstream.take_up(NewTokens::load(&config).unwrap());
    assert_eq!((upstream.accounts(), shown(&upstream.secrets())), (vec![None], vec![FIRST, SECOND]));
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
        let got = upstream(&config).verify_token(&taken().await, account, Uuid::nil()).await;
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
        let got = upstream(&config(&server.base)).verify_token(&taken().await, None, Uuid::nil()).await;
        assert_eq!(matches!(got, Verdict::Refused(_)), refused, "{answered}: {got:?}");
        assert_eq!(matches!(got, Verdict::Unanswered(_)), !refused, "{answered}: {got:?}");
    }
    let got = upstream(&config("http://127.0.0.1:9")).verify_token(&taken().await, None, Uuid::nil()).await;
    assert!(matches!(got, Verdict::Unanswered(_)), "{got:?}");
}

#[tokio::test]
async fn an_address_that_is_not_the_apis_is_told_apart_from_a_token_that_is_refused() {
    for (answered, body, elsewhere) in [
        ("404 Not Found", "<html></html>", true),
        ("404 Not Found", r#"{"success":false,"errors":[{"code":7003}]}"#, true),
        ("200 OK", "<html></html>", true),
        ("200 OK", "7", true),
        ("400 Bad Request", "", true),
        ("400 Bad Request", r#"{"success":false}"#, false),
        ("401 Unauthorized", "", false),
        ("403 Forbidden", "<html></html>", false),
    ] {
        let server = Server::answering(answer(answered, "", body.as_bytes())).await;
        let upstream = upstream(&config(&server.base));
        let got = upstream.verify_token(&taken().await, None, Uuid::nil()).await;
        let Verdict::Refused(told) = got else { panic!("{answered} {body}: {got:?}") };
        assert_eq!(told.starts_with("upstream.base_url: "), elsewhere, "{answered} {body}: {told}");
        assert_eq!(told.contains("Magic WAN Write"), !elsewhere, "{answered} {body}: {told}");
        assert!(!elsewhere || told.contains(&server.base) && told.contains("/client/v4"), "{told}");
    }
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
