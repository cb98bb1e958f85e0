//! The signing key is replaced by the program itself, also when it is killed on the way.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::World;
use http::Method;

const KILLS: u64 = 30;

fn verify(world: &World, more: &[&str]) -> (bool, String) {
    let database = world.database().display().to_string();
    let args = [&["audit", "verify", "--database", &database], more].concat();
    let output = world.program(&args);
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).into_owned())
}

fn rotate(world: &World) -> (bool, String) {
    let output = world.program(&["keys", "rotate", "--config", &world.config()]);
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).into_owned())
}

/// The file of the public key, and those of the keys before it.
fn public_keys(folder: &Path) -> (String, Vec<String>) {
    let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path().display().to_string());
    let (now, before): (Vec<_>, Vec<_>) = names
        .filter(|name| name.contains("audit-signing") && name.ends_with(".pub"))
        .partition(|name| name.ends_with("signing.key.pub"));
    (now.into_iter().next().unwrap(), before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_signs_what_follows_and_all_before_still_verifies() {
    let mut world = World::start().await;
    let answer = world.call("viewer", Method::GET, "", None).await;
    assert_eq!(answer.status, 200);
    let (done, told) = rotate(&world);
    assert!(!done && told.contains("another process writes"), "{told}");
    world.stop().await;
    // Nothing was begun, so the old key goes on.
    world.launch().await;
    world.stop().await;
    let proof = world.dir.path().join("old.proof").display().to_string();
    let first = world.entries().await[0].json.get("id").unwrap().as_str().unwrap().to_owned();
    let (old, _) = public_keys(world.dir.path());
    let database = world.database().display().to_string();
    let prove = ["audit", "prove", &first, "--database", &database, "--public-key", &old, "--to", &proof];
    assert!(world.program(&prove).status.success());

    let (done, told) = rotate(&world);
    assert!(done, "{told}");
    world.launch().await;
    let answer = world.call("viewer", Method::GET, "", None).await;
    assert_eq!(answer.status, 200);
    let (now, before) = public_keys(world.dir.path());
    let [before] = before.as_slice() else { panic!("{before:?}") };
    for keys in [
        &["--public-key", &now][..],
        &["--public-key", before],
        &["--public-key", before, "--public-key", &now],
    ] {
        let (sound, told) = verify(&world, keys);
        assert!(sound && told.contains("signed the first"), "{keys:?}: {told}");
    }
    let checked = world.program(&["audit", "verify", &proof, "--public-key", before]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    assert_eq!(world.program(&["audit", "verify", &proof, "--public-key", &now]).status.code(), Some(3));
    let rotation =
        world.entries().await.into_iter().find(|entry| entry.text("/kind") == "key_rotated").unwrap();
    assert!(rotation.number("/operator/uid").is_some());
    // No private key is told or kept.
    let told = format!("{}{}{}", world.stderr(), world.stdout(), rotation.raw);
    assert!(!told.contains("PRIVATE+KEY"));
    assert!(!world.dir.path().join("signing.key.next").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_key_that_is_killed_anywhere_is_ended_by_the_next() {
    let mut world = World::start().await;
    world.stop().await;
    for round in 0..KILLS {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
            .args(["keys", "rotate", "--config", &world.config()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_clear()
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(round * 41 % 60)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let (done, told) = rotate(&world);
        assert!(done, "{round}: {told}");
        let (now, before) = public_keys(world.dir.path());
        let (sound, told) = verify(&world, &["--public-key", &now]);
        assert!(sound, "{round}: {told}");
        // However often, each key that there was is one of the log's.
        let (sound, told) = verify(&world, &["--public-key", &before[0]]);
        assert!(sound, "{round}: {told}");
    }
    world.launch().await;
    assert_eq!(world.call("viewer", Method::GET, "", None).await.status, 200);
}
