//! Latencies and statuses, as they are printed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::attacker::{ADDRESSES, AT_ONCE, Ended};
use crate::callers::{Call, End, Phase};
use crate::harness::PATIENCE;

/// How long calls took from when each was due, by what went on meanwhile.
pub fn latencies(calls: &[Call]) {
    println!(
        "\n{:<27} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "latency", "calls", "p50", "p95", "p99", "p99.9", "most"
    );
    for phase in Phase::ALL {
        for (kind, write) in [("", None), (", reads", Some(false)), (", updates", Some(true))] {
            let of = calls
                .iter()
                .filter(|call| call.phase == phase && write.is_none_or(|write| write == call.write));
            let mut times: Vec<_> = of.filter_map(counted).collect();
            times.sort_unstable();
            if times.is_empty() {
                continue;
            }
            let at = |share: f64| {
                let place = ((times.len() as f64 * share).ceil() as usize).saturating_sub(1);
                format!("{:.2} ms", times[place].as_secs_f64() * 1000.0)
            };
            println!(
                "{:<27} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}",
                format!("{}{kind}", phase.name()),
                times.len(),
                at(0.5),
                at(0.95),
                at(0.99),
                at(0.999),
                at(1.0),
            );
        }
    }
}

/// A refusal is quick and would flatter; a call without an answer waited for as long as anybody waits.
fn counted(call: &Call) -> Option<Duration> {
    match call.end {
        End::Answered(answer) => (answer.status == 200).then_some(call.took),
        End::Lost | End::Unsent => Some(call.took.max(PATIENCE)),
    }
}

/// What callers got, and the first answer of each status that is not what they wanted.
pub fn callers(calls: &[Call], others: &BTreeMap<u16, String>, connections: usize, opened: usize) {
    println!("\ncallers: {connections} connections, opened anew {} times", opened - connections);
    let ends = calls.iter().map(|call| match call.end {
        End::Answered(answer) => answer.status.to_string(),
        End::Lost => "sent, no answer".to_owned(),
        End::Unsent => "not sent".to_owned(),
    });
    by_name(ends);
    for (status, answer) in others {
        let kind = if *status == 503 { "shed" } else { "unexpected" };
        println!("  {kind}, the first {status}:\n{answer}");
    }
}

/// What the attacker offered and got.
pub fn attacker(offered: u32, ended: &Ended) {
    let seconds = ended.took.as_secs_f64();
    println!(
        "\nattacker: {offered} requests/s offered by one thread from {ADDRESSES} addresses, {AT_ONCE} at once; {:.0}/s sent, \
         {} held back, {} without a connection; {:.2} cores",
        ended.sent as f64 / seconds,
        ended.held_back,
        ended.unconnected,
        ended.cpu.as_secs_f64() / seconds,
    );
    let answered = ended.answers.iter().map(|answer| answer.status.to_string());
    let closed = (0..ended.closed).map(|_| "no answer".to_owned());
    by_name(answered.chain(closed));
}

fn by_name(ends: impl Iterator<Item = String>) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    ends.for_each(|end| *counts.entry(end).or_default() += 1);
    counts.iter().for_each(|(end, count)| println!("  {end:<16} {count:>9}"));
}
