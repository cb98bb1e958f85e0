//! The commands as a user gives them.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::clock::ManualClock;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/policy.cedar");

/// Runs a command line; `{shipped}` and `{dir}` are put in.
#[track_caller]
fn told(line: &str, dir: &Path) -> (Exit, String) {
    let line = line.replace("{shipped}", SHIPPED).replace("{dir}", &dir.display().to_string());
    let parsed = Line::try_parse_from(["policy"].into_iter().chain(line.split_whitespace())).unwrap();
    let env = Env {
        vars: BTreeMap::new(),
        clock: ManualClock::at(jiff::Timestamp::UNIX_EPOCH),
        terminal: Default::default(),
    };
    let mut out = Vec::new();
    let done = run(&parsed.command, &env, &mut out);
    let mut text = String::from_utf8(out).unwrap();
    let exit = done.unwrap_or_else(|stop| {
        text.push_str(&format!("error: {}\n", stop.what));
        stop.exit
    });
    (exit, text)
}

#[track_caller]
fn check(line: &str, exit: Exit, parts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    file("wrong.cedar", "permit (principal, action, resource);\npermit (principal, action, resource);");
    file("good.toml", "[policy]\nfile = \"good.cedar\"\n");
    file(
        "good.cedar",
        "@id(\"lab\")\npermit (principal, action, resource) when { resource is Tunnel && resource.name like \"lab-*\" };",
    );
    file("psk.json", r#"{"name":"a","psk":"not a real one"}"#);
    file("weak.json", r#"{"name":"a"}"#);
    file("now.json", r#"{"id":"a1","name":"a","replay_protection":true}"#);
    file("bulk.json", r#"{"ipsec_tunnels":[{"id":"a1","name":"a"},{"id":"b2","psk":"not a real one"}]}"#);
    file("names.json", r#"[{"id":"a1","name":"a2"},{"id":"b2","name":"b2"}]"#);
    file(
        "list.json",
        r#"{"success":true,"result":{"ipsec_tunnels":[{"id":"b2","name":"b"},{"id":"a1","name":"a"}]}}"#,
    );
    file("twice.json", r#"{"name":"a","name":"b"}"#);
    file("odd.json", r#"{"name":"a","replay_protektion":true}"#);
    let (found, text) = told(line, dir.path());
    assert_eq!(found, exit, "{text}");
    for part in parts {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

#[test]
fn check_says_all_that_is_wrong_and_exits_2() {
    check("check --policy {shipped}", Exit::Good, &["good, 9 policies"]);
    check("check --policy {dir}/wrong.cedar", Exit::Usage, &["line 1: no `@id`", "line 2: no `@id`"]);
    check("check --policy {dir}/missing.cedar", Exit::Usage, &["can't be read"]);
    check("check --config {dir}/good.toml", Exit::Good, &["good.cedar: good, 1 policy,"]);
}

#[test]
fn the_matrix_is_computed() {
    let (exit, text) = told("matrix --policy {shipped}", Path::new(""));
    assert_eq!(exit, Exit::Good);
    let row = |name: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("admin"), ["operator", "security", "viewer", "(no", "role)"]);
    assert_eq!(row("list"), ["yes", "yes", "-", "yes", "-"]);
    assert_eq!(row("update"), ["yes", "yes", "-", "-", "-"]);
    assert_eq!(row("update+psk"), ["yes", "-", "-", "-", "-"]);
    assert_eq!(row("update+weaken"), ["yes", "-", "-", "-", "-"]);
    assert_eq!(row("read_audit"), ["-", "-", "yes", "-", "-"]);
    assert_eq!(row("read_audit_bodies"), ["-", "-", "yes", "-", "-"]);
    check(
        "matrix --policy {shipped} --role viewer+operator --json",
        Exit::Good,
        &[r#"{"call":"get","roles":{"viewer+operator":"permit"}}"#],
    );
    check("matrix --policy {dir}/good.cedar", Exit::Good, &["state: depends on the tunnel"]);
    check("matrix --policy {shipped} --account XYZ", Exit::Usage, &["hex digits"]);
}

#[test]
fn explain_names_policy_advice_and_whether_the_state_is_read() {
    let by = "explain --policy {shipped} --subject alice";
    check(
        &format!("{by} --role operator --operation generate_psk --tunnel a1"),
        Exit::Good,
        &["decision     deny", "keys-need-admin", "ask an admin", "reads state  no"],
    );
    check(
        &format!("{by} --role operator --operation create --body {{dir}}/psk.json"),
        Exit::Good,
        &["decision     deny", "action       set_psks", "keys-need-admin"],
    );
    check(
        &format!("{by} --role operator --operation update --tunnel a1 --body {{dir}}/weak.json"),
        Exit::Good,
        &["decision     depends", "reads state  yes"],
    );
    check(
        &format!(
            "{by} --role operator --operation update --tunnel a1 --body {{dir}}/weak.json --state {{dir}}/now.json"
        ),
        Exit::Good,
        &["decision     deny", "weakening-needs-admin", "weakens      replay_protection", "reads state  yes"],
    );
    check(
        &format!("{by} --role operator --operation bulk_update --body {{dir}}/bulk.json"),
        Exit::Good,
        &["decision     deny", "pointer      /ipsec_tunnels/1"],
    );
    check(&format!("{by} --role security --operation read_audit"), Exit::Good, &["security-reads-audit"]);
    check(
        &format!("{by} --operation list --json"),
        Exit::Good,
        &[r#""decision":"deny""#, r#""policies":[]"#, r#""advice":"ask for the role `viewer`""#],
    );
    check(
        &format!("{by} --role operator --operation update --tunnel a1"),
        Exit::Good,
        &["decision     permit", "operators-change", "reads state  yes"],
    );
    for (wrong, said) in [
        ("--operation mint", "known are list"),
        ("--operation get", "give --tunnel"),
        ("--operation list --tunnel a1", "leave --tunnel out"),
        ("--operation bulk_update --tunnel a1 --body {dir}/names.json", "leave --tunnel out"),
        ("--operation bulk_update", "a --body that names tunnels"),
        ("--operation create --body {dir}/none.json", "can't be read"),
        ("--operation get --tunnel XYZ", "hex digits"),
        ("--role admin --operation update --tunnel c3 --body {dir}/weak.json --state {dir}/now.json", "`c3`"),
        (
            "--role admin --operation update --tunnel a1 --body {dir}/weak.json --state {dir}/twice.json",
            "twice",
        ),
    ] {
        check(&format!("{by} {wrong}"), Exit::Usage, &["error: ", said]);
    }
}

#[test]
fn explain_finds_each_tunnel_of_a_bulk_body_in_the_answer_to_a_list() {
    check(
        "explain --policy {shipped} --subject alice --role operator --operation bulk_update \
         --body {dir}/names.json --state {dir}/list.json",
        Exit::Good,
        &["decision     permit", "changes      name\n", "weakens      none"],
    );
}

#[test]
fn explain_reads_a_body_as_strictly_as_the_proxy_and_exits_1_where_it_is_not_taken() {
    let by = "explain --policy {shipped} --subject alice --role admin";
    for (call, said) in [
        ("--operation create --body {dir}/twice.json", "duplicate name"),
        ("--operation create --body {dir}/odd.json", "pointer      /replay_protektion"),
        ("--operation generate_psk --tunnel a1 --body {dir}/weak.json", "takes no body"),
        ("--operation get --tunnel a1 --body {dir}/weak.json", "status       400"),
        ("--operation set_psks --body {dir}/bulk.json", "psks"),
    ] {
        check(
            &format!("{by} {call}"),
            Exit::Failed,
            &["decision     refused before the policy is asked", "code ", said],
        );
    }
}
