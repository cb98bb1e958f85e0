//! Whatever text the record holds, a terminal shows it and obeys none of it, and a spreadsheet computes none of it.

use super::*;
use crate::inspect::read_entry;
use crate::json::{Json, Object};

/// What a terminal, a spreadsheet or a reader could be led by: escapes, control characters of eight bits, turns of the
/// reading order, ends of lines, invisible marks.
const LEADS: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\r\n\t\0\u{8}\u{85}\u{2028}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}\"',;|&<b>";

/// How a cell begins that a spreadsheet takes for a formula.
const FORMULAS: [&str; 8] = ["=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "＠x"];

const TUNNEL: &str = "c4a7362d577a6c3019a474fd6f485821";

fn hostile(nth: usize) -> String {
    format!("{}{LEADS}", FORMULAS[nth % FORMULAS.len()])
}

/// The entry with each text in it replaced but those that a client can't choose.
fn poisoned(value: &Json, name: &str, nth: &mut usize) -> Json {
    const OURS: [&str; 11] = [
        "kind",
        "id",
        "time",
        "request_id",
        "intent_id",
        "operation",
        "op",
        "tunnel",
        "resolution",
        "account",
        "what",
    ];
    match value {
        Json::String(_) if OURS.contains(&name) => value.clone(),
        Json::String(text) => {
            *nth += 1;
            // As long as a body that is taken, once.
            if text == "LONG" {
                hostile(*nth).repeat((1 << 20) / LEADS.len()).into()
            } else {
                hostile(*nth).into()
            }
        }
        Json::Array(items) => Json::Array(items.iter().map(|item| poisoned(item, name, nth)).collect()),
        Json::Object(members) => {
            let member = |(name, value): (&str, &Json)| (name.to_owned(), poisoned(value, name, nth));
            Json::Object(members.iter().map(member).collect::<Object>())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
    }
}

fn id(n: u32) -> String {
    uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n)).to_string()
}

