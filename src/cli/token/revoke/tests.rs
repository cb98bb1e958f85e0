use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;

use super::super::tests::CONFIG;
use super::*;
use crate::clock::ManualClock;

#[derive(Parser, Debug)]
struct Line {
    #[command(flatten)]
    args: Args,
}

async fn ask(config: &Path, line: &[&str]) -> (String, Exit) {
    let clock = ManualClock::at(jiff::Timestamp::UNIX_EPOCH);
    let env = Env { vars: BTreeMap::new(), clock, terminal: Default::default() };
    let config = ["revoke", "--config", config.to_str().unwrap()];
    let args = Line::try_parse_from([&config[..], line].concat()).unwrap().args;
    let mut out = Vec::new();
    match run(&args, &env, &mut out).await {
        Ok(exit) => (String::from_utf8(out).unwrap(), exit),
        Err(stop) => (stop.what, stop.exit),
    }
}

fn configuration(folder: &Path, database: &str) -> PathBuf {
    let path = folder.join("tw.toml");
    let text = CONFIG.replace("sqlite:audit.db", database);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn beside_a_file_the_revocation_file_gets_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "sqlite:audit.db");
    let file = folder.path().join("revoked");
    let said = |exit| move |(_, found): (String, Exit)| assert_eq!(found, exit);
    said(Exit::Good)(ask(&config, &["--jti", "7"]).await);
    std::fs::write(&file, "# by hand\njti 1").unwrap();
    said(Exit::Good)(ask(&config, &["--subject", "Zoe\u{308} the builder", "--jti", "8"]).await);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "# by hand\njti 1\njti 8\nsub https://idp.example Zo\u{eb} the builder\n");
    for name in ["7\njti 9", "", " 7", "7 ", "7  8", "7\u{200b}"] {
        for kind in ["--jti", "--subject"] {
            let (told, exit) = ask(&config, &[kind, name]).await;
            assert!(exit == Exit::Usage && told.contains("no line of the list can hold it; give"), "{told}");
            assert!(!told.contains(['\n', '\u{200b}']), "{told:?}");
        }
    }
    let token = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmVk";
    for token in [token.to_owned(), format!("Bearer\t{token}"), format!("{token} ")] {
        for (line, says) in [
            (&["--jti", &token][..], "token inspect"),
            (&["--subject", &token], "token inspect"),
            (&["--jti", "7", &token], "--jti or"),
        ] {
            let (told, exit) = ask(&config, line).await;
            assert!(exit == Exit::Usage && told.contains(says) && !told.contains("eyJ"), "{told}");
        }
        let alone = ["revoke", "--config", "tw.toml", &token];
        let told = Line::try_parse_from(alone).unwrap_err().to_string();
        assert!(told.contains("<--jti <ID>|--subject <SUBJECT>>") && !told.contains("eyJ"), "{told}");
    }
    said(Exit::Usage)(ask(&config, &["--subject", "a", "--issuer", "https://other.example"]).await);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn nothing_is_added_that_is_there_and_it_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "sqlite:audit.db");
    let file = folder.path().join("revoked");
    let text = "jti  1\nsub https://idp.example\tann";
    std::fs::write(&file, text).unwrap();
    let place = format!("in `{}`: ", file.display());
    let ann = "sub https://idp.example ann";
    assert_eq!(
        ask(&config, &["--jti", "1", "--subject", "ann", "--subject", "ann"]).await,
        (format!("already revoked {place}jti 1\nalready revoked {place}{ann}\n"), Exit::Good)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "it is as it was");
    assert_eq!(
        ask(&config, &["--jti", "2", "--jti", "1", "--jti", "2"]).await,
        (format!("revoked {place}jti 2\nalready revoked {place}jti 1\n"), Exit::Good)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{text}\njti 2\n"));
    std::fs::write(&file, "jti 1\nwhat\n").unwrap();
    let (said, exit) = ask(&config, &["--jti", "1"]).await;
    assert!(exit == Exit::Failed && said.contains("line 2 "), "{said}");
}

#[tokio::test]
async fn what_is_taken_back_goes_out_of_the_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "sqlite:audit.db");
    let file = folder.path().join("revoked");
    let place = format!("in `{}`: ", file.display());
    let text = "# leavers\njti 7\n\njti 70\n jti\t7 \nsub https://idp.example ann";
    std::fs::write(&file, text).unwrap();
    for (line, why) in [
        (&["--jti", "7", "--jti", "8"][..], "is `jti 8`; look it up"),
        (&["--subject", "bob"], "is `sub https://idp.example bob`; look it up"),
    ] {
        let (said, exit) = ask(&config, &[line, &["--take-back"]].concat()).await;
        assert_eq!((exit, said.starts_with("nothing is taken back: ")), (Exit::Failed, true), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "it is as it was");
    }
    let gone = "no longer revoked";
    assert_eq!(
        ask(&config, &["--take-back", "--jti", "7", "--subject", "ann"]).await,
        (format!("{gone} {place}jti 7\n{gone} {place}sub https://idp.example ann\n"), Exit::Good)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# leavers\n\njti 70\n");
    std::fs::write(&file, "jti 7\nwhat\n").unwrap();
    let (said, exit) = ask(&config, &["--take-back", "--jti", "7"]).await;
    assert!(exit == Exit::Failed && said.contains("line 1 "), "the line that is left is bad: {said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "jti 7\nwhat\n");
}

#[tokio::test]
async fn without_a_list_it_is_said_how_to_have_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "sqlite:audit.db");
    let text = std::fs::read_to_string(&config).unwrap().replace("revocation.file = \"revoked\"\n", "");
    std::fs::write(&config, text).unwrap();
    let (said, exit) = ask(&config, &["--jti", "7"]).await;
    assert_eq!(exit, Exit::Usage);
    assert!(said.contains("write `file = \"revoked.txt\"` below `[revocation]` there"), "{said}");
    assert!(said.contains(config.to_str().unwrap()), "{said}");
}

