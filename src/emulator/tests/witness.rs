//! What the emulator tells afterwards: in process, at its control endpoints, and in the audit logs.

use super::*;

const LOGS: &str = "/client/v4/accounts/00000000000000000000000000000acc/logs/audit";
const ALWAYS: &str = "since=2020-01-01&before=2030-01-01T00:00:00Z";

impl Rig {
    async fn control(&self, method: Method, name: &str, sent: &str) -> Json {
        let answered = self.raw(method, &format!("/__emulator/{name}"), sent, &[]).await.unwrap();
        assert_eq!(answered.status, 200, "{answered:?}");
        answered.json()
    }
}

#[tokio::test]
async fn a_lost_answer_is_told_by_its_effect() {
    let rig = rig().await;
    let headers = [("x-emulator-fault", "drop-after"), ("user-agent", "sdk/1 request-7")];
    rig.ask_with(Method::POST, BASE, &body("one").to_string(), &headers).await.unwrap_err();
    let told = rig.control(Method::GET, "effects", "").await;
    assert_eq!(told.pointer("/counts/create"), Some(&Json::from(1u32)));
    assert_eq!(told.pointer("/total"), Some(&Json::from(1u32)));
    assert_eq!(told.pointer("/effects/0/operation"), Some(&Json::from("create")));
    assert_eq!(told.pointer("/effects/0/user_agent"), Some(&Json::from("sdk/1 request-7")));
    assert_eq!(told.pointer("/effects/0/names/0"), Some(&Json::from("one")));
    let call = rig.emulator.calls().pop().unwrap();
    assert_eq!(told.pointer("/effects/0/cf_ray"), Some(&Json::from(call.ray.as_str())));
    assert_eq!(call.status, None);
    let tunnels = rig.control(Method::GET, "tunnels", "").await;
    assert_eq!(tunnels.pointer(&format!("/{ACCOUNT}/0/id")), told.pointer("/effects/0/tunnels/0"));
}

#[tokio::test]
async fn calls_are_kept_as_they_came() {
    let rig = rig().await;
    let sent = r#"{"name": "spaced" }"#;
    rig.ask_with(Method::POST, &format!("{BASE}?x=1"), sent, &[("x-odd", "1")]).await.unwrap();
    let call = rig.emulator.calls().pop().unwrap();
    assert_eq!((call.path.as_str(), call.body.as_ref()), (format!("{BASE}?x=1").as_str(), sent.as_bytes()));
    assert_eq!((call.header("x-odd"), call.status), (Some("1"), Some(400)));
    let told = rig.control(Method::GET, "calls", "").await;
    assert_eq!(told.pointer("/calls/0/body"), Some(&Json::from(sent)));
    // A test learns that the right token came; a reader does not learn the token.
    assert!(told.to_string().contains("Bearer token:"));
    assert!(!told.to_string().contains(rig.token.expose_secret()));
    assert!(!format!("{call:?} {:?}", rig.emulator).contains("spaced"));
}

