//! Reading back: filters, lost calls, one-shot calls, and the views, over one small log of every kind of entry, in each of
//! the databases.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::conformance::{clock, signer};
use super::*;
use crate::entry::Kind;
use crate::operation::Operation;

pub(super) const BERLIN: &str = "c4a7362d577a6c3019a474fd6f485821";
pub(super) const OSLO: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

pub(super) fn id(n: u32) -> String {
    uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n)).to_string()
}

/// An entry of call `call`, `minute` minutes past ten.
fn entry(kind: &str, n: u32, call: u32, minute: u32, members: &str) -> String {
    format!(
        r#"{{"kind":"{kind}","id":"{}","time":"2026-01-01T10:{minute:02}:00.000000Z","request_id":"{}",{members}}}"#,
        id(n),
        id(call)
    )
}

fn settings(database: impl Into<Database>) -> Settings {
    Settings {
        database: database.into(),
        checkpoint_files: Vec::new(),
        append_timeout: Duration::from_secs(10),
    }
}

pub(super) struct Log {
    directory: tempfile::TempDir,
    pub(super) reader: Reader,
    /// The `seq` of each entry.
    seqs: Vec<u64>,
}

impl Log {
    /// In a file.
    pub(super) async fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("audit.db").into();
        Self::over(database, directory).await
    }

    /// One in each database that can be had.
    async fn in_each() -> Vec<Self> {
        let mut logs = vec![Self::make().await];
        if let Some(database) = record::postgres("a").await {
            logs.push(Self::over(database, tempfile::tempdir().unwrap()).await);
        }
        logs
    }

    async fn over(database: Database, directory: tempfile::TempDir) -> Self {
        let store = Store::open(settings(&database), signer(), clock()).await.unwrap();
        store.append(entries()).await.unwrap();
        store.close().await;
        let reader = Reader::open(&database).await.unwrap();
        let mut seqs = reader.find(&Filter::default()).await.unwrap();
        seqs.reverse();
        assert_eq!(seqs.len(), entries().len());
        Self { directory, reader, seqs }
    }

    /// Which entries these are.
    fn which(&self, seqs: impl IntoIterator<Item = u64>) -> Vec<usize> {
        seqs.into_iter().map(|seq| self.seqs.binary_search(&seq).unwrap()).collect()
    }

    /// The rows of a query, their cells as text.
    async fn view(&self, sql: &str) -> Vec<String> {
        if let Database::Postgres(server) = self.reader.database() {
            let mut connection = super::postgres::connect(server).await.unwrap();
            sqlx::raw_sql("SET search_path = tunnelwarden").execute(&mut connection).await.unwrap();
            let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
            let cell = |row: &sqlx::postgres::PgRow, i| row.get::<Option<String>, _>(i).unwrap_or("-".into());
            return rows
                .iter()
                .map(|row| (0..row.len()).map(|i| cell(row, i)).collect::<Vec<_>>().join(" "))
                .collect();
        }
        let path = self.directory.path().join("audit.db");
        let mut connection =
            sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        let cell = |row: &sqlx::sqlite::SqliteRow, i| row.get::<Option<String>, _>(i).unwrap_or("-".into());
        rows.iter().map(|row| (0..row.len()).map(|i| cell(row, i)).collect::<Vec<_>>().join(" ")).collect()
    }

    /// The steps by which a query would be answered.
    pub(super) async fn plan(&self, query: &str) -> Vec<String> {
        let path = self.directory.path().join("audit.db");
        let mut connection =
            sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let rows = sqlx::query(plan).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get("detail")).collect()
    }
}

