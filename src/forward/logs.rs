//! Reads a page of the upstream's own audit logs: who changed what, as the upstream saw it.
//!
//! Nothing is guessed: an answer that is not a whole, successful envelope of strict JSON is no page, and what can't be read
//! is told apart from an upstream that does not answer, since only the first gets better by asking for less.
//! Source: Cloudflare API, "Get account audit logs (Version 2)". Not here: what the rows say (`reconcile`).

use http::{Method, StatusCode};
use jiff::Timestamp;
use uuid::Uuid;

use super::exchange::Call;
use super::state::unanswered;
use super::{Answer, Upstream};
use crate::clock::rfc3339;
use crate::json::{self, Json};
use crate::limit::Taken;
use crate::operation::AccountId;
use crate::refusal::Refusal;

/// Rows on a page. The upstream gives at most 1,000; at some 2 KiB a row this is far below the usual bound on an answer.
const ROWS: usize = 500;

/// Bytes of a cursor that are taken: the upstream's have some hundred.
const MAX_CURSOR: usize = 4096;

/// Which page of which account's logs.
#[derive(Clone, Debug)]
pub struct LogsAsked<'a> {
    /// Whose.
    pub account: AccountId,
    /// Rows that are not older.
    pub since: Timestamp,
    /// Rows that are older.
    pub before: Timestamp,
    /// Where the page before this one ended.
    pub cursor: Option<&'a str>,
}

