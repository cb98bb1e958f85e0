//! Indexes that don't hold what the entries make: each is found, though the log itself is whole.

use super::*;
use crate::store::{INDEXES, LogId};

/// Entries of all kinds that have a place in some index.
fn varied(n: u64) -> String {
    let id = |n: u64| uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n));
    let head = |kind: &str, call: u64| {
        format!(
            r#"{{"kind":"{kind}","id":"{}","time":"2026-01-01T00:00:00.{n:06}Z","request_id":"{}""#,
            id(n),
            id(call)
        )
    };
    let caller = format!(r#","subject":"s{}","tunnels":[{{"id":"t{}","name":"ü{}"}}]"#, n % 3, n % 5, n % 4);
    match n % 8 {
        0 => format!(r#"{}{caller},"request_key":"k{n}"}}"#, head("intent", n)),
        1 => format!(r#"{}{caller},"intent_id":"{}","ambiguous":true}}"#, head("outcome", n - 1), id(n - 1)),
        2 => format!(r#"{}{caller},"refusal":{{"name":"forbidden"}}}}"#, head("refusal", n)),
        3 => format!(r#"{},"refusal":{{"name":"no_token","pointer":null}}}}"#, head("refusal", n)),
        4 => {
            let third = if n % 16 == 4 { "" } else { r#",{"id":"t3"}"# };
            let tunnels = format!(r#","tunnels":[{{"id":"t1"}},{{"id":"t2","name":"x"}}{third}]"#);
            format!(r#"{},"subject":"a \"quoted\" one"{tunnels}}}"#, head("outcome", n))
        }
        5 => format!("{}}}", head("heartbeat", n)),
        6 => format!(r#"{},"subject":null,"tunnels":[],"ambiguous":false}}"#, head("outcome", n)),
        _ => format!(r#"{}{caller}}}"#, head("outcome", n)),
    }
}

async fn log(more: Option<String>) -> (tempfile::TempDir, PathBuf, crate::seal::Verifier) {
    sealed((0..400).map(varied).chain(more).collect()).await
}

/// Whether the indexes are told to agree without the database's own check.
async fn agree(database: &Path) -> indexes::Agree {
    let reader = Reader::open(database).await.unwrap();
    let mut snapshot = reader.snapshot(&LogId::single()).await.unwrap();
    let mut indexes = indexes::Indexes::default();
    let (mut from, mut seq) = (0, 0);
    while let Some(last) = snapshot.entries(from).await.unwrap().last().map(|entry| entry.seq) {
        for entry in snapshot.entries(from).await.unwrap() {
            let text = entry.entry.unwrap();
            form::check_form(&text, &mut |members| indexes.add(seq, members)).unwrap();
            seq += 1;
        }
        from = last + 1;
    }
    let agree = indexes.agree(&mut snapshot).await.unwrap();
    snapshot.end().await;
    reader.close().await;
    agree
}

#[tokio::test]
async fn every_index_of_the_entries_is_compared() {
    let (_directory, database, _) = log(None).await;
    let mut connection = connect(&database).await;
    let of_schema =
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'entries' ORDER BY name";
    let of_schema: Vec<String> = sqlx::query_scalar(of_schema).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut compared = INDEXES.map(|index| index.name);
    compared.sort_unstable();
    assert_eq!(of_schema, compared);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_that_are_whole_agree_with_the_entries() {
    let (_directory, database, verifier) = log(None).await;
    assert_eq!(agree(&database).await, indexes::Agree::Yes);
    assert!(verified(&database, &Evidence::of(verifier.clone())).await.is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_unusual_the_database_itself_is_asked() {
    for member in [r#""tunnels":{"id":"x"}"#, r#""subject":"a\u0000b""#, r#""refusal":"x""#] {
        let entry = varied(405).replace('}', &format!(",{member}}}"));
        let (_directory, database, verifier) = log(Some(entry)).await;
        assert_eq!(agree(&database).await, indexes::Agree::Unsure, "{member}");
        let report = verified(&database, &Evidence::of(verifier.clone())).await;
        assert_eq!(report.good, 401, "{report:?}");
        assert!(report.is_sound(), "{member}: {report:?}");
    }
}

/// Makes the index anew by another rule, and puts the right one into the schema.
async fn remake(database: &Path, name: &str, columns: &str, only: &str) {
    let mut connection = connect(database).await;
    let query = "SELECT sql FROM sqlite_schema WHERE name = ?";
    let right: String = sqlx::query(query).bind(name).fetch_one(&mut connection).await.unwrap().get(0);
    let script = format!(
        "DROP INDEX {name}; CREATE INDEX {name} ON entries ({columns}) WHERE {only};
         PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = '{}' WHERE name = '{name}';
         PRAGMA writable_schema = RESET",
        right.replace('\'', "''")
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_lacks_an_entry_or_has_another_or_one_more_is_found() {
    for index in &INDEXES {
        let columns = index.columns().join(", ");
        let of = |only: &str| format!("({}) AND {only}", index.only());
        let first = format!("(SELECT min(seq) FROM entries WHERE {})", index.only());
        // A subquery has no place in an index: the number is asked for first.
        let (_directory, database, verifier) = log(None).await;
        let mut connection = connect(&database).await;
        let seq: i64 = sqlx::query(AssertSqlSafe(format!("SELECT {first}")))
            .fetch_one(&mut connection)
            .await
            .unwrap()
            .get(0);
        connection.close().await.unwrap();
        let copy = std::fs::read(&database).unwrap();

        // Lacks one.
        remake(&database, index.name, &columns, &of(&format!("seq <> {seq}"))).await;
        let found = verified(&database, &Evidence::of(verifier.clone())).await;
        assert!(!found.is_sound() && found.first_bad.is_none(), "{} lacks one: {found:?}", index.name);

        // Has one under another key.
        std::fs::write(&database, &copy).unwrap();
        let mut other = index.columns().to_vec();
        let wrong = format!("CASE seq WHEN {seq} THEN {0} || 'x' ELSE {0} END", other[0]);
        other[0] = &wrong;
        remake(&database, index.name, &other.join(", "), index.only()).await;
        let found = verified(&database, &Evidence::of(verifier.clone())).await;
        assert!(!found.is_sound() && found.first_bad.is_none(), "{} has another: {found:?}", index.name);

        // Has more than it ought to.
        if index.only() != "1" {
            std::fs::write(&database, &copy).unwrap();
            remake(&database, index.name, &columns, "seq >= 0").await;
            let found = verified(&database, &Evidence::of(verifier.clone())).await;
            assert!(!found.is_sound() && found.first_bad.is_none(), "{} has more: {found:?}", index.name);
        }

        // Is not in order.
        std::fs::write(&database, &copy).unwrap();
        let descending = index.columns().iter().map(|column| format!("{column} DESC")).collect::<Vec<_>>();
        remake(&database, index.name, &descending.join(", "), index.only()).await;
        let found = verified(&database, &Evidence::of(verifier.clone())).await;
        assert!(!found.is_sound() && found.first_bad.is_none(), "{} is in no order: {found:?}", index.name);
    }
}

/// What is compared must come from the index and not be computed anew from the entry.
#[tokio::test]
async fn an_index_is_read_without_a_look_at_the_entries() {
    let (_directory, database, _) = log(None).await;
    let mut connection = connect(&database).await;
    connection.lock_handle().await.unwrap().create_collation("seen", std::cmp::Ord::cmp).unwrap();
    for index in &INDEXES {
        let plan = format!("EXPLAIN {}", index.rows());
        let rows = sqlx::query(AssertSqlSafe(plan)).fetch_all(&mut connection).await.unwrap();
        for row in rows {
            let (code, p4): (String, Option<String>) = (row.get(1), row.get(5));
            assert!(!p4.is_some_and(|p4| p4.starts_with("json")), "{}: {code}", index.name);
            assert!(code != "Sort" && code != "SorterOpen" && code != "FinishSeek", "{}: {code}", index.name);
        }
    }
    connection.close().await.unwrap();
}