fn entries() -> Vec<String> {
    // The identity provider may let people choose what they are called.
    let ann = r#""subject":"ann","teams":["net","core"],"roles":["admin","redacted:psk:0011:ffff"],"account":"abc","policies":["p1"]"#;
    let berlin = format!(r#""tunnels":[{{"id":"{BERLIN}","name":"berlin"}}]"#);
    let both = format!(r#""tunnels":[{{"id":"{OSLO}"}},{{"id":"{BERLIN}","name":"berlin"}}]"#);
    let description = r#"{"op":"replace","path":"/description","old":"a","value":"b"}"#;
    let protection = r#"{"op":"add","path":"/replay_protection","value":true}"#;
    let patch = format!(r#"[{{"tunnel":"{BERLIN}","patch":[{description},{protection}]}}]"#);
    let psk = "redacted:psk:0011:aabb";
    let ended = |n: u32| format!(r#""intent_id":"{}","status":200"#, id(n));
    let bodies = format!(r#""request":{{"body":{{"psk":"{psk}"}}}},"response":{{"body":{{"psk":"{psk}"}}}}"#);
    vec![
        entry("started", 1, 1, 0, r#""version":"0""#),
        entry("intent", 2, 10, 1, &format!(r#"{ann},"operation":"update",{berlin}"#)),
        entry(
            "outcome",
            3,
            10,
            2,
            &format!(r#"{ann},"operation":"update",{berlin},{},"before_after_diff":{patch}"#, ended(2)),
        ),
        entry(
            "refusal",
            4,
            11,
            3,
            r#""subject":"bob","teams":["web"],"operation":"delete","status":403,"refusal":{"name":"forbidden","code":9}"#,
        ),
        entry(
            "intent",
            5,
            12,
            4,
            &format!(r#"{ann},"operation":"generate_psk",{berlin},"request_key":"k1""#),
        ),
        entry("intent", 6, 13, 5, &format!(r#"{ann},"operation":"bulk_update",{both}"#)),
        entry("intent", 7, 14, 6, &format!(r#"{ann},"operation":"create","request_key":"k2""#)),
        entry("outcome", 8, 14, 7, &format!(r#"{ann},"operation":"create",{},{bodies}"#, ended(7))),
        entry("outcome", 9, 15, 8, r#""subject":"bob","teams":["web"],"operation":"list","status":200"#),
        entry("resolved", 20, 13, 9, &format!(r#""intent_id":"{}","resolution":"applied""#, id(6))),
    ]
}

#[tokio::test]
async fn each_filter_finds_its_entries() {
    for log in Log::in_each().await {
        let none = Filter::default;
        let time = |text: &str| Some(text.parse().unwrap());
        for (filter, expected) in [
            (none(), &[9usize, 8, 7, 6, 5, 4, 3, 2, 1, 0][..]),
            (Filter { limit: Some(3), ..none() }, &[9, 8, 7]),
            (Filter { after: Some(log.seqs[7]), ..none() }, &[8, 9]),
            (Filter { after: Some(log.seqs[2]), limit: Some(2), ..none() }, &[3, 4]),
            (Filter { since: time("2026-01-01T10:08:00Z"), ..none() }, &[9, 8]),
            (Filter { until: time("2026-01-01T10:01:00Z"), ..none() }, &[0]),
            (Filter { subject: Some("bob".into()), ..none() }, &[8, 3]),
            (Filter { subject: Some("bo".into()), ..none() }, &[]),
            (Filter { subject: Some("' OR 1 --".into()), ..none() }, &[]),
            (Filter { team: Some("core".into()), kind: Some(Kind::Outcome), ..none() }, &[7, 2]),
            (Filter { tunnel: Some(BERLIN.into()), ..none() }, &[5, 4, 2, 1]),
            (Filter { tunnel: Some("berlin".into()), ..none() }, &[5, 4, 2, 1]),
            (Filter { tunnel: Some(OSLO.into()), ..none() }, &[5]),
            (Filter { operation: Some(Operation::Create), ..none() }, &[7, 6]),
            (Filter { before: Some(log.seqs[3]), ..none() }, &[2, 1, 0]),
            (
                Filter { since: time("2026-01-01T10:02:00Z"), until: time("2026-01-01T10:04:00Z"), ..none() },
                &[3, 2],
            ),
            (Filter { since: time("2026-01-01T11:00:00Z"), ..none() }, &[]),
            (Filter { until: time("2026-01-01T09:00:00Z"), ..none() }, &[]),
            (Filter { kind: Some(Kind::Refusal), ..none() }, &[3]),
        ] {
            assert_eq!(log.which(log.reader.find(&filter).await.unwrap()), expected, "{filter:?}");
        }
    }
}

#[tokio::test]
async fn a_call_is_found_by_its_request_id_and_by_each_entry() {
    for log in Log::in_each().await {
        for wanted in [id(10), id(2), id(3)] {
            let rows = log.reader.get(&wanted).await.unwrap();
            assert_eq!(log.which(rows.iter().map(|row| row.seq)), [1, 2], "{wanted}");
        }
        assert!(log.reader.get("nothing").await.unwrap().is_empty());
        assert_eq!(log.reader.tunnels_named("berlin").await.unwrap(), [BERLIN]);
        assert!(log.reader.tunnels_named("nobody").await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn lost_calls_and_one_shot_calls_are_told() {
    for log in Log::in_each().await {
        let lost = log.reader.intents_without_outcome(0).await.unwrap();
        assert_eq!(lost.len(), 1);
        assert!(lost[0].entry.contains("generate_psk"), "{lost:?}");
        let since = "2026-01-01T10:00:00Z".parse().unwrap();
        let calls = log.reader.one_shot_since(since).await.unwrap();
        assert_eq!(calls.len(), 2);
        assert!(calls[0].0.contains("generate_psk") && calls[0].1.is_none());
        assert!(calls[1].1.as_ref().unwrap().contains("\"status\":200"));
        let later = "2026-01-01T10:05:00Z".parse().unwrap();
        assert_eq!(log.reader.one_shot_since(later).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_newest_mark_tells_from_where_on_intents_are_looked_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = Some(Database::from(directory.path().join("audit.db")));
    for database in [file, record::postgres("a").await].into_iter().flatten() {
        let store = Store::open(settings(&database), signer(), clock()).await.unwrap();
        let reader = Reader::open(&database).await.unwrap();
        assert_eq!(reader.ended_before().await.unwrap(), 0);
        for (seq, (kind, members, expected)) in [
            ("started", r#""version":"0""#, 0),
            ("intent", r#""operation":"update""#, 0),
            ("heartbeat", r#""ended_before":1"#, 1),
            ("intent", r#""operation":"update""#, 1),
            ("started", r#""ended_before":3"#, 3),
            ("outcome", r#""ended_before":5"#, 3),
            // Of what comes after it nothing can be told, and by what is no place neither.
            ("heartbeat", r#""ended_before":7"#, 0),
            ("heartbeat", r#""ended_before":-1"#, 0),
            ("heartbeat", r#""ended_before":8"#, 8),
        ]
        .into_iter()
        .enumerate()
        {
            let n = u32::try_from(seq).unwrap();
            store.append(vec![entry(kind, n, n, n, members)]).await.unwrap();
            assert_eq!(reader.ended_before().await.unwrap(), expected, "{seq}");
        }
        let lost = |from| {
            let reader = reader.clone();
            async move {
                let rows = reader.intents_without_outcome(from).await.unwrap();
                rows.iter().map(|row| row.seq).collect::<Vec<_>>()
            }
        };
        assert_eq!(lost(0).await, [1, 3]);
        assert_eq!(lost(2).await, [3]);
        assert_eq!(lost(4).await, [0; 0]);
        reader.close().await;
        store.close().await;
    }
}

#[tokio::test]
async fn the_views_answer_the_everyday_questions() {
    for log in Log::in_each().await {
        let requests =
            log.view("SELECT operation, ended, CAST(status AS TEXT) FROM requests ORDER BY seq").await;
        let expected = [
            "update outcome 200",
            "delete refusal 403",
            "generate_psk open -",
            "bulk_update resolved -",
            "create outcome 200",
            "list outcome 200",
        ];
        assert_eq!(requests, expected);
        let changes =
            log.view("SELECT subject, tunnel, field, before, after FROM changes ORDER BY field").await;
        let ann = |rest: &str| format!("ann {BERLIN} {rest}");
        assert_eq!(changes, [ann("/description \"a\" \"b\""), ann("/replay_protection - true")]);
        let psks = log.view("SELECT operation, ended, psk FROM psk_events ORDER BY seq").await;
        assert_eq!(psks, ["generate_psk open -", "create outcome redacted:psk:0011:aabb"]);
        let of = |tunnel| {
            format!(
                "SELECT operation, kind, name, fields, psk FROM tunnel_history WHERE tunnel = '{tunnel}' ORDER BY seq"
            )
        };
        let history = log.view(&of(BERLIN)).await;
        let history: Vec<_> = history.into_iter().map(|row| row.replace("\", \"", "\",\"")).collect();
        assert_eq!(history, [r#"update outcome berlin ["/description","/replay_protection"] -"#]);
        if log.reader.database().file().is_some() {
            let plan = log.plan(&of(BERLIN)).await.join("\n");
            assert!(plan.contains("entries_tunnel") && plan.contains("entries_bulk"), "{plan}");
            assert!(!plan.contains("SCAN entries\n"), "{plan}");
        }
        let refusals = log.view("SELECT subject, refusal, CAST(code AS TEXT) FROM refusals").await;
        assert_eq!(refusals, ["bob forbidden 9"]);
    }
}

/// The rows of a view that fit, page by page, and how many rows each page had.
async fn pages(log: &Log, view: View, filter: &Filter, field: Option<&str>) -> (Vec<String>, Vec<usize>) {
    let (mut texts, mut sizes) = (Vec::new(), Vec::new());
    let mut filter = filter.clone();
    loop {
        let page = log.reader.view(view, &filter, field, 1).await.unwrap();
        sizes.push(page.rows.len());
        let cell =
            |row: &crate::json::Object, name| row.get(name).map(ToString::to_string).unwrap_or_default();
        let text = |row: &crate::json::Object| {
            let seq = row.get("seq").and_then(crate::json::Json::as_i64).unwrap();
            let cells = ["operation", "tunnel", "field"].map(|name| cell(row, name));
            format!("{} {}", log.which([seq.cast_unsigned()])[0], cells.join(" "))
        };
        texts.extend(page.rows.iter().map(text));
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return (texts, sizes),
        }
    }
}

#[tokio::test]
async fn a_view_is_read_page_by_page_newest_first() {
    for log in Log::in_each().await {
        let none = Filter::default;
        let shown =
            |texts: Vec<String>| texts.into_iter().map(|text| text.trim().to_owned()).collect::<Vec<_>>();
        let (rows, sizes) = pages(&log, View::Requests, &none(), None).await;
        assert_eq!(
            shown(rows),
            [
                r#"8 "list" null"#.to_owned(),
                r#"6 "create" null"#.to_owned(),
                format!(r#"5 "bulk_update" "{OSLO}""#),
                format!(r#"4 "generate_psk" "{BERLIN}""#),
                r#"3 "delete" null"#.to_owned(),
                format!(r#"1 "update" "{BERLIN}""#),
            ]
        );
        assert_eq!(sizes, [1, 1, 1, 1, 1, 1]);
        let berlin = Filter { tunnel: Some(BERLIN.into()), ..none() };
        let update = |field: &str| format!(r#"2 "update" "{BERLIN}" "{field}""#);
        let (rows, sizes) = pages(&log, View::Changes, &berlin, None).await;
        assert_eq!(
            (shown(rows), sizes),
            (vec![update("/description"), update("/replay_protection")], vec![2])
        );
        let (rows, _) = pages(&log, View::Changes, &none(), Some("/description")).await;
        assert_eq!(shown(rows), [update("/description")]);
        let (rows, _) = pages(&log, View::TunnelHistory, &berlin, None).await;
        assert_eq!(shown(rows), [format!(r#"2 "update" "{BERLIN}""#)]);
        let (rows, _) = pages(&log, View::PskEvents, &none(), None).await;
        assert_eq!(shown(rows), [r#"6 "create" null"#.to_owned(), format!(r#"4 "generate_psk" "{BERLIN}""#)]);
        let bob = Filter { subject: Some("bob".into()), ..none() };
        let (rows, _) = pages(&log, View::Refusals, &bob, None).await;
        assert_eq!(shown(rows), [r#"3 "delete" null"#]);
    }
}

#[tokio::test]
async fn a_reader_reads_while_the_writer_writes_and_from_a_copy_without_a_wal() {
    let (directory, signer) = (tempfile::tempdir().unwrap(), signer());
    let database = directory.path().join("audit.db");
    let settings = settings(&database);
    let store = Store::open(settings, Arc::clone(&signer), clock()).await.unwrap();
    let reader = Reader::open(&database).await.unwrap();
    for n in 0..5 {
        store.append(vec![super::conformance::entry(n)]).await.unwrap();
        assert_eq!(reader.find(&Filter::default()).await.unwrap().len(), n + 1);
    }
    reader.close().await;
    store.close().await;
    let copy = directory.path().join("copy.db");
    std::fs::copy(&database, &copy).unwrap();
    let reader = Reader::open(&copy).await.unwrap();
    assert_eq!(reader.list(&Filter::default()).await.unwrap().len(), 5);
    let missing = Reader::open(&directory.path().join("missing.db")).await.unwrap_err();
    assert_eq!(missing.fault, StoreError::Unopenable);
    assert!(!directory.path().join("missing.db").exists());
}