/// A page of the logs.
#[derive(Debug)]
pub struct LogPage {
    /// The rows as they came, in no order that could be relied on.
    pub rows: Vec<Json>,
    /// Where the next page begins; `None` on the last one.
    pub cursor: Option<String>,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogsUnread {
    /// The upstream does not answer, or does not let us. Asking for another page is of no use.
    Unanswered(String),
    /// It answered, and this can't be read.
    Unreadable(&'static str),
}

impl Upstream {
    /// Reads one page of an account's audit logs.
    ///
    /// # Errors
    /// [`LogsUnread`]
    pub async fn audit_logs(
        &self,
        taken: &Taken,
        asked: &LogsAsked<'_>,
        request_id: Uuid,
    ) -> Result<LogPage, LogsUnread> {
        let unanswered_by = |what: &str| LogsUnread::Unanswered(what.to_owned());
        let tokens = self.tokens();
        let Some(slot) = tokens.of(Some(asked.account)) else {
            return Err(unanswered_by("no token is configured for this account"));
        };
        let call = Call {
            name: "audit_logs",
            method: Method::GET,
            path: path(asked),
            body: None,
            new_hc_target: None,
            user_agent: None,
            request_id,
            traceparent: None,
            is_read: true,
        };
        let answer = self.call(slot, taken, &call).await.map_err(|failure| {
            if let Refusal::UpstreamAnswer(what) = failure.refusal {
                return LogsUnread::Unreadable(what);
            }
            let why = unanswered(&failure.refusal).map(str::to_owned);
            LogsUnread::Unanswered(why.unwrap_or_else(|| failure.refusal.message()))
        })?;
        page(&answer)
    }
}

fn path(asked: &LogsAsked<'_>) -> String {
    let LogsAsked { account, since, before, cursor } = asked;
    let (since, before) = (rfc3339(*since), rfc3339(*before));
    let mut path = format!("/accounts/{account}/logs/audit?since={since}&before={before}&limit={ROWS}");
    if let Some(cursor) = cursor {
        path.push_str("&cursor=");
        path.push_str(&encoded(cursor));
    }
    path
}

/// A text in a query: all but what RFC 3986 section 2.3 calls unreserved is percent-encoded.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(byte).collect()
}

fn page(answer: &Answer) -> Result<LogPage, LogsUnread> {
    let unanswered = |what: &str| Err(LogsUnread::Unanswered(what.to_owned()));
    match answer.status {
        status if status.is_success() => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return unanswered("the upstream does not let this token read the audit logs");
        }
        StatusCode::TOO_MANY_REQUESTS => return unanswered("the upstream throttles"),
        status => {
            return Err(LogsUnread::Unanswered(format!("the upstream answered with {}", status.as_u16())));
        }
    }
    let Ok(envelope) = json::read(&answer.body, json::MAX_DEPTH) else {
        return Err(LogsUnread::Unreadable("the upstream's answer is not strict JSON"));
    };
    if envelope.get("success").and_then(Json::as_bool) != Some(true) {
        return Err(LogsUnread::Unreadable("the upstream's answer is not a success"));
    }
    let rows = match envelope.get("result") {
        Some(Json::Array(rows)) => rows.clone(),
        // Go's empty list.
        Some(Json::Null) => Vec::new(),
        _ => return Err(LogsUnread::Unreadable("the upstream's answer holds no list of rows")),
    };
    let cursor = match envelope.pointer("/result_info/cursor") {
        None | Some(Json::Null) => None,
        Some(Json::String(cursor)) if cursor.is_empty() => None,
        Some(Json::String(cursor)) if cursor.len() <= MAX_CURSOR => Some(cursor.clone()),
        Some(_) => return Err(LogsUnread::Unreadable("the upstream's answer holds no usable cursor")),
    };
    Ok(LogPage { rows, cursor })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, want: Result<(usize, Option<&str>), &str>) {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            was_gzip: false,
            is_json: true,
            duration: std::time::Duration::ZERO,
        };
        let got = page(&answer);
        match (got, want) {
            (Ok(page), Ok((rows, cursor))) => {
                assert_eq!((page.rows.len(), page.cursor.as_deref()), (rows, cursor), "{body}");
            }
            (Err(LogsUnread::Unanswered(why)), Err(wanted)) => assert!(why.contains(wanted), "{why}"),
            (Err(LogsUnread::Unreadable(why)), Err(wanted)) => assert!(why.contains(wanted), "{why}"),
            (got, want) => panic!("{got:?}, not {want:?}"),
        }
    }

    #[test]
    fn only_a_whole_successful_envelope_is_a_page() {
        check(200, r#"{"success":true,"result":[{},{}],"result_info":{"cursor":"c"}}"#, Ok((2, Some("c"))));
        check(200, r#"{"success":true,"result":[],"result_info":{"cursor":""}}"#, Ok((0, None)));
        check(200, r#"{"success":true,"result":null}"#, Ok((0, None)));
        check(200, r#"{"success":true}"#, Err("no list"));
        check(200, r#"{"success":false,"result":[]}"#, Err("not a success"));
        check(200, r#"{"result":[]}"#, Err("not a success"));
        check(200, r#"{"success":true,"result":[],"result":[]}"#, Err("strict JSON"));
        check(200, "<html>", Err("strict JSON"));
        check(200, r#"{"success":true,"result":[],"result_info":{"cursor":7}}"#, Err("cursor"));
        let long =
            format!(r#"{{"success":true,"result":[],"result_info":{{"cursor":"{}"}}}}"#, "c".repeat(4097));
        check(200, &long, Err("cursor"));
        check(403, "{}", Err("does not let"));
        check(429, "{}", Err("throttles"));
        check(502, "<html>", Err("502"));
    }

    #[test]
    fn a_cursor_can_say_nothing_but_where_to_go_on() {
        let asked = LogsAsked {
            account: AccountId::parse("0a").unwrap(),
            since: Timestamp::UNIX_EPOCH,
            before: Timestamp::UNIX_EPOCH,
            cursor: Some("a=b&limit=1#/../ü\r\n"),
        };
        let time = "1970-01-01T00:00:00.000000Z";
        let want = format!(
            "/accounts/0a/logs/audit?since={time}&before={time}&limit=500&cursor=a%3Db%26limit%3D1%23%2F..%2F%C3%BC%0D%0A"
        );
        assert_eq!(path(&asked), want);
    }
}
