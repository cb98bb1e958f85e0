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
    let told = "can't be checked at http://127.0.0.1:9/client/v4: ";
    assert!(key == "upstream.token_file" && what.contains(told), "{said}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_serve_would_not_go_on_with_is_a_problem() {
    for what in ["another key", "cut off", "another table"] {
        let mut world = World::start().await;
        world.call("viewer", http::Method::GET, "", None).await;
        world.stop().await;
        assert_eq!(check(&world).0, Some(0), "{what}");
        let (key, database) = (world.dir.path().join("audit-signing.key"), world.database().to_owned());
        let (key_before, database_before) = (std::fs::read(&key).unwrap(), std::fs::read(&database).unwrap());
        match what {
            "another key" => {
                std::fs::remove_file(&key).unwrap();
                assert!(world.program(&["keys", "generate", "--config", &world.config()]).status.success());
            }
            "cut off" => {
                let file = std::fs::OpenOptions::new().write(true).open(&database).unwrap();
                file.set_len(20_000).unwrap();
            }
            _ => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
                let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
                sqlx::raw_sql("DROP TRIGGER entries_no_update").execute(&mut connection).await.unwrap();
                sqlx::Connection::close(connection).await.unwrap();
            }
        }
        let (code, said) = check(&world);
        let problems = found(&said, "problems");
        assert_eq!(code, Some(2), "{what}: {said}");
        assert!(matches!(&problems[..], [(key, _)] if key == "audit.database"), "{what}: {said}");
        assert!(!world.try_launch().await, "{what}: it starts all the same");
        std::fs::write(&key, key_before).unwrap();
        std::fs::write(&database, database_before).unwrap();
        let made = world.program(&["keys", "generate", "--config", &world.config()]);
        assert!(made.status.success(), "the public half again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_the_file_is_said_with_file_and_line() {
    let world = world(&[]).await;
    let path = world.dir.path().join("tunnelwarden.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let lines = good.lines().count();
    for (more, told, line) in
        [("\n[zebra]\n", "zebra (line ", lines + 2), ("x = \"open\n", "line ", lines + 1)]
    {
        std::fs::write(&path, format!("{good}{more}")).unwrap();
        let output = world.program(&["check", "--config", &world.config()]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("{}: {told}{line}", path.display())), "{said}");
        let (code, said) = check(&world);
        let problem = said.pointer("/problems/0/line").and_then(Json::as_i64);
        assert_eq!((code, problem), (Some(2), i64::try_from(line).ok()), "{said}");
    }
}