fn entries() -> Vec<String> {
    let caller = r#""subject":"s","teams":["t","u"],"roles":["r"],"issuer":"i","jti":"j","key_id":"k",
        "client_address":"c","user_agent":"a","policies":["p"],"policy_digest":"d","decision":"allow""#;
    let tunnels = format!(r#""tunnels":[{{"id":"{TUNNEL}","name":"n"}}]"#);
    let patch = r#"[{"op":"replace","path":"/description","old":"a","value":"b"},{"op":"add","path":"/x","value":{"y":"z"}}]"#;
    let call = format!(r#"{caller},"operation":"update","account":"0a",{tunnels}"#);
    let finding = format!(
        r#"{{"what":"bypass","key":"k","account":"0a","tunnels":[{{"id":"{TUNNEL}","name":"n"}}],"method":"m","path":"p",
            "actor":{{"email":"e","token_name":"t"}},"user_agent":"u","cf_ray":"c"}}"#
    );
    let whole = [
        (
            "refusal",
            1,
            format!(
                r#"{caller},"method":"m","path":"p","status":403,"refusal":{{"name":"n","message":"LONG","pointer":"p"}}"#
            ),
        ),
        (
            "intent",
            2,
            format!(
                r#"{call},"request":{{"size":1,"body":{{"description":"d","list":["x"]}}}},
            "state_before":[{{"id":"i","name":"n"}}],"expected":[{{"tunnel":"{TUNNEL}","replaces_key":true}}]"#
            ),
        ),
        (
            "outcome",
            3,
            format!(
                r#"{call},"intent_id":"{}","status":200,"sent":"yes","upstream":{{"status":200,"cf_ray":"c"}},
            "before_after_diff":[{{"tunnel":"{TUNNEL}","patch":{patch}}}],"request_response_diff":[{{"tunnel":"{TUNNEL}","patch":{patch}}}],
            "results":[{{"tunnel":"{TUNNEL}","applied":false,"reason":"r"}}],"response":{{"body":{{"errors":[{{"message":"m"}}]}}}}"#,
                id(2)
            ),
        ),
        (
            "resolved",
            4,
            format!(
                r#"{call},"intent_id":"{}","resolution":"applied","evidence":[{{"why":"w"}}],"before_after_diff":[]"#,
                id(2)
            ),
        ),
        (
            "reconciled",
            5,
            format!(
                r#"{tunnels},"findings":[{finding}],"settled":["s"],"accounts":[{{"account":"0a","holes":[{{"why":"w"}}]}}]"#
            ),
        ),
        ("audit_read", 6, format!(r#"{caller},"status":200,"query":"q""#)),
        (
            "refusal",
            7,
            r#""refused_token":{"subject":"s","issuer":"i","jti":"j","key_id":"k"},"client_address":"c",
                "client_certificate":"c","method":"m","path":"p","status":401,"refusal":{"name":"n","message":"m"}"#
                .to_owned(),
        ),
        (
            "reload_refused",
            8,
            r#""problems":[{"of":"o","what":"w","keys":["k","l"],"found":"f","in_force":"i"},{"of":"o","what":"w"}]"#
                .to_owned(),
        ),
    ];
    let mut nth = 0;
    let text = |(kind, n, members): &(&str, u32, String)| {
        let request = if *n > 2 && *n < 5 { 2 } else { *n };
        let entry = format!(
            r#"{{"kind":"{kind}","id":"{}","time":"2026-01-01T00:00:0{n}.000000Z","request_id":"{}",{members}}}"#,
            id(*n),
            id(request)
        );
        poisoned(&read_entry(entry.as_bytes()).unwrap(), "", &mut nth).to_text()
    };
    whole.iter().map(text).collect()
}

#[track_caller]
fn harmless(command: &str, said: &str) {
    let led = |c: &char| {
        let control = c.is_control() && *c != '\n';
        control || LEADS.chars().any(|lead| lead == *c && !c.is_ascii())
    };
    let found = said.char_indices().find(|(_, c)| led(c));
    let near = |at: usize| said[..at].chars().rev().take(40).collect::<String>();
    assert_eq!(found, None, "{command}: behind (reversed) {:?}", found.map(|(at, _)| near(at)));
}

/// The cells of a row (RFC 4180).
fn cells(row: &str) -> Vec<String> {
    let inside = row.strip_prefix('"').and_then(|row| row.strip_suffix('"')).unwrap();
    inside.split("\",\"").map(|cell| cell.replace("\"\"", "\"")).collect()
}

#[tokio::test]
async fn no_text_of_the_record_leads_a_terminal_or_a_spreadsheet() {
    let bench = Bench::with(entries()).await;
    let count = entries().len();
    let shows: Vec<String> = (1..=8)
        .flat_map(|n| ["", " --full"].map(|how| format!("show --database @audit.db {}{how}", id(n))))
        .collect();
    let others = [
        "list --database @audit.db",
        "list --database @audit.db --utc",
        "tail --database @audit.db",
        "stats --database @audit.db",
        "psk-age --database @audit.db",
        "diff --database @audit.db",
        &format!("history --database @audit.db {TUNNEL}"),
        &format!("diff --database @audit.db {}", id(2)),
    ];
    for command in others.into_iter().map(str::to_owned).chain(shows) {
        let (exit, said) = bench.run(&command).await;
        assert!(exit == Exit::Good && said.len() > 20, "{command}: {exit:?} {said}");
        harmless(&command, &said);
    }
    // A line for each, however long, also where the terminal is narrow: then two.
    let (_, table) = bench.run("list --database @audit.db").await;
    assert_eq!(table.lines().count(), count + 1);
    let mut narrow = bench;
    narrow.env.vars.insert("COLUMNS".to_owned(), "80".to_owned());
    let (_, table) = narrow.run("list --database @audit.db").await;
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert_eq!(table.lines().count(), 2 * (count + 1));
    let (_, rows) = narrow.run("export --database @audit.db --format csv").await;
    harmless("csv", &rows);
    assert_eq!(rows.lines().count(), count + 1);
    for cell in rows.lines().flat_map(cells) {
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
        assert!(!formula, "{}", cell.chars().take(40).collect::<String>());
    }
    for format in ["jsonl", "ocsf"] {
        let (_, lines) = narrow.run(&format!("export --database @audit.db --format {format}")).await;
        assert_eq!(lines.lines().count(), count, "{format}");
        assert!(!lines.chars().any(|c| c.is_ascii_control() && c != '\n'), "{format}");
        assert!(lines.lines().all(|line| read_entry(line.as_bytes()).is_ok()), "{format}");
    }
}
