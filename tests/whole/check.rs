//! `check` says what `serve` would stumble over, and asks the upstream about its token.
//!
//! Not here: what is wrong within the configuration itself (`src/config/tests.rs`).

use tunnelwarden::emulator::new_token;
use tunnelwarden::json::{self, Json};
use tunnelwarden::secret::ExposeSecret as _;

use crate::harness::{PATIENCE, Wishes, World};

/// Exit code, and all that is said as JSON.
fn check(world: &World) -> (Option<i32>, Json) {
    let output = world.program(&["check", "--json", "--config", &world.config()]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), json::read(told.trim().as_bytes(), json::MAX_DEPTH).expect(&told))
}

/// The key paths and words of a list in it.
fn found(said: &Json, list: &str) -> Vec<(String, String)> {
    let text = |item: &Json, name: &str| item.get(name).and_then(Json::as_str).unwrap().to_owned();
    let items = said.get(list).and_then(Json::as_array).unwrap_or_default();
    items.iter().map(|item| (text(item, "key"), text(item, "problem"))).collect()
}

async fn world(config: &[(&'static str, &str)]) -> World {
    let config = config.iter().map(|(key, value)| (*key, format!("{value:?}"))).collect();
    World::prepared(Wishes { config, ..Wishes::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_serve_from_starting_is_said_before_with_its_key() {
    for (config, key) in [
        (
            &[("listen.certificate_file", "c.pem"), ("listen.private_key_file", "k.pem")][..],
            "listen.certificate_file",
        ),
        (
            &[("listen.certificate_file", "upstream-token"), ("listen.private_key_file", "k.pem")],
            "listen.certificate_file",
        ),
        (&[("audit.database", "sqlite:missing/audit.db")], "audit.database"),
        (&[("audit.database", "sqlite:/proc/audit.db")], "audit.database"),
        (&[("audit.database", "sqlite:policy.cedar")], "audit.database"),
        (&[("audit.checkpoint_file", "missing/checkpoint.txt")], "audit.checkpoint_file"),
    ] {
        let mut world = world(config).await;
        let (code, said) = check(&world);
        let problems = found(&said, "problems");
        assert_eq!(code, Some(2), "{config:?}: {said}");
        assert!(matches!(&problems[..], [(found, _)] if found == key), "{config:?}: {said}");
        if key != "audit.checkpoint_file" {
            assert!(!world.try_launch().await, "{config:?}: it starts all the same");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_leaves_nothing_behind_and_disturbs_nobody() {
    let mut world = World::start().await;
    let names = |world: &World| {
        let mut names: Vec<_> =
            std::fs::read_dir(world.dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names(&world);
    assert_eq!(check(&world).0, Some(0));
    assert_eq!(names(&world), before);
    assert_eq!(world.admin("/readyz").await.status, 200);
    world.stop().await;
    assert_eq!(check(&world).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_upstream_refuses_is_a_problem_and_an_upstream_that_is_away_a_warning() {
    let good = world(&[]).await;
    let (code, said) = check(&good);
    assert_eq!((code, found(&said, "problems"), found(&said, "warnings")), (Some(0), vec![], vec![]));

    let other = new_token().unwrap();
    std::fs::write(good.dir.path().join("upstream-token"), other.expose_secret()).unwrap();
    let (code, said) = check(&good);
    assert_eq!(code, Some(2), "{said}");
    let problems = found(&said, "problems");
    let [(key, what)] = &problems[..] else { panic!("{said}") };
    assert!(key == "upstream.token_file" && what.contains("refuses the token"), "{said}");
    assert!(!said.to_string().contains(other.expose_secret()));

    let away = world(&[("upstream.base_url", "http://127.0.0.1:9/client/v4")]).await;
    let (code, said) = check(&away);
    assert_eq!((code, found(&said, "problems")), (Some(0), vec![]), "{said}");
    let warnings = found(&said, "warnings");
    let [(key, what)] = &warnings[..] else { panic!("{said}") };
    assert!(key == "upstream.token_file" && what.contains("can't be checked"), "{said}");
    let output = away.program(&["check", "--config", &away.config()]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.starts_with("good: ") && told.contains("warning: upstream.token_file: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_token_without_its_account_is_said_to_be_unchecked_until_a_call_tells() {
    let mut world = world(&[]).await;
    let token = format!("cfat_{}", &new_token().unwrap().expose_secret()[5..]);
    std::fs::write(world.dir.path().join("upstream-token"), token).unwrap();
    let (code, said) = check(&world);
    assert_eq!((code, found(&said, "problems")), (Some(0), vec![]), "{said}");
    let warnings = found(&said, "warnings");
    let [(key, what)] = &warnings[..] else { panic!("{said}") };
    assert!(key == "upstream.token_file" && what.starts_with("not checked"), "{said}");

    world.launch().await;
    let ready = world.admin("/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(ready.text_at("/warnings/0").starts_with("upstream.token_file: not checked"), "{}", ready.text());
    // The emulator does not know it, and from then on that is what counts.
    world.call("viewer", http::Method::GET, "", None).await;
    let until = tokio::time::Instant::now() + PATIENCE;
    while !world.admin("/readyz").await.text_at("/warnings/0").contains("refuses this token") {
        assert!(tokio::time::Instant::now() < until, "{}", world.admin("/readyz").await.text());
    }
}
