//! Reading the record over HTTP: who may, that it is recorded, and that nothing a client or a reader sends does more.

use http::Method;
use tunnelwarden::json::{Json, Object};

use std::sync::Arc;
use std::time::Duration;

use tunnelwarden::seal::Signer;
use tunnelwarden::store::{Settings, Store};

use crate::harness::{Answer, Stored, Wishes, World};

/// Who may see who did what, and no values.
const METADATA: &str = r#"
@id("lookers") permit (principal in Role::"looker", action == Action::"read_audit", resource);"#;

async fn world() -> World {
    let policy = format!("{}{METADATA}", include_str!("../../config/policy.cedar"));
    World::with(Wishes { policy: Some(policy), ..Wishes::default() }).await
}

/// Creates a tunnel; its id.
async fn create(world: &World, name: &str) -> String {
    let body = format!(
        r#"{{"name":"{name}","customer_endpoint":"198.51.100.1","cloudflare_endpoint":"203.0.113.1","interface_address":"10.1.0.0/31","replay_protection":true}}"#
    );
    let answer = world.call("operator", Method::POST, "", Some(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let tunnels =
        answer.json().pointer("/result/ipsec_tunnels/0/id").or(answer.json().pointer("/result/id")).cloned();
    tunnels.as_ref().and_then(Json::as_str).unwrap().to_owned()
}

fn reads(entries: &[Stored]) -> Vec<&Stored> {
    entries.iter().filter(|entry| entry.text("/kind") == "audit_read").collect()
}

fn rows(answer: &Answer) -> Vec<Json> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().get("rows").and_then(Json::as_array).unwrap().to_vec()
}

#[tokio::test]
async fn each_question_is_recorded_before_it_is_answered_and_its_pages_are_one_question() {
    let world = world().await;
    create(&world, "paris").await;
    let answer = world.read("security", "calls").await;
    assert_eq!(rows(&answer).len(), 1);
    let entries = world.entries().await;
    let [read] = reads(&entries)[..] else { panic!("{entries:?}") };
    assert_eq!(read.text("/request_id"), answer.header("x-request-id"));
    assert_eq!((read.text("/subject"), read.text("/decision")), ("security@test".into(), "allow".into()));
    assert_eq!((read.text("/read/what"), read.text("/read/door")), ("requests".into(), "api".into()));
    assert_eq!(read.text("/read/depth"), "read_audit_bodies");
    assert!(read.text("/read/covers_until") > read.text("/time"));
    // The same again, and another page of it, by the same token.
    let bearer = format!("Bearer {}", world.token("security"));
    let ask = async |path: &str| world.ask(Method::GET, path, &[("authorization", &bearer)], "").await;
    for path in ["/api/v1/calls?limit=1", "/api/v1/calls?limit=1&before=3", "/api/v1/calls"] {
        assert_eq!(ask(path).await.status, 200, "{path}");
    }
    let before = reads(&world.entries().await).len();
    assert!((1..=2).contains(&before), "one more at most, where the token was made in another second");
    for path in ["/api/v1/calls?subject=nobody", "/api/v1/changes", "/api/v1/tunnels"] {
        assert_eq!(ask(path).await.status, 200, "{path}");
    }
    assert_eq!(reads(&world.entries().await).len(), before + 3, "other questions have entries of their own");
}

#[tokio::test]
async fn nobody_reads_without_the_right_and_that_is_recorded_too() {
    let world = world().await;
    create(&world, "paris").await;
    for role in ["viewer", "operator", "admin"] {
        let answer = world.read(role, "entries").await;
        assert_eq!((answer.status, answer.text_at("/title")), (403, "forbidden".to_owned()), "{role}");
        assert!(answer.text_at("/detail").contains("ask for the role `security`"));
    }
    let none = world.ask(Method::GET, "/api/v1/entries", &[], "").await;
    assert_eq!((none.status, none.header("www-authenticate")), (401, "Bearer".to_owned()));
    let forged = world.token("security").replace('.', ".A");
    let bearer = format!("Bearer {forged}");
    assert_eq!(
        world.ask(Method::GET, "/api/v1/entries", &[("authorization", &bearer)], "").await.status,
        401
    );
    // No client is asked for a certificate here, so a bound token is in nobody's hands, and its owner is told.
    let mut claims = world.claims("security");
    claims.set("cnf", Object::from_iter([("x5t#S256", "A".repeat(43))]));
    let bearer = format!("Bearer {}", world.key.sign(&Json::Object(claims), &[]).unwrap());
    let bound = world.ask(Method::GET, "/api/v1/entries", &[("authorization", &bearer)], "").await;
    assert_eq!(bound.status, 401);
    let entries = world.entries().await;
    let last = entries.last().unwrap();
    let told = ["/refusal/fault", "/refused_token/subject", "/subject"].map(|at| last.text(at));
    assert_eq!(told, ["binding", "security@test", ""]);
    let told: Vec<_> =
        reads(&entries).iter().map(|read| (read.text("/decision"), read.text("/refusal/name"))).collect();
    let deny = |name: &str| ("deny".to_owned(), name.to_owned());
    let expected =
        ["forbidden", "forbidden", "forbidden", "token_missing", "token_invalid", "token_invalid"].map(deny);
    assert_eq!(told, expected);
}

#[tokio::test]
async fn who_may_see_no_values_sees_none() {
    let world = world().await;
    let tunnel = create(&world, "paris").await;
    world.call("admin", Method::POST, &format!("/{tunnel}/psk_generate"), None).await;
    let shallow = [
        "entries",
        "calls",
        "changes",
        "psk-events",
        "refusals",
        "statistics",
        "tunnels",
        &format!("tunnels/{tunnel}/history"),
    ];
    for path in shallow {
        let answer = world.read("looker", path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        for value in ["198.51.100", "redacted:psk", "10.1.0"] {
            assert!(!answer.text().contains(value), "{path} shows {value}: {}", answer.text());
        }
    }
    let deep = world.read("security", "changes").await;
    assert!(deep.text().contains("198.51.100") && deep.text().contains("redacted:psk"), "{}", deep.text());
    let id = world.entries().await.last().unwrap().text("/id");
    assert_eq!(world.read("looker", &format!("entries/{id}/proof")).await.status, 403);
    assert_eq!(world.read("security", &format!("entries/{id}/proof")).await.status, 200);
}

#[tokio::test]
async fn an_entry_comes_byte_for_byte_and_its_proof_verifies_offline() {
    let world = world().await;
    create(&world, "paris").await;
    let stored = world.entries().await;
    let outcome = stored.iter().find(|entry| entry.text("/kind") == "outcome").unwrap();
    let id = outcome.text("/id");
    let answer = world.read("security", &format!("entries/{id}")).await;
    assert!(answer.text().contains(&outcome.raw), "{}", answer.text());
    let proof = world.read("security", &format!("entries/{id}/proof")).await;
    let file = world.dir.path().join("call.tlog-proof");
    std::fs::write(&file, &proof.body).unwrap();
    let key = world.dir.path().join("audit-signing.key.pub");
    let args = ["audit", "verify", file.to_str().unwrap(), "--public-key", key.to_str().unwrap()];
    let verified = world.program(&args);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let other = uuid_like();
    assert_eq!(world.read("security", &format!("entries/{other}")).await.status, 404);
    assert_eq!(world.read("security", &format!("entries/{other}/proof")).await.status, 404);
    assert_eq!(world.read("security", &format!("calls/{other}")).await.status, 404);
}

fn uuid_like() -> String {
    "01990b1c-7c6e-7d2b-8f5e-0c8a5d6b7e10".to_owned()
}

#[tokio::test]
async fn what_a_reader_sends_is_a_value_and_never_more() {
    let world = world().await;
    create(&world, "paris").await;
    let sql = "x%27%20OR%201%3D1%20--";
    for (path, status) in [
        (format!("calls?subject={sql}"), 200),
        (format!("calls?team={sql}"), 200),
        (format!("calls?tunnel={sql}"), 200),
        (format!("changes?field={sql}"), 200),
        (format!("entries?kind={sql}"), 400),
        (format!("entries?operation={sql}"), 400),
        (format!("entries?since={sql}"), 400),
        (format!("entries?before={sql}"), 400),
        (format!("entries?{sql}=1"), 400),
        ("entries?limit=0".to_owned(), 400),
        ("entries?limit=501".to_owned(), 400),
        ("entries?limit=-1".to_owned(), 400),
        ("entries?limit=5&limit=6".to_owned(), 400),
        ("entries?before=99999999999999999999999".to_owned(), 400),
        (format!("entries?subject={}", "x".repeat(600)), 400),
        ("calls?after=1".to_owned(), 400),
        ("calls/..%2f..%2fmetrics".to_owned(), 404),
        ("calls/%27".to_owned(), 404),
        ("nothing/of/ours".to_owned(), 404),
        (format!("entries/{sql}"), 404),
        (format!("tunnels/{sql}/history"), 200),
    ] {
        let answer = world.read("security", &path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        if status == 200 {
            assert!(rows(&answer).is_empty(), "{path}: {}", answer.text());
        }
    }
    let cookie = format!("tunnelwarden-token={}", world.token("security"));
    for path in [
        "search?what=nonsense",
        "search?what=requests&field=%2Fpsk",
        "search?what=changes&kind=intent",
        "search?what=findings&subject=ann",
        "search?limit=5",
        "search?since=yesterday",
    ] {
        let answer = world.ask(Method::GET, &format!("/console/{path}"), &[("cookie", &cookie)], "").await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(!answer.text().contains("Nothing fits"), "{path}: what can't be asked has no answer");
    }
    let nothing = world.ask(Method::GET, "/console/nothing", &[], "").await;
    assert_eq!((nothing.status, nothing.header("x-content-type-options")), (404, "nosniff".to_owned()));
    // Of what nobody is called, the record has no text: it might be a secret that somebody pasted.
    assert!(world.entries().await.iter().all(|entry| !entry.raw.contains("OR 1=1")));
}

#[tokio::test]
async fn a_field_is_asked_of_changes_only_in_either_spelling() {
    let world = world().await;
    let id = create(&world, "paris").await;
    let body = crate::harness::tunnel_body("paris", 9);
    let put = world.call("operator", Method::PUT, &format!("/{id}"), Some(&body)).await;
    assert_eq!(put.status, 200, "{}", put.text());
    for (field, count) in [("%2Fcustomer_endpoint", 1), ("customer_endpoint", 1), ("name", 0)] {
        let found = rows(&world.read("security", &format!("changes?field={field}")).await);
        assert_eq!(found.len(), count, "{field}: {found:?}");
    }
    assert!(rows(&world.read("security", "changes?field=").await).len() > 1, "nothing is asked for");
    let history = format!("tunnels/{id}/history");
    for what in ["calls", "psk-events", "refusals", "findings", "entries", "statistics", &history] {
        let answer = world.read("security", &format!("{what}?field=customer_endpoint")).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_cookie_opens_the_console_and_nothing_else() {
    let world = world().await;
    create(&world, "paris").await;
    let token = world.token("security");
    let cookie = format!("tunnelwarden-token={token}");
    let cookie = [("cookie", cookie.as_str())];
    assert_eq!(world.ask(Method::GET, "/api/v1/entries", &cookie, "").await.status, 401);
    let page = world.ask(Method::GET, "/console/search", &cookie, "").await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("paris"), "{}", page.text());
    let headers = [
        "content-security-policy",
        "x-content-type-options",
        "cross-origin-opener-policy",
        "referrer-policy",
    ];
    headers.iter().for_each(|name| assert!(!page.header(name).is_empty(), "{name}"));
    assert_eq!(page.header("cache-control"), "no-store");
    // Without one, a person is asked for it; with a bad one, told so.
    let asked = world.ask(Method::GET, "/console/search?subject=a%26b", &[], "").await;
    let to = "/console/sign-in?next=%2Fconsole%2Fsearch%3Fsubject%3Da%2526b";
    assert_eq!((asked.status, asked.header("location")), (303, to.to_owned()));
    for forged in
        ["tunnelwarden-token=x", "tunnelwarden-token=a.b.c", "tunnelwarden-token=eyJhbGciOiJub25lIn0.e30."]
    {
        assert_eq!(
            world.ask(Method::GET, "/console", &[("cookie", forged)], "").await.status,
            401,
            "{forged}"
        );
    }
    let two = format!("tunnelwarden-token={token}; tunnelwarden-token={token}");
    assert_eq!(world.ask(Method::GET, "/console", &[("cookie", two.as_str())], "").await.status, 401);
    let admin = format!("tunnelwarden-token={}", world.token("admin"));
    assert_eq!(world.ask(Method::GET, "/console", &[("cookie", admin.as_str())], "").await.status, 403);
}

#[tokio::test]
async fn forms_of_other_sites_are_refused_and_signing_in_sends_nobody_elsewhere() {
    let world = world().await;
    let token = world.token("security");
    let form = |next: &str| format!("token={token}&next={next}");
    let own = [("sec-fetch-site", "same-origin"), ("content-type", "application/x-www-form-urlencoded")];
    let post = async |path: &str, headers: &[(&str, &str)], body: &str| {
        world.ask(Method::POST, path, headers, body).await
    };
    let signed_in = post("/console/sign-in", &own, &form("%2Fconsole%2Ftunnels")).await;
    assert_eq!((signed_in.status, signed_in.header("location")), (303, "/console/tunnels".to_owned()));
    let cookie = signed_in.header("set-cookie");
    for part in ["tunnelwarden-token=", "HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let elsewhere = post("/console/sign-in", &own, &form("https%3A%2F%2Fevil.example%2F")).await;
    assert_eq!(elsewhere.header("location"), "/console");
    let far = [own[0], own[1], ("host", "audit.example")];
    assert!(post("/console/sign-in", &far, &form("")).await.header("set-cookie").ends_with("; Secure"));
    let near = [own[0], own[1], ("origin", "http://127.0.0.1:9090")];
    assert!(!post("/console/sign-in", &near, &form("")).await.header("set-cookie").contains("Secure"));
    let behind = [own[0], own[1], ("host", "127.0.0.1:9090"), ("origin", "https://audit.example")];
    assert!(post("/console/sign-in", &behind, &form("")).await.header("set-cookie").ends_with("; Secure"));
    let bad = post("/console/sign-in", &own, "token=nonsense").await;
    assert_eq!((bad.status, bad.header("set-cookie")), (401, String::new()));
    let cookie = format!("tunnelwarden-token={token}");
    for path in ["/console/sign-in", "/console/sign-out", "/console/verify"] {
        for site in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("x", "y"),
        ] {
            let headers = [site, own[1], ("cookie", cookie.as_str())];
            let answer = post(path, &headers, &form("")).await;
            assert_eq!((answer.status, answer.header("set-cookie")), (403, String::new()), "{path} {site:?}");
        }
    }
    let state = world.read("security", "verification").await;
    assert_eq!(state.text_at("/state"), "never", "no foreign form started one");
    let headers = [own[0], ("cookie", cookie.as_str())];
    assert_eq!(post("/console/verify", &headers, "").await.status, 303);
    for _ in 0..200 {
        let state = world.read("security", "verification").await;
        if state.text_at("/state") == "done" {
            assert_eq!(state.json().pointer("/report/sound"), Some(&Json::Bool(true)));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the verification does not end");
}

#[tokio::test]
async fn the_header_of_an_access_proxy_carries_the_token() {
    let config = vec![("admin.token_header", r#""Cf-Access-Jwt-Assertion""#.to_owned())];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    let token = world.token("security");
    let header = [("cf-access-jwt-assertion", token.as_str())];
    assert_eq!(world.ask(Method::GET, "/console", &header, "").await.status, 200);
    assert_eq!(world.ask(Method::GET, "/api/v1/calls", &header, "").await.status, 200);
    let bad = [("cf-access-jwt-assertion", "nonsense")];
    assert_eq!(world.ask(Method::GET, "/console", &bad, "").await.status, 401);
}

#[tokio::test]
async fn hostile_texts_are_shown_as_texts() {
    let world = world().await;
    let name = "<script>alert(1)</script>";
    let agent = "<img src=x onerror=alert(1)>\u{1b}[2J";
    let long = "A".repeat(4096);
    for body in [
        format!(
            r#"{{"name":"{name}","customer_endpoint":"198.51.100.1","cloudflare_endpoint":"203.0.113.1","interface_address":"10.1.0.0/31","description":"\u202e<b onmouseover=alert(2)>\u001b[31m=cmd()"}}"#
        ),
        format!(
            r#"{{"name":"x","interface_address":"10.1.0.2/31","cloudflare_endpoint":"203.0.113.1","description":"{long}"}}"#
        ),
    ] {
        let agent: String = agent.chars().filter(|c| !c.is_control()).collect();
        let answer =
            world.call_with("admin", Method::POST, "", Some(&body), &[("user-agent", agent.as_str())]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let cookie = format!("tunnelwarden-token={}", world.token("security"));
    let page = async |path: &str| {
        let answer = world.ask(Method::GET, path, &[("cookie", cookie.as_str())], "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let text = answer.text();
        for active in ["<script>alert", "<img src=x", "<b onmouseover", "\u{202e}", "\u{1b}"] {
            assert!(!text.contains(active), "{path} has {active:?}");
        }
        assert!(text.len() < 1_000_000, "{path}: {} bytes", text.len());
        text
    };
    for path in [
        "/console",
        "/console/search",
        "/console/search?what=changes",
        "/console/search?what=entries",
        "/console/search?what=refusals",
        "/console/search?what=psk_events",
        "/console/tunnels",
        "/console/people",
        "/console/search?subject=%3Cscript%3Ealert%281%29%3C%2Fscript%3E",
        "/console/verify",
    ] {
        page(path).await;
    }
    let entries = world.entries().await;
    for hostile in ["<script>", "<img src=x", "<b onmouseover", &"A".repeat(1000)] {
        assert!(entries.iter().any(|entry| entry.raw.contains(hostile)), "the record has {hostile}");
    }
    for entry in entries {
        page(&format!("/console/calls/{}", entry.text("/request_id"))).await;
        for tunnel in entry.json.get("tunnels").and_then(Json::as_array).unwrap_or_default() {
            if let Some(id) = tunnel.get("id").and_then(Json::as_str) {
                page(&format!("/console/tunnels/{id}")).await;
            }
        }
    }
    // A link to somewhere else in a message is one that somebody else made.
    let answer = world
        .ask(Method::GET, "/console/sign-in?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", &[], "")
        .await;
    assert!(!answer.text().contains("<script>alert"), "{}", answer.text());
}

/// Entries whose every text is this one.
fn hostile_entries(text: &str, from: u32) -> Vec<String> {
    let text = Json::String(text.to_owned()).to_string();
    let tunnel = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let who = format!(
        r#""subject":{text},"teams":[{text}],"roles":[{text}],"issuer":{text},"jti":{text},"key_id":{text},"client_address":{text},"user_agent":{text},"account":{text},"policies":[{text}],"decision":{text},"policy_digest":{text}"#
    );
    let patch = format!(
        r#"[{{"tunnel":"{tunnel}","patch":[{{"op":"replace","path":{text},"old":{text},"value":{text}}},{{"op":"remove","path":"","old":{{{text}:{text}}}}}]}}]"#
    );
    let members = [
        (
            "intent",
            format!(
                r#""operation":"update","tunnels":[{{"id":"{tunnel}","name":{text}}}],"state_before":[{{"id":"{tunnel}","name":{text}}}],"request":{{"body":{{{text}:{text}}}}}"#
            ),
        ),
        (
            "refusal",
            format!(
                r#""operation":{text},"tunnels":[{{"id":{text},"name":{text}}}],"status":403,"refusal":{{"name":{text},"code":1,"message":{text}}},"method":{text},"path":{text}"#
            ),
        ),
        (
            "outcome",
            format!(
                r#""operation":"update","tunnels":[{{"id":"{tunnel}","name":{text}}}],"status":200,"sent":"yes","before_after_diff":{patch},"upstream":{{"cf_ray":{text}}},"response":{{"body":{text}}},"results":[{{"tunnel":{text},"reason":{text}}}]"#
            ),
        ),
        (
            "resolved",
            format!(
                r#""operation":"generate_psk","tunnels":[{{"id":"{tunnel}","name":{text}}}],"resolution":{text},"evidence":[{text}]"#
            ),
        ),
        ("audit_read", format!(r#""read":{{"what":{text},"filter":{{"subject":{text}}}}}"#)),
    ];
    let ids =
        (from..).map(|n| uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n)));
    let mut ids: Vec<_> = ids.take(2 * members.len()).collect();
    let intent = ids[0];
    let entry = |(kind, more): &(&str, String)| {
        let (id, call) = (ids.remove(0), ids.remove(0));
        let of = if *kind == "outcome" { format!(r#","intent_id":"{intent}""#) } else { String::new() };
        let call = if matches!(*kind, "intent" | "outcome") { intent } else { call };
        format!(
            r#"{{"kind":"{kind}","id":"{id}","time":"2026-01-01T10:00:00.000000Z","request_id":"{call}",{who},{more}{of}}}"#
        )
    };
    members.iter().map(entry).collect()
}

#[tokio::test]
async fn a_record_that_is_hostile_through_and_through_is_shown_as_text() {
    let mut world = World::prepared(Wishes { unchecked: true, ..Wishes::default() }).await;
    let texts = [
        "<script>alert(1)</script><img src=x onerror=alert(1)>".to_owned(),
        "\"><svg onload=alert(1)>' onclick='alert(1)".to_owned(),
        "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\u{2066}\u{200b}\r\nnext".to_owned(),
        "=cmd|' /C calc'!A0".to_owned(),
        "@SUM(1)\t+1".to_owned(),
        "{{ 7*7 }}</textarea></title></style>".to_owned(),
        "javascript:alert(1)".to_owned(),
        // In each of two dozen texts at once: an entry has 16 MiB at most.
        "B<i>".repeat(150_000),
    ];
    {
        let key = std::fs::read_to_string(world.dir.path().join("audit-signing.key")).unwrap();
        let settings = Settings {
            database: world.database().into(),
            checkpoint_files: Vec::new(),
            append_timeout: Duration::from_secs(30),
        };
        let signer = Arc::new(Signer::new(&key).unwrap());
        let store = Store::open(settings, signer, world.clock.clone()).await.unwrap();
        for (n, text) in (0u32..).zip(&texts) {
            store.append(hostile_entries(text, 1 + 100 * n)).await.unwrap();
        }
        let long = Json::String("B<i>".repeat(1 << 18)).to_string();
        let id = uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_ffff_0000_0000);
        store
            .append(vec![format!(
                r#"{{"kind":"refusal","id":"{id}","time":"2026-01-01T10:00:00.000000Z","request_id":"{id}","subject":{long},"user_agent":{long},"refusal":{{"name":"forbidden","message":{long}}}}}"#
            )])
            .await
            .unwrap();
        store.close().await;
    }
    world.launch().await;
    let cookie = format!("tunnelwarden-token={}", world.token("security"));
    let page = async |path: &str| {
        let answer = world.ask(Method::GET, path, &[("cookie", cookie.as_str())], "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let text = answer.text();
        let active = [
            "<script>alert",
            "<img",
            "<svg onload",
            "' onclick",
            "<i>",
            "\u{1b}",
            "\u{9b}",
            "\u{202e}",
            "\u{200b}",
        ];
        for active in active.into_iter().chain(["href=\"javascript", "</textarea>", "</style>"]) {
            assert!(!text.contains(active), "{path} has {active:?}");
        }
        assert!(text.len() < 3_000_000, "{path}: {} bytes", text.len());
    };
    for path in [
        "/console",
        "/console/search",
        "/console/search?what=changes",
        "/console/search?what=entries",
        "/console/search?what=refusals",
        "/console/search?what=psk_events",
        "/console/tunnels",
        "/console/people",
        "/console/tunnels/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        page(path).await;
    }
    let entries = world.entries().await;
    for entry in entries.iter().filter(|entry| entry.text("/time").starts_with("2026-01-01")) {
        page(&format!("/console/calls/{}", entry.text("/request_id"))).await;
    }
    for path in [
        "entries?limit=500",
        "calls",
        "changes",
        "refusals",
        "psk-events",
        "tunnels",
        "statistics?by=subject",
    ] {
        let answer = world.read("security", path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/json".to_owned()),
            "{path}"
        );
        answer.json();
    }
    // At the terminal: no line has what a terminal obeys, and no cell begins a formula.
    let config = world.config();
    for command in [
        &["list", "--limit", "0"][..],
        &["tail"],
        &["stats"],
        &["psk-age"],
        &["history", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
        &["export", "--format", "csv"],
    ] {
        let args: Vec<&str> =
            ["audit"].iter().chain(command).chain(&["--config", &config]).copied().collect();
        let told = world.program(&args);
        let text = String::from_utf8(told.stdout).unwrap();
        assert!(
            told.status.success() && !text.is_empty(),
            "{command:?}: {}",
            String::from_utf8_lossy(&told.stderr)
        );
        let obeyed =
            |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{2066}' | '\u{200b}');
        assert!(!text.chars().any(obeyed), "{command:?}: {:?}", text.chars().find(|c| obeyed(*c)));
        if command.contains(&"csv") {
            for cell in text.lines().flat_map(|line| line.split(',')) {
                assert!(!cell.trim_matches('"').starts_with(['=', '+', '@']), "{cell}");
            }
        }
    }
}

#[tokio::test]
async fn a_secret_that_a_reader_pastes_anywhere_is_not_recorded() {
    let world = world().await;
    create(&world, "paris").await;
    let hex = "deadbeefdeadbeefdeadbeefdeadbeef";
    let cookie = format!("tunnelwarden-token={}", world.token("security"));
    for secret in ["hunter2-my-real-key", hex] {
        for path in [
            format!("entries?field={secret}"),
            format!("calls?field={secret}"),
            format!("calls?by={secret}"),
            format!("statistics?by={secret}"),
            format!("statistics?field={secret}"),
            format!("changes?field=%2F{secret}"),
            format!("calls?subject={secret}"),
            format!("calls?team={secret}"),
            format!("calls?tunnel={secret}"),
            format!("tunnels/{secret}"),
            format!("tunnels/{secret}/history"),
            format!("calls/{secret}"),
            format!("entries/{secret}"),
            format!("entries/{secret}/proof"),
            format!("entries?since=2026-01-01T00:00:00Z%5Bu-ca={secret}%5D"),
        ] {
            world.read("security", &path).await;
        }
        for path in [
            "search?what=requests&field=",
            "search?what=changes&field=",
            "search?subject=",
            "search?what=entries&tunnel=",
            "tunnels/",
            "calls/",
        ] {
            world.ask(Method::GET, &format!("/console/{path}{secret}"), &[("cookie", &cookie)], "").await;
        }
        let dashed = "deadbeef-dead-beef-dead-beefdeadbeef";
        for entry in world.entries().await {
            assert!(!entry.raw.contains(secret) && !entry.raw.contains(dashed), "{}", entry.raw);
        }
    }
}

#[tokio::test]
async fn to_ask_whether_there_was_a_name_is_a_question_too() {
    let world = world().await;
    create(&world, "paris").await;
    for (path, told) in [("tunnels/paris", "paris"), ("tunnels/nowhere", "unknown text of 7 characters")] {
        let before = reads(&world.entries().await).len();
        world.read("security", path).await;
        let entries = world.entries().await;
        let read = reads(&entries)[before];
        assert_eq!(
            (read.text("/read/what"), read.text("/read/id")),
            ("tunnels_named".into(), told.into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_verification_is_started_once_and_by_who_may_see_all() {
    let world = world().await;
    let start = async |role: &str| {
        let bearer = format!("Bearer {}", world.token(role));
        world.ask(Method::POST, "/api/v1/verification", &[("authorization", &bearer)], "").await
    };
    assert_eq!(start("looker").await.status, 403);
    let first = start("security").await;
    assert_eq!(first.status, 200, "{}", first.text());
    let mut begun = String::new();
    for _ in 0..200 {
        let state = world.read("security", "verification").await;
        begun = state.text_at("/since");
        if state.text_at("/state") == "done" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(start("security").await.text_at("/since"), begun, "the young report stands");
    let entries = world.entries().await;
    let starts = reads(&entries).into_iter().filter(|read| read.text("/read/what") == "verify").count();
    assert_eq!(starts, 2, "each start has its entry");
}

#[tokio::test]
async fn another_sites_page_asks_nothing_with_an_access_proxys_token() {
    let config = vec![("admin.token_header", r#""Cf-Access-Jwt-Assertion""#.to_owned())];
    let world = World::with(Wishes { config, ..Wishes::default() }).await;
    let token = world.token("security");
    let header = ("cf-access-jwt-assertion", token.as_str());
    let foreign =
        [header, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
    for (method, path) in [
        (Method::POST, "/api/v1/verification"),
        (Method::GET, "/api/v1/calls"),
        (Method::GET, "/console"),
        (Method::POST, "/console/verify"),
    ] {
        let answer = world.ask(method.clone(), path, &foreign, "").await;
        assert!(matches!(answer.status, 400 | 403), "{method} {path}: {}", answer.status);
    }
    // A link in a mail is not a page that asks.
    let link = [
        header,
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert_eq!(world.ask(Method::GET, "/console", &link, "").await.status, 200);
}

#[tokio::test]
async fn strangers_at_the_console_shut_nobody_out_of_the_api() {
    let world = world().await;
    for _ in 0..150 {
        assert_eq!(world.ask(Method::GET, "/console", &[], "").await.status, 303);
    }
    let mut limited = 0;
    for _ in 0..150 {
        let status = world.ask(Method::GET, "/api/v1/calls", &[], "").await.status;
        assert!(matches!(status, 401 | 429), "{status}");
        limited += usize::from(status == 429);
    }
    assert!(limited > 0, "they are limited themselves");
    let entries = world.entries().await;
    assert!(reads(&entries).len() < 150, "and not all of that is recorded: {}", reads(&entries).len());
    assert_eq!(world.call("viewer", Method::GET, "", None).await.status, 200);
}

#[tokio::test]
async fn half_requests_to_the_second_listener_end_and_hold_up_nothing_of_the_proxy() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    // Its descriptors are counted from outside.
    let env = vec![("TUNNELWARDEN_ALLOW_DUMPS".to_owned(), "1".to_owned())];
    let world = World::with(Wishes { env, ..Wishes::default() }).await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", world.proxy().id())).unwrap().count();
    let (before, mut open) = (descriptors(), Vec::new());
    for n in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(world.proxy().admin).await.unwrap();
        let half: &[u8] = if n % 2 == 0 {
            b"GET /livez HTTP/1.1\r\nhost: a\r\n"
        } else {
            b"POST /console/sign-in HTTP/1.1\r\nhost: a\r\nsec-fetch-site: same-origin\r\ncontent-length: 100\r\n\r\ntoken="
        };
        stream.write_all(half).await.unwrap();
        open.push(stream);
    }
    // Its places, those for probes, and what it may open meanwhile for itself. One that made way for another is closed a
    // moment later; all end by themselves only after five seconds.
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
    while descriptors() - before > 64 + 64 + 8 {
        assert!(tokio::time::Instant::now() < until, "{} descriptors more", descriptors() - before);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    create(&world, "paris").await;
    // They end by themselves, and then others have their turn.
    for stream in &mut open {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(4 * crate::harness::PATIENCE, stream.read_to_end(&mut rest)).await;
        ended.expect("a half request ends").ok();
    }
    assert_eq!(world.admin("/livez").await.status, 200);
}
