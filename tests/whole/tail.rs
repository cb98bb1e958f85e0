//! The record as it grows, and counted.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use http::Method;
use tunnelwarden::json::{self, Json};

use crate::harness::{PATIENCE, World, tunnel_body};

#[tokio::test]
async fn what_is_recorded_is_shown_as_it_comes() {
    let world = World::start().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
        .args(["audit", "tail", "-f", "--json", "-n", "1", "--kind", "refusal", "--config", &world.config()])
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| send.send(line).is_ok()));
    for n in 1..=3 {
        // Good calls between are not asked for.
        assert_eq!(world.call("viewer", Method::GET, "", None).await.status, 200);
        let refused = world.call("viewer", Method::POST, "", Some(&tunnel_body("x", n))).await;
        assert_eq!(refused.status, 403, "{}", refused.text());
        let line = tokio::time::timeout(PATIENCE, lines.recv()).await.unwrap().unwrap();
        let entry = json::read(line.as_bytes(), 64).unwrap();
        let id = entry.get("request_id").and_then(Json::as_str).unwrap();
        assert_eq!(id, refused.header("x-request-id"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn calls_are_counted_by_what_by_whom_and_by_why_not() {
    let world = World::start().await;
    for n in 1..=2 {
        let made = world.call("operator", Method::POST, "", Some(&tunnel_body(&format!("t{n}"), n))).await;
        assert_eq!(made.status, 200, "{}", made.text());
        assert_eq!(world.call("viewer", Method::POST, "", Some(&tunnel_body("x", 9))).await.status, 403);
    }
    assert_eq!(world.call("viewer", Method::GET, "/0f", None).await.status, 404);
    let count = |flags: &[&str]| {
        let config = world.config();
        let done = world.program(&[&["audit", "stats", "--config", &config], flags].concat());
        String::from_utf8(done.stdout).unwrap()
    };
    let all = json::read(count(&["--json"]).as_bytes(), 8).unwrap();
    assert_eq!(
        all.to_string(),
        concat!(
            r#"{"operation":[{"name":"create","calls":4,"refused":2,"failed":0},"#,
            r#"{"name":"get","calls":1,"refused":0,"failed":1}],"#,
            r#""subject":[{"name":"viewer@test","calls":3,"refused":2,"failed":1},"#,
            r#"{"name":"operator@test","calls":2,"refused":0,"failed":0}],"#,
            r#""team":[{"name":"network","calls":5,"refused":2,"failed":1}],"#,
            r#""refusal":[{"name":"forbidden","calls":2,"refused":2,"failed":0}]}"#
        )
    );
    let one = count(&["--subject", "operator@test"]);
    let lines: Vec<&str> = one.lines().collect();
    assert_eq!(lines[0], "OPERATION      CALLS    REFUSED     FAILED");
    assert_eq!(lines[1], "create             2          0          0");
    assert!(!one.contains("WHY NOT"), "{one}");
    assert!(count(&["--since", "2100-01-01"]).lines().count() == 1);
}