#[tokio::test]
async fn faults_can_be_queued_and_everything_reset_from_outside() {
    let rig = rig().await;
    let wanted = r#"{"fault":"status=503","operation":"list","times":2}"#;
    rig.control(Method::POST, "faults", wanted).await;
    assert_eq!(rig.ask(Method::GET, BASE, "").await.status, 503);
    rig.create("one").await;
    rig.control(Method::POST, "reset", "").await;
    assert_eq!(rig.ask(Method::GET, BASE, "").await.status, 200);
    assert!(rig.emulator.effects().is_empty());
    assert_eq!((rig.emulator.calls().len(), rig.emulator.tunnels(account()).len()), (1, 1));
    for bad in [
        "",
        "{}",
        r#"{"fault":"nope"}"#,
        r#"{"fault":"html","operation":"x"}"#,
        r#"{"fault":"html","times":-1}"#,
    ] {
        let refused = rig.raw(Method::POST, "/__emulator/faults", bad, &[]).await.unwrap();
        assert_eq!(refused.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_web_page_gets_nothing_from_the_control_endpoints() {
    let rig = rig().await;
    for header in [("origin", "http://evil.test"), ("sec-fetch-site", "cross-site")] {
        let refused = rig.raw(Method::GET, "/__emulator/calls", "", &[header]).await.unwrap();
        assert_eq!(refused.status, 403);
    }
}

#[tokio::test]
async fn audit_logs_show_writes_by_ray_newest_first_in_pages() {
    let rig = rig().await;
    let mut sent = body("one");
    sent.as_object_mut().unwrap().set("psk", "kept out of logs");
    let created = rig.ask(Method::POST, BASE, &sent.to_string()).await;
    rig.clock.advance(Duration::from_secs(60));
    let refused = rig.ask(Method::DELETE, &format!("{BASE}/dead"), "").await;
    rig.ask(Method::GET, BASE, "").await;
    let first = rig.ask(Method::GET, &format!("{LOGS}?{ALWAYS}&limit=1"), "").await;
    assert_eq!(first.at("/result/0/raw/cf_ray_id"), Json::from(bare(refused.header("cf-ray"))));
    assert_eq!(first.at("/result/0/raw/status_code"), Json::from(404u32));
    assert_eq!(first.at("/result/0/action/result"), Json::from("failure"));
    assert_eq!(first.at("/result/0/resource/id"), Json::from("dead"));
    let cursor = first.at("/result_info/cursor").as_str().unwrap().to_owned();
    let second = rig.ask(Method::GET, &format!("{LOGS}?{ALWAYS}&limit=1&cursor={cursor}"), "").await;
    assert_eq!(second.at("/result/0/raw/cf_ray_id"), Json::from(bare(created.header("cf-ray"))));
    assert_eq!(second.at("/result/0/resource/request/name"), Json::from("one"));
    assert_eq!(second.at("/result_info/cursor"), Json::from(""));
    assert!(!String::from_utf8_lossy(&second.body).contains("kept out"));
    // `before` is exclusive, `since` is not.
    let until = "since=2026-09-21T14:13:20Z&before=2026-09-21T14:14:20Z";
    let early = rig.ask(Method::GET, &format!("{LOGS}?{until}"), "").await;
    assert_eq!(early.at("/result").as_array().unwrap().len(), 1);
    for bad in [
        "",
        "since=2020-01-01",
        "before=2030-01-01",
        "since=x&before=y",
        "since=2030-01-01&before=2020-01-01",
    ] {
        assert_eq!(rig.ask(Method::GET, &format!("{LOGS}?{bad}"), "").await.refusal().0, 400, "{bad}");
    }
    for bad in ["limit=0", "limit=x", "cursor=!"] {
        assert_eq!(
            rig.ask(Method::GET, &format!("{LOGS}?{ALWAYS}&{bad}"), "").await.refusal().0,
            400,
            "{bad}"
        );
    }
}

/// A ray as the logs have it.
fn bare(ray: &str) -> String {
    ray.split('-').next().unwrap().to_owned()
}

#[tokio::test]
async fn audit_logs_show_rows_late_twice_or_never_where_they_are_told_to() {
    let rig = rig().await;
    let logged = |name: &'static str| {
        let ask = |fault: &'static str| [("x-emulator-fault", fault)];
        (body(name).to_string(), ask)
    };
    let mut rays = Vec::new();
    for (name, fault) in
        [("one", "log-late=60000"), ("two", "log-twice"), ("three", "log-never"), ("four", "gzip")]
    {
        let (sent, ask) = logged(name);
        let made = rig.ask_with(Method::POST, BASE, &sent, &ask(fault)).await.unwrap();
        assert_eq!(made.status, 200, "{made:?}");
        rays.push(bare(made.header("cf-ray")));
    }
    let shown = async || {
        let page = rig.ask(Method::GET, &format!("{LOGS}?{ALWAYS}"), "").await;
        let rows = page.at("/result").as_array().unwrap().to_vec();
        let text = |row: &Json, at: &str| row.pointer(at).and_then(Json::as_str).unwrap().to_owned();
        rows.iter().map(|row| (text(row, "/raw/cf_ray_id"), text(row, "/id"))).collect::<Vec<_>>()
    };
    let at_once = shown().await;
    let of = |rows: &[(String, String)]| rows.iter().map(|(ray, _)| ray.clone()).collect::<Vec<_>>();
    assert_eq!(of(&at_once), [rays[3].clone(), rays[1].clone(), rays[1].clone()]);
    assert_eq!(at_once[1], at_once[2], "one row, shown twice");
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(of(&shown().await).last(), Some(&rays[0]));
}
