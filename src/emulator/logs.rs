//! Cloudflare's Audit Logs v2, as far as the product reads them: who wrote what, and by which `cf-ray`.
//!
//! As its documents warn, rows may come late or never (`fault`), and one may come twice; a ray stands there without its
//! airport. Source: Cloudflare API, "Audit Logs" (`GET /accounts/{id}/logs/audit`). Not here: the journal for tests
//! (`journal`).

use std::collections::VecDeque;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::answer::{Answer, Problem, Refused, object};
use super::fault::Logged;
use super::gate::Token;
use super::route::parameter;
use crate::clock::rfc3339;
use crate::json::{Json, Object};
use crate::operation::{AccountId, Operation};

/// One write, as the logs show it.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) account: AccountId,
    pub(super) operation: Operation,
    pub(super) tunnel: Option<String>,
    pub(super) time: Timestamp,
    pub(super) status: StatusCode,
    pub(super) ray: String,
    pub(super) uri: String,
    pub(super) user_agent: String,
    pub(super) address: String,
    pub(super) token: Token,
    /// The body, without PSKs.
    pub(super) request: Option<Json>,
}

impl Row {
    fn json(&self, id: u64) -> Json {
        let good = if self.status.is_success() { "success" } else { "failure" };
        let kind = match self.operation {
            Operation::Create => "create",
            Operation::Delete => "delete",
            Operation::List | Operation::Get => "view",
            Operation::BulkUpdate | Operation::Update | Operation::GeneratePsk | Operation::SetPsks => {
                "update"
            }
        };
        let action = object([
            ("description", Json::from(self.operation.name().replace('_', " "))),
            ("result", Json::from(good)),
            ("time", Json::from(rfc3339(self.time))),
            ("type", Json::from(kind)),
        ]);
        let actor = object([
            ("context", Json::from("api_token")),
            ("email", Json::from("owner@example.com")),
            ("ip_address", Json::from(self.address.as_str())),
            ("token_id", Json::from(self.token.id())),
            ("token_name", Json::from("emulator token")),
            ("type", Json::from(self.token.kind())),
        ]);
        let raw = object([
            ("cf_ray_id", Json::from(self.ray.split('-').next())),
            ("method", Json::from(self.operation.method().as_str())),
            ("status_code", Json::from(self.status.as_u16())),
            ("uri", Json::from(self.uri.as_str())),
            ("user_agent", Json::from(self.user_agent.as_str())),
        ]);
        let resource = object([
            ("id", self.tunnel.clone().map_or(Json::Null, Json::from)),
            ("product", Json::from("magic_transit")),
            ("request", self.request.clone().unwrap_or_else(|| object([]))),
            ("response", object([])),
            ("scope", Json::from("accounts")),
            ("type", Json::from("ipsec_tunnels")),
        ]);
        let account = object([("id", Json::from(self.account.as_str())), ("name", Json::from("Emulated"))]);
        object([
            ("id", Json::from(format!("{id:032x}"))),
            ("account", account),
            ("action", action),
            ("actor", actor),
            ("raw", raw),
            ("resource", resource),
        ])
    }
}

/// The upstream keeps PSKs out of its logs; `md5_key` is no secret to it and stays.
pub(super) fn without_psk(value: Json) -> Json {
    match value {
        Json::Object(object) => object
            .into_iter()
            .filter(|(name, _)| name != "psk")
            .map(|(name, value)| (name, without_psk(value)))
            .collect::<Object>()
            .into(),
        Json::Array(items) => Json::Array(items.into_iter().map(without_psk).collect()),
        plain @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => plain,
    }
}

/// All rows that are kept, oldest first.
#[derive(Default)]
pub(super) struct Logs {
    rows: VecDeque<Shown>,
    /// Rows that were let go, so that a row keeps its number.
    gone: u64,
}

/// A row, and from when on it is shown. One that is shown twice has one id.
struct Shown {
    id: u64,
    from: Timestamp,
    row: Row,
}

/// Rows that are kept.
const ROWS: usize = 10_000;
/// Rows on a page, by default and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

impl Logs {
    pub(super) fn add(&mut self, row: Row, how: Logged) {
        let (times, wait) = match how {
            Logged::AtOnce => (1, Duration::ZERO),
            Logged::After(wait) => (1, wait),
            Logged::Twice => (2, Duration::ZERO),
            Logged::Never => (0, Duration::ZERO),
        };
        let id = self.gone + self.rows.len() as u64;
        let from = row.time.checked_add(wait).unwrap_or(Timestamp::MAX);
        for _ in 0..times {
            self.rows.push_back(Shown { id, from, row: row.clone() });
            if self.rows.len() > ROWS {
                self.rows.pop_front();
                self.gone += 1;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.gone += self.rows.len() as u64;
        self.rows.clear();
    }

    /// One page as it is shown now, newest first.
    pub(super) fn page(
        &self,
        account: AccountId,
        query: Option<&str>,
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let since = time(query, "since")?;
        let before = time(query, "before")?;
        if before <= since {
            return Err(invalid("before must be later than since"));
        }
        let limit = match parameter(query, "limit") {
            None => PAGE,
            Some(text) => {
                let limit = text.parse().ok().filter(|n| (1..=PAGE_MAX).contains(n));
                limit.ok_or_else(|| invalid("limit must be a number from 1 to 1000"))?
            }
        };
        // A cursor is opaque to clients: the number of the last row that was shown.
        let below = match parameter(query, "cursor").filter(|text| !text.is_empty()) {
            None => u64::MAX,
            Some(text) => cursor(&text).ok_or_else(|| invalid("cursor is invalid"))?,
        };
        let numbered = self.rows.iter().enumerate().map(|(at, row)| (self.gone + at as u64, row));
        let mut found = numbered.rev().filter(|(number, Shown { from, row, .. })| {
            let asked = row.account == account && row.time >= since && row.time < before;
            asked && *from <= now && *number < below
        });
        let page: Vec<(u64, &Shown)> = found.by_ref().take(limit).collect();
        let more = found.next().is_some();
        let next = page.last().filter(|_| more).map(|(number, _)| encode(*number));
        let rows: Vec<Json> = page.iter().map(|(_, shown)| shown.row.json(shown.id)).collect();
        let info =
            object([("count", Json::from(rows.len())), ("cursor", Json::from(next.unwrap_or_default()))]);
        let body = object([
            ("success", Json::from(true)),
            ("errors", Json::Array(Vec::new())),
            ("messages", Json::Array(Vec::new())),
            ("result", Json::Array(rows)),
            ("result_info", info),
        ]);
        Ok(Answer::plain(StatusCode::OK, &body))
    }
}

fn encode(number: u64) -> String {
    data_encoding::BASE64URL_NOPAD.encode(&number.to_be_bytes())
}

fn cursor(text: &str) -> Option<u64> {
    let bytes = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn time(query: Option<&str>, name: &str) -> Result<Timestamp, Refused> {
    let text = parameter(query, name).ok_or_else(|| invalid(&format!("{name} is required")))?;
    let parsed = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
    parsed.map_err(|_| invalid(&format!("{name} must be a date or an RFC 3339 time")))
}

fn invalid(message: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, Problem::new(1001, message))
}
