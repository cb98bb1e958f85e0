//! What a client or the upstream may put into a text gets into the record, and leads neither a terminal nor a spreadsheet.

use http::Method;
use tunnelwarden::emulator::Fault;
use tunnelwarden::json::Json;
use tunnelwarden::operation::Operation;

use crate::harness::{World, tunnel_body};

/// As a JSON string, without its quotes.
const TEXT: &str = r#"=cmd()\u001b[2J\u009b31m\r\n\t\u202e\u2066\u200b\u0085"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_that_a_client_sends_leads_who_reads_the_record() {
    let world = World::start().await;
    let mut claims = world.claims("admin");
    claims.set("sub", "=cmd()|'x'!A0");
    claims.set("team", "+network");
    let token = world.key.sign(&Json::Object(claims), &[]).unwrap();
    let long = "=".repeat(3500);
    let body = tunnel_body("berlin", 1).replacen('{', &format!(r#"{{"description":"{TEXT}{long}","#), 1);
    // What HTTP lets through in a header: anything from 0x80 on, and no control character but the tab.
    let agent = "@SUM(A1)\tx\u{202e}\u{9b}31m";
    let made = world.try_call(&token, Method::POST, "", Some(&body), &[("user-agent", agent)]).await.unwrap();
    assert_eq!(made.status, 200, "{}", made.text());
    let tunnel = made.text_at("/result/id");
    world.emulator.fault(Fault::EchoBody, Operation::Update, 1);
    let put = world.try_call(&token, Method::PUT, &format!("/{tunnel}"), Some(&body), &[]).await.unwrap();
    assert_eq!(put.status, 400, "{}", put.text());
    let odd = world.try_call(&token, Method::DELETE, &format!("/{tunnel}%1b%5b2J"), None, &[]).await.unwrap();
    assert_eq!(odd.status, 400, "{}", odd.text());
    let config = world.config();
    let ids = [made.header("x-request-id"), put.header("x-request-id"), odd.header("x-request-id")];
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["list"],
        vec!["tail", "-n", "50"],
        vec!["stats"],
        vec!["diff"],
        vec!["psk-age"],
        vec!["reconcile"],
        vec!["history", &tunnel],
        vec!["export", "--format", "csv"],
    ];
    for id in &ids {
        commands.extend([vec!["show", id], vec!["show", "--full", id]]);
    }
    for command in commands {
        let done = world.program(&[&["audit"], &command[..], &["--config", &config]].concat());
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(
            done.status.success() && !said.is_empty(),
            "{command:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        let led = said.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || ('\u{200b}'..='\u{200f}').contains(c)
                || ('\u{202a}'..='\u{206f}').contains(c)
        });
        assert_eq!(led, None, "{command:?}");
        if command[0] == "export" {
            let cell = |cell: &str| assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell:.60}");
            said.lines().for_each(|row| row.trim_matches('"').split("\",\"").for_each(cell));
            assert!(said.contains("\"'=cmd()|'x'!A0\""), "the apostrophe is all that is added");
        }
        if command[0] == "list" {
            let mine = said.lines().filter(|line| line.contains("=cmd()|'x'!A0"));
            assert_eq!(mine.count(), 5, "one line for each entry: {said}");
        }
    }
}
