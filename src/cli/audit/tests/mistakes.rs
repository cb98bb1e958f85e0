//! What somebody asks by mistake is refused and said: it gets no answer that looks like an all-clear.

use super::*;

/// A bench with one change of a field.
async fn changed() -> Bench {
    let entry = format!(
        r#"{{"kind":"outcome","id":"{}","time":"2026-01-01T00:00:01.000000Z","request_id":"{}","subject":"ann","operation":"update","status":200,"tunnels":[{{"id":"{TUNNEL}"}}],"before_after_diff":[{{"tunnel":"{TUNNEL}","patch":[{{"op":"replace","path":"/customer_endpoint","old":"a","value":"b"}}]}}]}}"#,
        id(1),
        id(0)
    );
    Bench::with(vec![entry]).await
}

const TUNNEL: &str = "c4a7362d577a6c3019a474fd6f485821";

fn id(n: u32) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x0190_abcd_0000_7000_8000_0000_0000_0000 + u128::from(n))
}

#[tokio::test]
async fn a_field_is_asked_of_changes_only_in_either_spelling() {
    let bench = changed().await;
    for view in ["requests", "psk_events", "refusals", "tunnel_history", "findings"] {
        let line = format!("list --database @audit.db --view {view} --field /customer_endpoint");
        let (exit, said) = bench.run(&line).await;
        assert!(exit == Exit::Usage && said.contains("--view changes"), "{line}: {exit:?}, {said}");
    }
    for spelling in ["/customer_endpoint", "customer_endpoint"] {
        for line in ["list --view changes", "diff"] {
            let line = format!("{line} --database @audit.db --field {spelling} --json");
            let (exit, said) = bench.run(&line).await;
            assert!(exit == Exit::Good && said.contains(r#""after":"b""#), "{line}: {exit:?}, {said}");
        }
    }
    let (exit, said) = bench.run("list --view changes --database @audit.db --field name").await;
    assert!(exit == Exit::Good && said.contains("nothing fits"), "{said}");
}

#[tokio::test]
async fn findings_are_asked_for_by_time_and_tunnel_only() {
    let bench = changed().await;
    for flag in ["--subject ann", "--team net", "--operation update"] {
        let (exit, said) = bench.run(&format!("list --database @audit.db --view findings {flag}")).await;
        assert!(exit == Exit::Usage && said.contains("time and tunnel"), "{flag}: {exit:?}, {said}");
    }
    let (exit, said) = bench.run("list --database @audit.db --view findings --since 1h").await;
    assert!(exit == Exit::Good && said.contains("nothing fits"), "{said}");
}

#[tokio::test]
async fn a_time_that_ends_before_it_begins_is_refused() {
    let bench = Bench::make().await;
    for command in [
        "list",
        "list --view requests",
        "list --json",
        "tail",
        "stats",
        "export",
        "diff",
        "history c4a7362d577a6c3019a474fd6f485821",
    ] {
        for times in
            ["--since 1h --until 2h", "--since 1h --until 1h", "--since 2026-01-02 --until 2026-01-01"]
        {
            let (exit, said) = bench.run(&format!("{command} --database @audit.db {times}")).await;
            let refused = exit == Exit::Usage && said.contains("--until is not after --since");
            assert!(refused, "{command} {times}: {exit:?}, {said}");
        }
    }
    let (exit, said) = bench.run("reconcile --config @config.toml --since 2026-01-03").await;
    assert!(exit == Exit::Usage && said.contains("--since: that is yet to come"), "{exit:?}, {said}");
    let (exit, said) = bench.run("list --database @audit.db --since 2d --until 1h").await;
    assert!(exit == Exit::Good && said.contains("2026-01-01T00:00:04Z"), "{said}");
}

#[tokio::test]
async fn an_id_is_found_however_it_is_written_and_an_unknown_one_is_a_failure_everywhere() {
    let bench = changed().await;
    for id in [id(0).to_string(), id(0).to_string().to_uppercase()] {
        for (command, says) in
            [("show", "update"), ("diff", "customer_endpoint"), ("prove --public-key @KEY", "")]
        {
            let (exit, said) = bench.run(&format!("{command} --database @audit.db {id}")).await;
            assert!(exit == Exit::Good && said.contains(says), "{command} {id}: {exit:?}, {said}");
        }
    }
    let after = format!("list --database @audit.db --after {}", id(1).to_string().to_uppercase());
    assert_eq!(bench.run(&after).await, (Exit::Good, "no entry fits\n".to_owned()));
    for command in ["show", "diff", "prove --public-key @KEY", "list --after"] {
        for unknown in [id(7).to_string(), "nothing".to_owned()] {
            // The database stands first, so that the id is the value of `--after`.
            let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
            let line = format!("{verb} --database @audit.db {rest} {unknown}").replace("  ", " ");
            let (exit, said) = bench.run(&line).await;
            assert!(exit == Exit::Failed && said.contains("no entry has"), "{line}: {exit:?}, {said}");
        }
    }
}

#[tokio::test]
async fn a_file_of_another_sort_is_told_apart_from_one_that_is_damaged() {
    let bench = Bench::make().await;
    let (exit, said) = bench.run("verify @audit.db --public-key @KEY").await;
    assert!(exit == Exit::Usage && said.contains("--database"), "{exit:?}, {said}");
    for command in ["list", "tail", "stats", "export", "diff", "show x", "psk-age"] {
        let (exit, said) = bench.run(&format!("{command} --database @config.toml")).await;
        let told = exit == Exit::Usage && said.contains("is no SQLite database") && said.contains("--config");
        assert!(told, "{command}: {exit:?}, {said}");
    }
    // What a verification can't read is never a matter of how it was asked.
    let (exit, _) = bench.run("verify --database @config.toml --public-key @KEY").await;
    assert_eq!(exit, Exit::Tampered);
    // Neither is a record of which something is left, nor one that the configuration names.
    let mut file = std::fs::read(bench.path("audit.db")).unwrap();
    file[100..].fill(b'x');
    std::fs::write(bench.path("audit.db"), &file).unwrap();
    let (exit, said) = bench.run("list --database @audit.db").await;
    assert!(exit == Exit::Tampered && said.contains("damaged"), "{exit:?}, {said}");
    file.fill(b'x');
    std::fs::write(bench.path("audit.db"), &file).unwrap();
    let (exit, said) = bench.run("list --config @config.toml").await;
    assert!(exit == Exit::Tampered && said.contains("damaged"), "{exit:?}, {said}");
}

#[tokio::test]
async fn a_secret_among_the_arguments_is_not_repeated_and_where_it_belongs_is_said() {
    let bench = Bench::make().await;
    for given in ["hunter2-is-my-key", "--hunter2-is-my-key", "-hunter2", "hunter2 hunter2", "--key hunter2"]
    {
        for line in [
            format!("find-secret --config @config.toml {given}"),
            format!("find-secret {given} --config @config.toml --json"),
        ] {
            let (exit, said, told) = bench.run_and_tell(&line).await;
            assert!(exit == Exit::Usage && said.contains("standard input"), "{line}: {exit:?}, {said}");
            assert!(!said.contains("hunter2") && !told.contains("hunter2"), "{said}{told}");
        }
    }
}

/// The key of another log is a mistake, and whoever puts another log in the place of one is not covered by it.
#[tokio::test]
async fn a_key_of_another_log_is_said_to_be_one_and_nothing_is_good_by_it() {
    let bench = Bench::make().await;
    let own = crate::seal::Verifier::new(&bench.public_key).unwrap();
    let (other_secret, other) = generate_key("tunnelwarden/other").unwrap();
    std::fs::write(bench.path("other.pub"), &other).unwrap();
    for line in [
        "verify --config @config.toml --public-key @other.pub",
        "verify --database @audit.db --public-key @other.pub",
    ] {
        let (exit, said) = bench.run(line).await;
        assert!(exit == Exit::Tampered && said.starts_with("NOT PROVEN"), "{line}: {exit:?}, {said}");
        let names = ["another log", "put in its place", "tunnelwarden/test", &own.id()];
        assert!(names.iter().all(|word| said.contains(word)), "{said}");
        assert!(!said.contains("TAMPERED") && !said.contains("are good"), "{said}");
        assert!(said.contains("also: the head: not signed by this key"), "all that is wrong is told: {said}");
        let (exit, said) = bench.run(&format!("{line} --json")).await;
        assert!(exit == Exit::Tampered && said.starts_with(r#"{"sound":false,"#), "{said}");
        assert!(said.contains(&format!(r#""other_keys":["tunnelwarden/test+{}"]"#, own.id())), "{said}");
    }
    // A checkpoint by this key says that there was a log of its own.
    let signer = Signer::new(other_secret.expose_secret()).unwrap();
    let kept = Checkpoint { size: 5, root: Tree::new().root(), chain: None };
    std::fs::write(bench.path("kept"), kept.sign(&signer).unwrap()).unwrap();
    let (exit, said) =
        bench.run("verify --database @audit.db --public-key @other.pub --checkpoint @kept").await;
    assert!(exit == Exit::Tampered && said.starts_with("TAMPERED"), "{exit:?}, {said}");
    // Neither key is of another log, where one of two is of this one.
    let (exit, said) =
        bench.run("verify --database @audit.db --public-key @other.pub --public-key @KEY").await;
    assert!(exit == Exit::Tampered && said.starts_with("TAMPERED"), "{exit:?}, {said}");
    // A note that claims to be by the key is a bad one of its log, and an entry of a change of key that can't be read may name it.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(bench.path("audit.db"));
    let note = kept.sign(&signer).unwrap();
    let unread = r#""key_rotated","new_key":"","new_key":"""#;
    for change in [
        format!("UPDATE head SET note = '{note}'"),
        format!("UPDATE checkpoints SET note = '{note}'"),
        format!("UPDATE entries SET entry = replace(entry, '\"refusal\"', '{unread}') WHERE seq = 3"),
    ] {
        let copy = bench.path("copy.db");
        std::fs::copy(bench.path("audit.db"), &copy).unwrap();
        let mut connection = sqlx::ConnectOptions::connect(&options.clone().filename(&copy)).await.unwrap();
        let triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger'";
        let triggers: Vec<String> = sqlx::query_scalar(triggers).fetch_all(&mut connection).await.unwrap();
        let mut script: String = triggers.iter().map(|name| format!("DROP TRIGGER {name};")).collect();
        script += &change;
        sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
        let (exit, said) = bench.run("verify --database @copy.db --public-key @other.pub").await;
        assert!(exit == Exit::Tampered && said.starts_with("TAMPERED"), "{change}: {exit:?}, {said}");
    }
}
