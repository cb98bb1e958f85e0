//! Whether each answer has its record, and what has no answer is counted.

use std::collections::{BTreeMap, HashMap};

use tunnelwarden::json::{self, Json};
use tunnelwarden::store::{Database, Filter, Reader};
use uuid::Uuid;

use crate::attacker::Ended;
use crate::callers::{Call, End};
use crate::harness::World;
use crate::wire::Answer;

/// Unrecorded answers that are printed.
const SHOWN: usize = 20;

/// What the record has of a call.
#[derive(Default)]
struct Found {
    intents: u32,
    outcomes: u32,
    refusals: u32,
    status: Option<i64>,
    known: bool,
}

/// The place of the record's last entry.
pub async fn last(record: &Database) -> Option<u64> {
    let reader = Reader::open(record).await.unwrap();
    let last = reader.last().await.unwrap();
    reader.close().await;
    last
}

/// Requests that got neither answer nor entry, as the proxy counts them, by the refusal's name.
pub async fn unanswered(world: &World) -> BTreeMap<String, u64> {
    let text = world.admin("/metrics").await.text();
    let counted = text.lines().filter_map(|line| {
        let (name, count) =
            line.strip_prefix("tunnelwarden_unanswered_total{refusal=\"")?.split_once("\"} ")?;
        Some((name.to_owned(), count.parse().unwrap()))
    });
    counted.collect()
}

/// Reads the record behind `after`, and holds each answer against it; what is wrong.
pub async fn check(
    world: &World,
    after: Option<u64>,
    calls: &[Call],
    attack: &Ended,
    unanswered: &BTreeMap<String, u64>,
) -> Vec<String> {
    let (mut found, kinds) = read(world.record(), after).await;
    println!("\nrecord:");
    kinds.iter().for_each(|(kind, count)| println!("  {kind:<16} {count:>9}"));
    let mut unrecorded = Vec::new();
    let mut lost = attack.closed;
    let (mut reads, mut writes, mut refused) = (0, 0, attack.answers.len());
    for call in calls {
        match call.end {
            End::Answered(answer) => {
                let entry = found.remove(&answer.id).unwrap_or_default();
                if entry.refusals > 0 {
                    refused += 1;
                } else if call.write {
                    writes += 1;
                } else {
                    reads += 1;
                }
                unrecorded.extend(fault(&entry, &answer, call.write));
            }
            End::Lost => lost += 1,
            End::Unsent => {}
        }
    }
    for answer in &attack.answers {
        let entry = found.remove(&answer.id).unwrap_or_default();
        unrecorded.extend(fault(&entry, answer, false));
    }
    println!(
        "answers: {reads} of reads, {writes} of updates, {refused} refusals: {} entries owed, {} without their entries",
        reads + 2 * writes + refused,
        unrecorded.len()
    );
    // While the record takes nothing, a refusal for that has a line in the log and no entry.
    let logged = world.stderr().lines().filter(|line| line.contains("could not be recorded")).count();
    println!("refusals that could not be recorded, by the log: {logged}");
    unrecorded.iter().take(SHOWN).for_each(|one| println!("  {one}"));
    let known = found.values().filter(|entry| entry.known).count();
    println!(
        "entries of calls whose answer nobody got: {known} of callers, {} of strangers",
        found.len() - known
    );
    println!(
        "requests without an answer: {lost}; not answered by design, as the proxy counts them: {unanswered:?}"
    );
    let accounted = unanswered.values().sum::<u64>() + found.len() as u64;
    let mut wrong = Vec::new();
    if !unrecorded.is_empty() {
        wrong.push(format!("{} answers have no record, or another one", unrecorded.len()));
    }
    if lost > accounted {
        let short = lost - accounted;
        wrong.push(format!("{short} requests have neither answer nor record, nor were they counted"));
    }
    wrong
}

/// What the record lacks of an answer, or says otherwise.
fn fault(entry: &Found, answer: &Answer, write: bool) -> Option<String> {
    let intents = u32::from(write && entry.refusals == 0);
    let one_end = entry.outcomes + entry.refusals == 1;
    let good = one_end && entry.intents == intents && entry.status == Some(i64::from(answer.status));
    let Found { intents, outcomes, refusals, status, .. } = entry;
    (!good).then(|| {
        let Answer { id, status: answered, .. } = answer;
        format!("{id}, answered {answered}: {intents} intents, {outcomes} outcomes, {refusals} refusals, status {status:?}")
    })
}

/// What there is of each call, and how many entries of each kind.
async fn read(record: &Database, mut after: Option<u64>) -> (HashMap<Uuid, Found>, BTreeMap<String, u64>) {
    let reader = Reader::open(record).await.unwrap();
    let mut found: HashMap<Uuid, Found> = HashMap::new();
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        let rows = reader.page(&Filter { after, ..Filter::default() }).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some(last.seq);
        for row in &rows {
            let entry = json::read(row.entry.as_bytes(), json::MAX_DEPTH).unwrap();
            let text = |name: &str| entry.get(name).and_then(Json::as_str).unwrap_or_default();
            let kind = text("kind");
            *kinds.entry(kind.to_owned()).or_default() += 1;
            if !matches!(kind, "intent" | "outcome" | "refusal") {
                continue;
            }
            let of = found.entry(text("request_id").parse().unwrap()).or_default();
            match kind {
                "intent" => of.intents += 1,
                "outcome" => of.outcomes += 1,
                _ => of.refusals += 1,
            }
            of.known |= !text("subject").is_empty();
            of.status = entry.get("status").and_then(Json::as_i64).or(of.status);
        }
    }
    reader.close().await;
    (found, kinds)
}
