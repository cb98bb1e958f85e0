//! A record that is moved from a file to a server arrives byte for byte, also when the move is killed again and again.

use std::process::{Command, Stdio};
use std::time::Duration;

use http::Method;

use crate::harness::{World, on_a_server, stored, tunnel_body};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_moved_arrives_byte_for_byte_wherever_the_move_is_killed() {
    let Some(to) = on_a_server("before") else { return };
    let mut world = World::start().await;
    if world.record().file().is_none() {
        return;
    }
    let made = world.call("admin", Method::POST, "", Some(&tunnel_body("berlin", 1))).await;
    let id = made.text_at("/result/id");
    assert_eq!(world.call("admin", Method::POST, &format!("/{id}/psk_generate"), None).await.status, 200);
    for _ in 0..600 {
        assert_eq!(world.call("viewer", Method::GET, &format!("/{id}"), None).await.status, 200);
    }
    world.stop().await;
    let key = world.dir.path().join("audit-signing.key.pub").display().to_string();
    let (from, url) = (format!("sqlite:{}", world.database().display()), to.to_string());
    let arguments = ["audit", "copy", "--from", &from, "--to", &url, "--public-key", &key];
    let mut killed = 0;
    for milliseconds in (0..).map(|n| 20 + 30 * n) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"));
        let said = world.dir.path().join("copy.err");
        let stderr = std::fs::File::create(&said).unwrap();
        let mut child = command.args(arguments).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{}", std::fs::read_to_string(&said).unwrap());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
    }
    assert!(killed > 2, "it was over at once");
    let again = world.program(&arguments);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(told.starts_with("good: "), "{told}");

    let texts = |entries: Vec<crate::harness::Stored>| entries.into_iter().map(|e| e.raw).collect::<Vec<_>>();
    assert_eq!(texts(stored(&to).await), texts(stored(world.database()).await));
    let kept = world.dir.path().join("checkpoint.txt").display().to_string();
    let verify = ["audit", "verify", "--database", &url, "--public-key", &key, "--checkpoint", &kept];
    let verified = world.program(&verify);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
}
