//! A process that has its record for itself: what a start takes over from it, and calls that were refused before they were claimed.

use super::*;

/// The only replica, whose record is a file in this folder.
async fn alone(folder: &tempfile::TempDir, clock: Arc<ManualClock>) -> Replica {
    Replica::new(&Database::Sqlite(folder.path().join("audit.db")), "", clock).await
}

#[tokio::test]
async fn a_start_learns_from_the_record_what_became_of_one_shot_calls() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let alone = alone(&folder, clock.clone()).await;
    let first = Uuid::from_u128(7);
    let entry = |age: Duration, more: &[(&'static str, String)]| {
        let time = ("time", (clock.now() - age).to_string());
        let members = [time].into_iter().chain(more.iter().cloned());
        Json::from(Object::from_iter(members.map(|(name, value)| (name, Json::from(value)))))
    };
    let long_ago = WINDOW * 2;
    let recent = WINDOW / 2;
    let cases = [
        ("nobody knows", None, [false, false]),
        ("it was looked into", Some(("can't tell", recent)), [false, false]),
        ("it happened", Some(("applied", recent)), [true, false]),
        ("it came to nothing", Some(("not applied", recent)), [true, true]),
        ("it is long known to have happened", Some(("applied", WINDOW)), [true, true]),
    ];
    for (n, (what, ending, is_taken)) in (0..).zip(cases) {
        for (retry_count, is_taken) in (0..).zip(is_taken) {
            let tunnel = 2 * n + usize::from(retry_count > 0) + 1;
            let key = request_key(&alone.auditor.fingerprinter, &alone.call(tunnel, 0), &asked()).unwrap();
            let intent = entry(long_ago, &[("request_id", first.to_string()), ("request_key", key)]);
            let ending = ending.map(|(resolution, age)| entry(age, &[("resolution", resolution.into())]));
            alone.auditor.remember(&intent, ending.as_ref(), clock.now());
            let expected = if is_taken { Ok(()) } else { Err(Refusal::Repeat { first }) };
            assert_eq!(alone.again(tunnel, retry_count).await, expected, "{what}, retry {retry_count}");
        }
    }
}

#[tokio::test]
async fn a_retry_of_a_call_that_was_refused_before_it_was_claimed_is_none_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let alone = alone(&folder, clock.clone()).await;
    let busy = Refusal::Overloaded { retry_after: LONG };
    let final_one = Refusal::UnknownRoute;
    assert!(matches!(final_one.terms().retry, Retry::Useless));
    let cases = [(0, &busy, true), (1, &busy, false), (0, &final_one, false)];
    for (tunnel, (retry_count, refusal, is_taken)) in (1..).zip(cases) {
        let first = alone.made(tunnel, Fate::Happened).await;
        clock.advance(LONG);
        alone.auditor.unsent(&alone.call(tunnel, retry_count), &asked(), refusal);
        let expected = if is_taken { Ok(()) } else { Err(Refusal::Repeat { first }) };
        assert_eq!(alone.again(tunnel, 1).await, expected, "{refusal:?}, retry {retry_count}");
    }
}

#[tokio::test]
async fn what_may_be_done_twice_or_is_only_validated_is_recognized_by_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let alone = alone(&folder, clock()).await;
    let call = |operation, validate_only| {
        let mut call = alone.call(1, 0);
        call.route = Some(Route { operation, validate_only, ..route(1) });
        request_key(&alone.auditor.fingerprinter, &call, &asked())
    };
    assert!(call(Operation::GeneratePsk, false).is_some());
    assert_eq!(call(Operation::GeneratePsk, true), None);
    assert_eq!(call(Operation::Update, false), None);
}
