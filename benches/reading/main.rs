//! How fast a record is read: `cargo bench --bench reading [-- --entries N] [--folder DIR]`.
//!
//! Makes a record of a million entries (or N) through the store, 2 GB below the system's temporary folder, and runs the
//! program's own commands on it: what they take of the processor and of the clock, and the most memory that they had.
//! Then asks each view, the audit API and the console, and calls the proxy beside readers; with `--of WHAT`
//! only `commands`, `views`, `pages` or `beside`.
//! In DIR the record is kept, and taken again by the next run.
//! Figures are kept in `benches/README.md`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a benchmark measures with the machine's clock and stops at the first thing that is wrong"
)]

#[path = "../../tests/whole/harness.rs"]
mod harness;

#[path = "../load/mod.rs"]
mod load;

mod beside;
mod questions;
mod record;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use record::Record;

const ALL: [&str; 4] = ["commands", "views", "pages", "beside"];

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs this as well, to see that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let after = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let entries = after("--entries").map_or(1_000_000, |n| n.parse().expect("--entries wants a number"));
    let record = Record::of(entries, after("--folder").map(Into::into)).await;
    let bytes = std::fs::metadata(record.database()).unwrap().len();
    println!("{entries} entries, {:.0} MiB", bytes as f64 / 1_048_576.0);
    let of = after("--of");
    assert!(of.as_deref().is_none_or(|of| ALL.contains(&of)), "--of wants one of {ALL:?}");
    let wanted = |what: &str| of.as_deref().is_none_or(|of| of == what);
    if wanted("commands") {
        commands(&record, entries);
    }
    if wanted("views") {
        questions::views(&record, entries).await;
    }
    if wanted("pages") || wanted("beside") {
        let world = beside::world(&record).await;
        if wanted("pages") {
            questions::pages(&world, entries).await;
        }
        if wanted("beside") {
            beside::latency(&world, &record).await;
        }
    }
}

/// The program's own commands on the whole record.
fn commands(record: &Record, entries: u64) {
    println!(
        "{:>16} {:>10} {:>12} {:>10} {:>12} {:>10}",
        "", "CPU", "entries/s", "clock", "entries/s", "memory"
    );
    let (public_key, checkpoint) = (record.public_key.as_str(), record.checkpoint_file());
    let checkpoint = checkpoint.to_str().unwrap();
    let verify = ["verify", "--public-key", public_key, "--checkpoint", checkpoint, "--entries-only"];
    show(record, entries, "verify", &verify[..5]);
    show(record, entries, "  --entries-only", &verify);
    for format in ["jsonl", "csv", "ocsf"] {
        show(record, entries, &format!("export {format}"), &["export", "--format", format]);
    }
}

/// Runs a command on the record three times and prints what the quickest run took.
fn show(record: &Record, entries: u64, name: &str, command: &[&str]) {
    let runs = (0..3).map(|_| run(record, command)).collect::<Vec<_>>();
    let took = runs.iter().min_by_key(|took| took.cpu).unwrap();
    let pace = |time: Duration| entries as f64 / time.as_secs_f64();
    println!(
        "{name:>16} {:>10.2?} {:>12.0} {:>10.2?} {:>12.0} {:>6.1} MiB",
        took.cpu,
        pace(took.cpu),
        took.clock,
        pace(took.clock),
        took.memory_kib as f64 / 1024.0,
    );
}

struct Took {
    cpu: Duration,
    clock: Duration,
    memory_kib: u64,
}

fn run(record: &Record, command: &[&str]) -> Took {
    let (before, began) = (cpu_of_children(), Instant::now());
    let mut child = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"))
        .arg("audit")
        .args(command)
        .arg("--database")
        .arg(record.database())
        .current_dir(record.folder())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut memory_kib = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        memory_kib = memory_kib.max(memory(child.id()));
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{command:?}: {status}");
    Took { cpu: cpu_of_children().checked_sub(before).unwrap(), clock: began.elapsed(), memory_kib }
}

/// The most memory that a process had so far, in KiB.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    most.map_or(0, |most| most.trim().trim_end_matches(" kB").parse().unwrap())
}

/// User and system time of all children that have ended, from `proc(5)`: fields 16 and 17, in hundredths of a second.
fn cpu_of_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis((ticks(14) + ticks(15)) * 10)
}
