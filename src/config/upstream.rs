//! `[upstream]`: where calls go, and with which token.
//!
//! Not here: reading and checking the token (`forward`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::table::{Section, plain_text};
use super::{TokenSource, Upstream, url};
use crate::operation::AccountId;
use crate::secret::SecretString;

/// The variable that official tools use too.
const TOKEN_VARIABLE: &str = "CLOUDFLARE_API_TOKEN";

const BASE_URL: &str = "https://api.cloudflare.com/client/v4";

pub(super) fn read(section: &mut Section<'_>, env: &BTreeMap<String, String>) -> Upstream {
    let short = Duration::from_millis(100);
    let long = Duration::from_mins(10);
    let given = section.parsed("base_url", |node| url::base_url(&plain_text(node)?));
    let base_url = given.unwrap_or_else(|| http::Uri::from_static(BASE_URL));
    section.resolved("base_url", &base_url);
    let says_file = section.says("token_file");
    let token = match section.path("token_file") {
        Some(path) => Some(TokenSource::File(path)),
        None => from_environment(env),
    };
    // That there is one is part of the configuration, what it is never.
    let source = if matches!(token, Some(TokenSource::Environment(_))) { TOKEN_VARIABLE } else { "none" };
    section.resolved("token_variable", source);
    let (said, accounts) = section.section("accounts", |inner| (inner.names().len(), accounts(inner)));
    if token.is_none() && !says_file && said == 0 {
        section.problem(
            "token_file",
            "there is no upstream token; name its file, set CLOUDFLARE_API_TOKEN, or give each account its own in \
             [upstream.accounts.<id>]",
        );
    }
    Upstream {
        base_url,
        token,
        accounts,
        ca_file: section.path("ca_file"),
        connect_timeout: section.duration(
            "connect_timeout",
            Duration::from_secs(5),
            short..=Duration::from_mins(1),
        ),
        read_timeout: section.duration("read_timeout", Duration::from_secs(30), short..=long),
        write_timeout: section.duration("write_timeout", Duration::from_mins(1), short..=long),
        // Two whole writes of the default deadline would be longer than any client waits.
        turn_timeout: section.duration(
            "turn_timeout",
            Duration::from_secs(10),
            short..=Duration::from_mins(1),
        ),
        idle_timeout: section.duration("idle_timeout", Duration::from_secs(15), short..=long),
        max_answer_bytes: section.size("max_answer_bytes", 16 << 20, 1 << 10..=256 << 20),
    }
}

fn from_environment(env: &BTreeMap<String, String>) -> Option<TokenSource> {
    let token = env.get(TOKEN_VARIABLE)?.trim();
    (!token.is_empty()).then(|| TokenSource::Environment(SecretString::from(token)))
}

fn accounts(section: &mut Section<'_>) -> BTreeMap<AccountId, TokenSource> {
    let mut accounts = BTreeMap::new();
    for name in section.names() {
        let token = section.section(&name, |inner| {
            inner.required_path("token_file", "name the file of this account's token")
        });
        match AccountId::parse(&name) {
            Some(id) => drop(accounts.insert(id, TokenSource::File(token))),
            None => section.problem(&name, "is not an account id; write its 1 to 32 lower-case hex digits"),
        }
    }
    accounts
}
