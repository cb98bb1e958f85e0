use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::audit::owed::tests::Bench;
use crate::operation::{AccountId, Operation, Route};
use crate::store::Filter;
use crate::store::double::Step;

/// How long an append may take here: far longer than it takes to refuse thousands.
const TIMEOUT: Duration = Duration::from_secs(10);

const OVERLOADED: Refusal = Refusal::Overloaded { retry_after: Duration::from_secs(1) };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_refusals_wait_for_a_slow_record_and_no_more_are_told() {
    let bench = Bench::new(TIMEOUT).await;
    let account = AccountId::parse("0a").unwrap();
    let route = Route { operation: Operation::List, account, tunnel: None, validate_only: false };
    let auditor = &bench.auditor;
    assert_eq!(auditor.keeps_up(), Ok(()));
    bench.plan.commits.lock().unwrap().push_back(Step::Hangs);
    let first = tokio::spawn({
        let (auditor, mut call) = (Arc::clone(auditor), bench.call(route));
        async move { auditor.refuse(&mut call, &Refusal::UnknownRoute).await.is_ok() }
    });
    while auditor.keeps_up().is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut told = 0;
    while auditor.tells_of_overload() {
        let _recorded = auditor.refuse(&mut bench.call(route), &OVERLOADED).await.unwrap();
        told += 1;
    }
    assert!(!first.is_finished(), "nobody waited for the record");
    assert!(told > TOGETHER * (WAITING - 2) && told <= TOGETHER * WAITING, "{told}");
    assert!(auditor.refuse(&mut bench.call(route), &OVERLOADED).await.is_err());
    bench.plan.gate.notify_one();
    assert!(first.await.unwrap());
    assert!(auditor.settled(TIMEOUT).await);
    let filter = Filter { limit: None, ..Filter::default() };
    let stored = bench.reader.list(&filter).await.unwrap();
    let late = stored.iter().filter(|row| row.entry.contains("\"recorded_late\":true")).count();
    assert_eq!((stored.len(), late), (told + 1, told));
    assert_eq!(auditor.keeps_up(), Ok(()), "it is quick again");
}
