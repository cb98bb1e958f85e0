//! The whole program where the system itself fails: a disk that does not sync or has no room, no file descriptors, no
//! memory, and an end in the middle of a sync, which strace makes happen at the same place each time.
//!
//! Where a fault can't be made, for want of strace or of leave to trace, the test says that it was skipped; where `CI` is
//! set it fails. Not here: files that are full, locked or sealed (`store_faults`), kills at random (`crash`).

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::Method;
use tokio::net::TcpStream;

use crate::harness::{PATIENCE, Stored, Wishes, World, tunnel_body};

/// The calls that make what was written durable.
const SYNC: &str = "fsync,fdatasync";

/// The program under strace, which does this to its calls of the system until it is told to end. The process that is
/// started is the program itself.
fn tampered(inject: &str) -> Option<Vec<String>> {
    let calls = inject.split(':').next().unwrap();
    let trace = format!("trace={calls}");
    let line = ["strace", "-D", "-I1", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e"];
    let line: Vec<String> = line.into_iter().map(str::to_owned).chain([format!("inject={inject}")]).collect();
    let tried = Command::new(&line[0]).args(&line[1..]).arg("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "not tried, and CI is set: no strace, or no leave to trace"
        );
        eprintln!("SKIPPED: no strace, or no leave to trace, so this was not tried");
        return None;
    }
    Some(line)
}

fn wishes(through: Vec<String>) -> Wishes {
    let config = vec![("audit.append_timeout", "\"1s\"".to_owned())];
    Wishes { config, unlimited: true, through, ..Wishes::default() }
}

/// What the client of a call got: its request id, and the status. None for no answer.
type Got = Option<(String, u16)>;

async fn create(world: &World, n: u8) -> Got {
    let body = tunnel_body(&format!("t{n}"), n);
    let answer = world.try_call(&world.token("operator"), Method::POST, "", Some(&body), &[]).await.ok()?;
    Some((answer.header("x-request-id"), answer.status))
}

/// Whatever failed: each answer but those that say that nothing can be recorded is in the record, with its status, each
/// effect has its intent, and each intent one end.
async fn check_promises(world: &World, got: &[Got]) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !world.open_intents().await.is_empty() {
        assert!(tokio::time::Instant::now() < until, "intents stay open:\n{}", world.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let entries = world.entries().await;
    let of = |kind: &str| entries.iter().filter(|entry| entry.text("/kind") == kind).collect::<Vec<_>>();
    let intents: BTreeSet<String> = of("intent").iter().map(|entry| entry.text("/request_id")).collect();
    for effect in world.emulator.effect_list() {
        assert!(intents.iter().any(|id| effect.user_agent.contains(id.as_str())), "no intent of {effect:?}");
    }
    let told = |entry: &&Stored| (entry.text("/request_id"), entry.number("/status"));
    let ends: BTreeSet<_> = [of("outcome"), of("refusal")].iter().flatten().map(told).collect();
    for (id, status) in got.iter().flatten().filter(|(_, status)| *status != 503) {
        assert!(ends.contains(&(id.clone(), Some(i64::from(*status)))), "{id}, {status} is not recorded");
    }
}

/// Ends what is done to the program, which goes on.
fn lift(world: &World) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.proxy().id())).unwrap();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap().trim();
    assert_ne!(tracer, "0", "it is traced");
    assert!(Command::new("kill").args(["-TERM", tracer]).status().unwrap().success());
}