#[tokio::test]
async fn an_issuer_that_no_line_can_hold_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "sqlite:audit.db");
    let text = std::fs::read_to_string(&config).unwrap().replace("https://idp.example", "our idp");
    std::fs::write(&config, text).unwrap();
    let (said, exit) = ask(&config, &["--subject", "ann"]).await;
    assert!(exit == Exit::Usage && said.contains("the issuer `our idp`") && said.contains("--jti"), "{said}");
    assert!(!folder.path().join("revoked").exists());
}

#[test]
fn who_names_nobody_is_told_of_both_ways() {
    let line = ["revoke", "--config", "tw.toml"];
    let said = Line::try_parse_from(line).unwrap_err().to_string();
    assert!(said.contains("--jti") && said.contains("--subject"), "{said}");
    for more in [&["--jti", "7"][..], &["--subject", "ann"], &["--jti", "7", "--subject", "ann"]] {
        assert!(Line::try_parse_from(line.iter().chain(more)).is_ok(), "{more:?}");
    }
}

#[tokio::test]
async fn what_the_proxy_would_not_read_is_not_said_to_be_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "sqlite:audit.db");
    let file = folder.path().join("revoked");
    let full = format!("jti 1\n{}", "#".repeat(4 << 20));
    for (text, place) in
        [("jti 1\nwhat\n", "line 2 "), (full.as_str(), "more than 4194304 bytes"), ("jti 1\njti", "line 2 ")]
    {
        std::fs::write(&file, text).unwrap();
        let (said, exit) = ask(&config, &["--jti", "7"]).await;
        assert_eq!((exit, said.starts_with("nothing is revoked: ")), (Exit::Failed, true), "{said}");
        assert!(said.contains(place) && said.contains("; correct it there"), "{said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "it is as it was");
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 2, "nothing is left beside it");
}

#[tokio::test]
async fn many_who_revoke_at_once_keep_each_others_lines_and_the_files_mode() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "sqlite:audit.db");
    let file = folder.path().join("elsewhere");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("elsewhere", folder.path().join("revoked")).unwrap();
    std::fs::write(folder.path().join("elsewhere.next"), "half a li").unwrap();
    let threads: Vec<_> = (0..20)
        .map(|n| {
            let config = config.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(ask(&config, &["--jti", &n.to_string()])).1
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Exit::Good));
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable_by_key(|line| line[4..].parse::<u32>().unwrap());
    assert_eq!(lines, (0..20).map(|n| format!("jti {n}")).collect::<Vec<_>>());
    let kept = std::fs::symlink_metadata(&file).unwrap();
    assert!(kept.is_file() && kept.permissions().mode() & 0o777 == 0o640);
    assert!(folder.path().join("revoked").is_symlink());
}

#[tokio::test]
async fn beside_a_server_it_is_revoked_for_all_replicas() {
    let Some(database) = crate::store::record::postgres("a").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), &database.to_string());
    let shared = Shared::open(&database).unwrap().unwrap();
    let (said, exit) = ask(&config, &["--jti", "7", "--subject", "bob"]).await;
    assert_eq!(
        (said.as_str(), exit),
        (
            "revoked at all replicas: jti 7\nrevoked at all replicas: sub https://idp.example bob\n",
            Exit::Good
        )
    );
    assert_eq!(ask(&config, &["--jti", "7", "--take-back"]).await.1, Exit::Good);
    let known = shared.revocations(0).await.unwrap();
    let known: Vec<_> = known.iter().map(|one| (one.line.as_str(), one.in_force)).collect();
    assert_eq!(known, [("sub https://idp.example bob", true), ("jti 7", false)]);
    assert!(!folder.path().join("revoked").exists());
    // The file counts beside the server.
    std::fs::write(folder.path().join("revoked"), "sub https://idp.example bob\n").unwrap();
    assert_eq!(ask(&config, &["--jti", "7", "--take-back"]).await.1, Exit::Good);
    let (said, exit) = ask(&config, &["--subject", "bob", "--take-back"]).await;
    assert!(exit == Exit::Failed && said.contains("take the line out of it"), "{said}");
    assert!(!shared.revocations(0).await.unwrap().iter().any(|one| one.in_force));
}
