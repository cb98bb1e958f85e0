//! Ten questions, as `QUESTIONS.md` writes them, asked four ways of the demo's day: each has one answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Row as _, TypeInfo as _, ValueRef as _,
};
use tunnelwarden::json::{self, Json, Object};

use crate::harness::{PATIENCE, on_a_server};

/// The demo after its day, still serving.
struct Demo {
    child: Child,
    dir: tempfile::TempDir,
    admin: String,
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Demo {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("demo");
        let out = dir.path().join("out");
        let child = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
            .args(["demo", "--script", "--dir", folder.to_str().unwrap()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut demo = Self { child, dir, admin: String::new() };
        let until = tokio::time::Instant::now() + 2 * PATIENCE;
        loop {
            let told = std::fs::read_to_string(&out).unwrap();
            if told.contains("Ctrl-C ends it") {
                let line = told.lines().find(|line| line.trim_start().starts_with("console ")).unwrap();
                let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
                demo.admin = address.to_owned();
                // The lost call is looked up two seconds after; then the day is over.
                if demo.sql("SELECT seq FROM entries WHERE kind = 'resolved'").await.len() == 1 {
                    return demo;
                }
            }
            assert!(demo.child.try_wait().unwrap().is_none(), "the demo ended:\n{told}");
            assert!(tokio::time::Instant::now() < until, "the demo's day does not end:\n{told}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn stop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
            let _ = self.child.wait();
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("demo").join(name)
    }

    /// Rows of a query on the live database, opened read-only.
    async fn sql(&self, query: &str) -> Vec<Json> {
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.file("audit.db")).read_only(true);
        let mut connection = options.connect().await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await.unwrap();
        let object = |row: &sqlx::sqlite::SqliteRow| {
            let mut object = Object::new();
            for (at, column) in row.columns().iter().enumerate() {
                let raw = row.try_get_raw(at).unwrap();
                let value = if raw.is_null() {
                    Json::Null
                } else if raw.type_info().name() == "INTEGER" {
                    Json::from(row.get::<i64, _>(at))
                } else {
                    Json::from(row.get::<String, _>(at))
                };
                object.set(column.name().to_owned(), value);
            }
            Json::Object(object)
        };
        rows.iter().map(object).collect()
    }

    fn terminal(&self, command: &str) -> Vec<Json> {
        let mut words = command.split_whitespace();
        assert_eq!(words.next(), Some("tunnelwarden"), "{command}");
        let told = Command::new(env!("CARGO_BIN_EXE_tunnelwarden")).args(words).env_clear().output().unwrap();
        assert!(told.status.success(), "{command}: {}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).unwrap().lines().map(parsed).collect()
    }

    async fn get(&self, path: &str, header: (&str, String)) -> String {
        use http_body_util::{BodyExt as _, Full};
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
        let request = http::Request::get(format!("http://{}{path}", self.admin)).header(header.0, header.1);
        let answer = client.request(request.body(Full::<bytes::Bytes>::default()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn http(&self, request: &str) -> Json {
        let path = request.strip_prefix("GET ").unwrap();
        parsed(&self.get(path, ("authorization", format!("Bearer {}", self.token()))).await)
    }

    /// The cells of a page's tables, and the address that each row leads to.
    async fn console(&self, path: &str) -> Vec<(Vec<String>, String)> {
        let page = self.get(path, ("cookie", format!("tunnelwarden-token={}", self.token()))).await;
        let mut rows = Vec::new();
        for body in page.split("<tbody").skip(1) {
            let body = body.split("</tbody>").next().unwrap();
            for row in body.split("<tr").skip(1) {
                let cells =
                    row.split("<td").skip(1).map(|cell| text_of(cell.split_once('>').unwrap().1)).collect();
                let link =
                    row.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
                rows.push((cells, link.to_owned()));
            }
        }
        rows
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.file("security.token")).unwrap().trim().to_owned()
    }
}

fn parsed(text: &str) -> Json {
    json::read(text.as_bytes(), 64).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// What a person reads in a piece of a page.
fn text_of(html: &str) -> String {
    let mut text = String::new();
    let mut tag = false;
    for c in html.chars() {
        match c {
            '<' => tag = true,
            '>' if tag => tag = false,
            c if !tag => text.push(c),
            _ => {}
        }
    }
    let plain = [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    plain.iter().fold(text, |text, (escaped, plain)| text.replace(escaped, plain)).trim().to_owned()
}

/// The page's questions, each with its four forms.
fn questions(demo: &Demo, tunnel: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let config = demo.file("tunnelwarden.toml");
    let page = include_str!("../../QUESTIONS.md")
        .replace("$TUNNEL", tunnel)
        .replace("$CONFIG", config.to_str().unwrap());
    let mut questions: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for part in page.split("\n## ").skip(1) {
        let title = part.lines().next().unwrap().to_owned();
        let mut forms = BTreeMap::new();
        for block in part.split("\n```").skip(1).step_by(2) {
            let (kind, text) = block.split_once('\n').unwrap();
            assert!(forms.insert(kind.to_owned(), text.to_owned()).is_none(), "{title}: {kind} twice");
        }
        let known = ["console", "http", "sql", "terminal"];
        assert!(forms.keys().filter(|kind| *kind != "sql postgres").eq(known), "{title}: {:?}", forms.keys());
        questions.push((title, forms));
    }
    questions
}

/// A view's row as SQL gives it, in the form that JSON has: its own types in place of their texts.
fn typed(row: &Json) -> Json {
    let mut typed = Object::new();
    for (name, value) in row.as_object().unwrap().iter() {
        let value = match (name, value) {
            (
                "teams" | "roles" | "policies" | "tunnels" | "fields" | "before" | "after",
                Json::String(text),
            ) => parsed(text),
            ("validate_only", Json::Number(_)) => Json::Bool(value.as_i64() == Some(1)),
            _ => value.clone(),
        };
        typed.set(name.to_owned(), value);
    }
    Json::Object(typed)
}

fn texts(rows: &[Json], names: &[&str]) -> Vec<Vec<String>> {
    let cell = |row: &Json, name: &&str| match row.get(name) {
        None | Some(Json::Null) => "-".to_owned(),
        Some(Json::String(text)) if !matches!(*name, "before" | "after") => text.clone(),
        Some(Json::Array(items)) if !matches!(*name, "before" | "after") => {
            items.iter().map(|item| item.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    rows.iter().map(|row| names.iter().map(|name| cell(row, name)).collect()).collect()
}

#[tokio::test]
async fn each_of_ten_questions_has_one_answer_however_it_is_asked() {
    let demo = Demo::start().await;
    let made = demo.sql("SELECT tunnel FROM changes WHERE operation = 'create'").await;
    let tunnel = made[0].get("tunnel").and_then(Json::as_str).unwrap().to_owned();
    // So that somebody has read by the time of the last question.
    demo.http("GET /api/v1/checkpoints").await;
    let questions = questions(&demo, &tunnel);
    assert_eq!(questions.len(), 10);
    for (at, (title, forms)) in questions.iter().enumerate() {
        let form = |kind: &str| forms[kind].as_str();
        let (sql, terminal) = (demo.sql(form("sql")).await, demo.terminal(form("terminal")));
        // Before the console, whose own reading is an entry too; after each other they read the same.
        let http = demo.http(form("http")).await;
        let console = demo.console(form("console")).await;
        assert!(!sql.is_empty(), "{title}: the day has an answer");
        match at + 1 {
            1..=6 => {
                let rows = http.get("rows").and_then(Json::as_array).unwrap();
                let sql: Vec<Json> = sql.iter().map(typed).collect();
                assert_eq!(rows, sql, "{title}: HTTP and SQL");
                assert_eq!(terminal, sql, "{title}: terminal and SQL");
                // The console shows some columns, and each row leads to its call.
                let shown: &[&str] = match at + 1 {
                    1 => &["subject", "operation", "field", "before", "after"],
                    2 => &["subject", "operation", "policies", "psk"],
                    3 => &["subject", "operation", "message", "client_address"],
                    4 | 6 => &["subject", "operation", "policies"],
                    _ => &["subject", "operation", "fields"],
                };
                let most = 50.min(sql.len());
                let told = texts(&sql[..most], shown);
                assert!(console.len() >= most, "{title}: {} of {most} rows", console.len());
                for ((cells, link), (row, told)) in console.iter().zip(sql.iter().zip(&told)) {
                    let request = row.get("request_id").and_then(Json::as_str).unwrap();
                    assert_eq!(*link, format!("/console/calls/{request}"), "{title}");
                    for text in told {
                        let short: String = text.chars().take(200).collect();
                        assert!(
                            cells.iter().any(|cell| cell.starts_with(&short)),
                            "{title}: {text} in {cells:?}"
                        );
                    }
                }
            }
            7 | 10 => {
                let entries = |rows: &[Json]| -> Vec<String> {
                    rows.iter()
                        .map(|row| {
                            row.get("entry")
                                .unwrap()
                                .as_str()
                                .map_or_else(|| row.get("entry").unwrap().to_string(), str::to_owned)
                        })
                        .collect()
                };
                let sql = entries(&sql);
                let mut terminal: Vec<String> = terminal.iter().map(ToString::to_string).collect();
                terminal.reverse();
                assert_eq!(terminal, sql, "{title}: terminal and SQL");
                // Asking over HTTP is an entry of its own, which is told of from then on.
                let mut http = entries(http.get("entries").and_then(Json::as_array).unwrap());
                http.drain(..http.len() - sql.len());
                assert_eq!(http, sql, "{title}: HTTP and SQL");
                let links: Vec<&String> = console.iter().map(|(_, link)| link).collect();
                let calls: Vec<String> = sql
                    .iter()
                    .map(|entry| {
                        format!(
                            "/console/calls/{}",
                            parsed(entry).get("request_id").unwrap().as_str().unwrap()
                        )
                    })
                    .collect();
                assert!(links.ends_with(&calls.iter().collect::<Vec<_>>()), "{title}: {links:?} {calls:?}");
            }
            8 => {
                let groups = http.get("groups").and_then(Json::as_array).unwrap();
                assert_eq!(groups, sql, "{title}: HTTP and SQL");
                let [terminal] = &terminal[..] else { panic!("{terminal:?}") };
                assert_eq!(
                    terminal.get("team").and_then(Json::as_array).unwrap(),
                    sql,
                    "{title}: terminal and SQL"
                );
                for told in texts(&sql, &["name", "calls", "refused", "failed"]) {
                    assert!(
                        console.iter().any(|(cells, _)| *cells == told),
                        "{title}: {told:?} in {console:?}"
                    );
                }
            }
            _ => {
                let tunnels = http.get("tunnels").and_then(Json::as_array).unwrap();
                let known: Vec<Json> =
                    tunnels.iter().filter(|key| key.get("changed") != Some(&Json::Null)).cloned().collect();
                assert_eq!(known, terminal, "{title}: HTTP and terminal");
                let names = ["tunnel", "by", "request_id"];
                assert_eq!(texts(&known, &names), texts(&sql, &names), "{title}: HTTP and SQL");
                let told = texts(&sql, &["tunnel", "by"]);
                assert_eq!(told.len(), 1, "{title}: one key is left");
                let shown = console.iter().any(|(cells, _)| told[0].iter().all(|text| cells.contains(text)));
                assert!(shown, "{title}: {told:?} in {console:?}");
            }
        }
    }
}

/// A row without its places, which another log gives otherwise, and with JSON in place of its texts.
fn placeless(row: &Json) -> Json {
    let mut bare = Object::new();
    for (name, value) in
        row.as_object().unwrap().iter().filter(|(name, _)| !matches!(*name, "seq" | "last_seq"))
    {
        let value = match value {
            Json::String(text) if text.starts_with(['[', '{', '"']) => parsed(text),
            Json::Bool(yes) => Json::from(i64::from(*yes)),
            Json::Null | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => {
                value.clone()
            }
        };
        bare.set(name.to_owned(), value);
    }
    Json::Object(bare)
}

#[tokio::test]
async fn the_questions_in_sql_have_the_same_answers_where_the_record_is_on_a_server() {
    let Some(to) = on_a_server("before") else { return };
    let mut demo = Demo::start().await;
    let made = demo.sql("SELECT tunnel FROM changes WHERE operation = 'create'").await;
    let tunnel = made[0].get("tunnel").and_then(Json::as_str).unwrap().to_owned();
    demo.http("GET /api/v1/checkpoints").await;
    demo.stop();
    let (from, key) =
        (format!("sqlite:{}", demo.file("audit.db").display()), demo.file("audit-signing.key.pub"));
    let copied = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
        .args([
            "audit",
            "copy",
            "--from",
            &from,
            "--to",
            &to.to_string(),
            "--public-key",
            key.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let options: sqlx::postgres::PgConnectOptions = to.to_string().parse().unwrap();
    let mut connection = options.options([("search_path", "tunnelwarden")]).connect().await.unwrap();
    let mut written_apart = 0;
    for (title, forms) in questions(&demo, &tunnel) {
        let apart = forms.get("sql postgres");
        written_apart += usize::from(apart.is_some());
        let text = apart.unwrap_or(&forms["sql"]).trim_end().trim_end_matches(';');
        let query = format!("SELECT row_to_json(answer)::text FROM ({text}) AS answer");
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap();
        let there: Vec<Json> = rows.iter().map(|row| placeless(&parsed(row))).collect();
        let here: Vec<Json> = demo.sql(&forms["sql"]).await.iter().map(placeless).collect();
        assert_eq!(there, here, "{title}");
    }
    assert_eq!(written_apart, 3);
    connection.close().await.unwrap();
}