/// Calls until one is refused for want of a record, lifts the fault, and calls until one is made.
async fn until_refused_and_made_again(world: &World) -> Vec<Got> {
    let mut got = Vec::new();
    for wanted in [503, 200] {
        if wanted == 200 {
            lift(world);
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            assert!(tokio::time::Instant::now() < until, "never {wanted}: {got:?}\n{}", world.stderr());
            let one = create(world, u8::try_from(got.len() % 200).unwrap()).await;
            got.push(one);
            if got.last().unwrap().as_ref().is_some_and(|(_, status)| *status == wanted) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    got
}

/// A record that was made and closed without a fault, so that faults are counted from the start on the same one.
async fn closed() -> World {
    let mut world = World::with(wishes(Vec::new())).await;
    world.stop().await;
    world
}

async fn check_resumes(inject: &str) {
    let Some(through) = tampered(inject) else { return };
    let mut world = closed().await;
    world.through = through;
    world.launch().await;
    let got = until_refused_and_made_again(&world).await;
    check_promises(&world, &got).await;
}

#[tokio::test]
async fn a_disk_that_fails_to_sync_refuses_until_it_does() {
    check_resumes(&format!("{SYNC}:error=EIO:when=6+")).await;
}

#[tokio::test]
async fn a_disk_without_room_refuses_until_there_is_some() {
    check_resumes("pwrite64:error=ENOSPC:when=60+").await;
}

/// The process ends where the disk is told to make a transaction durable: what is there then is found by the next start.
#[tokio::test]
async fn whichever_sync_the_program_ends_in_the_promises_hold() {
    let mut calls = 0;
    for nth in 2..10 {
        let Some(through) = tampered(&format!("{SYNC}:signal=SIGKILL:when={nth}")) else { return };
        let mut world = closed().await;
        world.through = through;
        let mut got = Vec::new();
        // It may also end before it serves.
        if world.try_launch().await {
            while got.last() != Some(&None) {
                assert!(got.len() < 100, "it never ends");
                let one = create(&world, u8::try_from(got.len()).unwrap()).await;
                got.push(one);
            }
            assert!(!world.ended().await.success());
        }
        calls += got.len();
        world.through.clear();
        world.launch().await;
        check_promises(&world, &got).await;
        got.push(create(&world, 200).await);
        check_promises(&world, &got).await;
    }
    assert!(calls > 4, "it ended in the middle of calls");
}

#[tokio::test]
async fn a_connection_that_cannot_be_accepted_is_waited_for() {
    let Some(through) = tampered("accept4:error=EMFILE:when=2..5") else { return };
    let world = World::with(wishes(through)).await;
    let mut got = Vec::new();
    for n in 0..8 {
        let token = world.token("operator");
        let body = tunnel_body(&format!("t{n}"), n);
        let close = [("connection", "close")];
        let answer = world.try_call(&token, Method::POST, "", Some(&body), &close).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        got.push(Some((answer.header("x-request-id"), answer.status)));
    }
    check_promises(&world, &got).await;
}

#[tokio::test]
async fn without_file_descriptors_it_waits_for_some_and_nothing_goes_unrecorded() {
    let world = World::with(wishes(vec!["prlimit".to_owned(), "--nofile=48".to_owned()])).await;
    let mut got = vec![create(&world, 1).await];
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(TcpStream::connect(world.proxy().api).await.unwrap());
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    while !world.stderr().contains("can't accept a connection") {
        assert!(tokio::time::Instant::now() < until, "it has enough of them");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // One that was there before.
    got.push(create(&world, 2).await);
    drop(idle);
    loop {
        let one = create(&world, u8::try_from(got.len() + 1).unwrap()).await;
        let is_made = one.as_ref().is_some_and(|(_, status)| *status == 200);
        got.push(one);
        if is_made && got.len() > 4 {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "it does not come back: {got:?}\n{}", world.stderr());
    }
    check_promises(&world, &got).await;
}

/// It may not start, or end in the middle of a call; what it said before that holds.
#[tokio::test]
async fn with_too_little_memory_it_may_end_and_the_promises_hold() {
    let (mut ended, mut served) = (0, 0);
    for mebibytes in [96, 192, 320, 1024] {
        let limit = format!("--as={}", mebibytes << 20);
        let mut world = World::prepared(wishes(vec!["prlimit".to_owned(), limit])).await;
        let mut got = Vec::new();
        if world.try_launch().await {
            served += 1;
            for n in 0..20 {
                let one = create(&world, n).await;
                got.push(one);
            }
            if got.contains(&None) {
                ended += 1;
            }
            world.kill();
        } else {
            ended += 1;
        }
        world.through.clear();
        world.launch().await;
        check_promises(&world, &got).await;
    }
    eprintln!("{served} starts served, {ended} had too little");
    assert!(served > 0, "with 1 GiB it serves");
}
