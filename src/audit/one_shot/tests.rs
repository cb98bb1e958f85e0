use jiff::Timestamp;

use super::*;
use crate::clock::ManualClock;

const WINDOW: Duration = Duration::from_secs(600);

/// When calls arrive that wait for nothing.
const NOW: Duration = Duration::from_secs(1 << 20);

#[track_caller]
fn check(fate: Fate, retry_count: u32, refused: bool) {
    let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
    let first = Uuid::from_u128(1);
    shots.claim("key", first, 0, NOW).unwrap();
    shots.settle("key", first, fate);
    let got = shots.claim("key", Uuid::from_u128(2), retry_count, NOW);
    assert_eq!(got, if refused { Err(Refusal::Repeat { first }) } else { Ok(()) });
}

#[test]
fn a_repetition_of_what_may_have_happened_is_refused() {
    check(Fate::Open, 0, true);
    check(Fate::Open, 1, true);
    check(Fate::Unknown, 0, true);
    check(Fate::Happened, 1, true);
}

#[test]
fn what_reached_nobody_is_not_replaced_by_a_call_that_looks_new() {
    check(Fate::Unheard, 0, true);
    check(Fate::Unheard, 1, true);
}

#[test]
fn a_call_that_came_to_nothing_does_not_make_an_earlier_one_forgotten() {
    for on_the_way in [None, Some(Fate::Open)] {
        let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        shots.claim("key", first, 0, NOW).unwrap();
        shots.settle("key", first, Fate::Happened);
        shots.claim("key", second, 0, NOW).unwrap();
        on_the_way.into_iter().for_each(|fate| shots.settle("key", second, fate));
        shots.settle("key", second, Fate::Nothing);
        let again = shots.claim("key", Uuid::from_u128(3), 1, NOW);
        assert_eq!(
            again,
            Err(Refusal::Repeat { first }),
            "a retry, and of the first as far as anybody knows"
        );
        let new = Uuid::from_u128(4);
        assert_eq!(shots.claim("key", new, 0, NOW), Ok(()));
        shots.settle("key", new, Fate::Happened);
        let again = shots.claim("key", Uuid::from_u128(5), 1, NOW);
        assert_eq!(again, Err(Refusal::Repeat { first: new }));
    }
}

#[test]
fn after_a_restart_a_call_that_came_to_nothing_does_not_make_an_earlier_one_forgotten() {
    let age = Duration::from_secs(1);
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for fate in [Fate::Happened, Fate::Unheard, Fate::Unknown, Fate::Open] {
        let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
        shots.remember("key", first, fate, age);
        shots.remember("key", second, Fate::Nothing, age);
        let again = shots.claim("key", Uuid::from_u128(3), 1, NOW);
        assert_eq!(again, Err(Refusal::Repeat { first }), "{fate:?}");
    }
    let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
    shots.remember("key", first, Fate::Happened, age);
    // What is still open is told of twice.
    shots.remember("key", second, Fate::Open, age);
    shots.remember("key", second, Fate::Open, age);
    shots.settle("key", second, Fate::Nothing);
    assert_eq!(shots.claim("key", Uuid::from_u128(3), 1, NOW), Err(Refusal::Repeat { first }));
}

#[test]
fn a_new_call_and_a_retry_of_nothing_are_not() {
    check(Fate::Happened, 0, false);
    check(Fate::Nothing, 0, false);
    check(Fate::Nothing, 2, false);
}

#[test]
fn a_call_that_waited_for_the_first_one_to_happen_is_its_repetition() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let shots = OneShots::new(clock.clone(), WINDOW);
    let second = Duration::from_secs(1);
    let first = Uuid::from_u128(1);
    shots.claim("key", first, 0, Duration::ZERO).unwrap();
    clock.advance(second * 2);
    shots.settle("key", first, Fate::Happened);
    assert_eq!(shots.claim("key", Uuid::from_u128(2), 0, second), Err(Refusal::Repeat { first }));
    assert_eq!(shots.claim("key", Uuid::from_u128(3), 0, second * 2), Ok(()));
    clock.advance(second);
    shots.settle("key", Uuid::from_u128(3), Fate::Nothing);
    let again = shots.claim("key", Uuid::from_u128(4), 0, second);
    assert_eq!(again, Err(Refusal::Repeat { first }), "whatever a newer one came to");
    shots.claim("other", Uuid::from_u128(5), 0, second).unwrap();
    shots.settle("other", Uuid::from_u128(5), Fate::Nothing);
    assert_eq!(shots.claim("other", Uuid::from_u128(6), 0, second), Ok(()), "there is nothing to repeat");
}

#[test]
fn a_call_is_forgotten_a_window_after_its_fate_is_known() {
    for fate in [Fate::Happened, Fate::Unknown] {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let shots = OneShots::new(clock.clone(), WINDOW);
        shots.claim("key", Uuid::from_u128(1), 0, NOW).unwrap();
        clock.advance(WINDOW);
        shots.settle("key", Uuid::from_u128(1), fate);
        clock.advance(WINDOW - Duration::from_millis(1));
        assert!(shots.claim("key", Uuid::from_u128(2), 1, NOW).is_err());
        clock.advance(Duration::from_millis(1));
        assert!(shots.claim("key", Uuid::from_u128(3), 1, NOW).is_ok());
    }
}

#[test]
fn an_open_call_is_not_forgotten() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let shots = OneShots::new(clock.clone(), WINDOW);
    shots.claim("key", Uuid::from_u128(1), 0, NOW).unwrap();
    shots.claim("ambiguous", Uuid::from_u128(2), 0, NOW).unwrap();
    shots.settle("ambiguous", Uuid::from_u128(2), Fate::Open);
    clock.advance(WINDOW * 10);
    assert!(shots.claim("key", Uuid::from_u128(3), 0, NOW).is_err());
    assert!(shots.claim("ambiguous", Uuid::from_u128(4), 0, NOW).is_err());
}

#[test]
fn what_cannot_be_remembered_is_refused_and_nothing_is_forgotten_for_it() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let mut shots = OneShots::new(clock.clone(), WINDOW);
    shots.max = 2;
    let claim = |key: &str, id| shots.claim(key, Uuid::from_u128(id), 0, NOW);
    claim("one", 1).unwrap();
    claim("two", 2).unwrap();
    assert!(matches!(claim("three", 3), Err(Refusal::Overloaded { .. })));
    assert!(matches!(claim("one", 4), Err(Refusal::Repeat { .. })));
    shots.settle("two", Uuid::from_u128(2), Fate::Happened);
    assert_eq!(claim("two", 5), Ok(()), "this one is known already");
    shots.settle("two", Uuid::from_u128(5), Fate::Nothing);
    clock.advance(WINDOW);
    assert_eq!(claim("three", 6), Ok(()));
}

#[test]
fn a_retry_of_a_newer_call_that_was_not_sent_passes_once() {
    let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
    let settled = |id, fate| shots.settle("key", Uuid::from_u128(id), fate);
    shots.claim("key", Uuid::from_u128(1), 0, NOW).unwrap();
    shots.unsent("key");
    assert!(shots.claim("key", Uuid::from_u128(2), 1, NOW).is_err(), "while the first is open");
    settled(1, Fate::Happened);
    assert_eq!(shots.claim("key", Uuid::from_u128(3), 1, NOW), Ok(()));
    settled(3, Fate::Happened);
    assert!(shots.claim("key", Uuid::from_u128(4), 2, NOW).is_err());
    shots.unsent("other");
    assert_eq!(shots.claim("other", Uuid::from_u128(5), 1, NOW), Ok(()));
}

#[test]
fn a_call_from_the_record_counts_with_its_age() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let shots = OneShots::new(clock.clone(), WINDOW);
    shots.remember("old", Uuid::from_u128(1), Fate::Happened, WINDOW);
    shots.remember("young", Uuid::from_u128(2), Fate::Unknown, Duration::from_secs(1));
    shots.remember("open", Uuid::from_u128(6), Fate::Open, WINDOW * 2);
    assert!(shots.claim("old", Uuid::from_u128(3), 1, NOW).is_ok());
    assert!(shots.claim("young", Uuid::from_u128(4), 0, NOW).is_err());
    clock.advance(WINDOW);
    assert!(shots.claim("young", Uuid::from_u128(5), 0, NOW).is_ok());
    assert!(shots.claim("open", Uuid::from_u128(7), 0, NOW).is_err());
}

#[test]
fn a_late_word_on_a_replaced_call_changes_nothing() {
    let shots = OneShots::new(ManualClock::at(Timestamp::UNIX_EPOCH), WINDOW);
    shots.claim("key", Uuid::from_u128(1), 0, NOW).unwrap();
    shots.settle("key", Uuid::from_u128(1), Fate::Nothing);
    shots.claim("key", Uuid::from_u128(2), 1, NOW).unwrap();
    shots.settle("key", Uuid::from_u128(1), Fate::Nothing);
    assert!(shots.claim("key", Uuid::from_u128(3), 1, NOW).is_err());
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn told(n: u128, fate: Fate, age: Duration) -> Told {
    Told { request_id: id(n), fate, age }
}

fn shots() -> (Arc<ManualClock>, OneShots) {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    clock.advance(WINDOW * 3);
    (clock.clone(), OneShots::new(clock, WINDOW))
}

#[test]
fn an_answer_that_met_no_client_reached_nobody() {
    assert_eq!(Fate::Happened.if_gone(true), Fate::Unheard);
    assert_eq!(Fate::Happened.if_gone(false), Fate::Happened);
    for fate in [Fate::Open, Fate::Unknown, Fate::Unheard, Fate::Nothing] {
        assert_eq!((fate.if_gone(true), fate.if_gone(false)), (fate, fate));
    }
}

#[test]
fn only_what_happened_stands_behind_a_newer_call() {
    for (fate, stands) in [(Fate::Happened, true), (Fate::Nothing, false), (Fate::Unheard, false)] {
        let (clock, shots) = shots();
        shots.remember("key", id(1), fate, Duration::ZERO);
        shots.remember("key", id(2), Fate::Open, Duration::ZERO);
        assert_eq!(shots.before("key"), stands.then(|| id(1)), "{fate:?}");
        assert_eq!(shots.before("other"), None);
        // Not once it is forgotten.
        shots.settle("key", id(2), Fate::Happened);
        clock.advance(WINDOW);
        shots.claim("key", id(3), 0, NOW).unwrap();
        assert_eq!(shots.before("key"), None);
    }
}

#[test]
fn what_another_replica_told_is_certain_once_it_is_final() {
    let (_, shots) = shots();
    assert!(!shots.is_certain("key", id(1)) && shots.open_elsewhere("key").is_none());
    shots.adopt("key", told(1, Fate::Open, Duration::ZERO), None);
    assert!(!shots.is_certain("key", id(1)));
    assert_eq!(shots.open_elsewhere("key"), Some(id(1)));
    assert_eq!(shots.claim("key", id(9), 0, NOW), Err(Refusal::Repeat { first: id(1) }));
    shots.adopt("key", told(1, Fate::Happened, Duration::ZERO), None);
    assert!(shots.is_certain("key", id(1)) && !shots.is_certain("key", id(2)));
    assert_eq!(shots.open_elsewhere("key"), None);
    // What was claimed here is certain here from the beginning, and stands behind a newer one.
    shots.claim("key", id(2), 0, NOW).unwrap();
    assert!(shots.is_certain("key", id(2)) && shots.is_certain("key", id(1)));
    assert_eq!(shots.open_elsewhere("key"), None);
}

#[test]
fn what_another_replica_told_counts_with_its_age() {
    let (clock, shots) = shots();
    let age = Duration::from_secs(60);
    shots.adopt("key", told(1, Fate::Happened, age), None);
    // A call that came while the other one was under way there is its repetition, whatever it says of itself.
    let settled = clock.monotonic() - age;
    let early = settled - Duration::from_secs(1);
    assert_eq!(shots.claim("key", id(2), 0, early), Err(Refusal::Repeat { first: id(1) }));
    clock.advance(WINDOW - age - Duration::from_millis(1));
    assert_eq!(shots.claim("key", id(3), 1, NOW), Err(Refusal::Repeat { first: id(1) }));
    clock.advance(Duration::from_millis(1));
    assert_eq!(shots.claim("key", id(4), 1, NOW), Ok(()));
}

#[test]
fn the_last_that_happened_stands_for_a_claim_that_came_to_nothing() {
    let at = Duration::ZERO;
    let happened = Some(told(1, Fate::Happened, at));
    for (newest, before, repeated) in [
        (Fate::Nothing, happened, Some(1)),
        (Fate::Nothing, Some(told(1, Fate::Nothing, at)), None),
        (Fate::Nothing, Some(told(1, Fate::Happened, WINDOW)), None),
        (Fate::Nothing, None, None),
        (Fate::Happened, happened, Some(2)),
        (Fate::Happened, None, Some(2)),
    ] {
        let (_, shots) = shots();
        shots.adopt("key", told(2, newest, at), before);
        let want = repeated.map_or(Ok(()), |first| Err(Refusal::Repeat { first: id(first) }));
        assert_eq!(shots.claim("key", id(3), 1, NOW), want, "{newest:?} behind {before:?}");
    }
    let (_, shots) = shots();
    shots.adopt("key", told(2, Fate::Open, at), happened);
    assert_eq!(shots.before("key"), Some(id(1)));
    let (_, shots) = self::shots();
    shots.adopt("key", told(2, Fate::Open, at), Some(told(1, Fate::Unknown, at)));
    assert_eq!(shots.before("key"), None);
}

#[test]
fn what_is_under_way_or_certain_here_outranks_what_is_told() {
    let (_, shots) = shots();
    shots.claim("key", id(1), 0, NOW).unwrap();
    shots.adopt("key", told(2, Fate::Nothing, Duration::ZERO), None);
    assert_eq!(
        shots.claim("key", id(3), 0, NOW),
        Err(Refusal::Repeat { first: id(1) }),
        "it is under way here"
    );
    shots.settle("key", id(1), Fate::Happened);
    shots.adopt("key", told(1, Fate::Nothing, Duration::ZERO), None);
    assert_eq!(shots.claim("key", id(3), 1, NOW), Err(Refusal::Repeat { first: id(1) }), "it happened here");
    // One that was claimed elsewhere, and is open, learns.
    shots.adopt("other", told(4, Fate::Open, Duration::ZERO), None);
    shots.adopt("other", told(4, Fate::Nothing, Duration::ZERO), None);
    assert_eq!(shots.claim("other", id(5), 1, NOW), Ok(()));
}

/// A record full of equal calls does not fill the memory.
#[test]
fn of_many_equal_calls_the_last_and_the_one_before_are_kept() {
    let (_, shots) = shots();
    for n in 0..5 {
        shots.remember("key", id(n), Fate::Happened, Duration::ZERO);
    }
    let known = shots.known.lock().unwrap();
    let kept = std::iter::successors(known.by_key.get("key"), |first| first.before.as_deref());
    assert_eq!(kept.map(|first| first.request_id).collect::<Vec<_>>(), [id(4), id(3)]);
}

#[test]
fn where_there_is_no_room_nothing_is_taken_over_and_nothing_forgotten() {
    let (_, mut shots) = shots();
    shots.max = 1;
    shots.adopt("one", told(1, Fate::Open, Duration::ZERO), None);
    shots.adopt("two", told(2, Fate::Happened, Duration::ZERO), None);
    assert!(!shots.is_certain("two", id(2)));
    assert!(matches!(shots.claim("two", id(3), 0, NOW), Err(Refusal::Overloaded { .. })));
    shots.adopt("one", told(1, Fate::Happened, Duration::ZERO), None);
    assert!(shots.is_certain("one", id(1)), "a known one learns");
}

#[test]
fn what_came_to_nothing_in_the_record_is_taken_over_only_where_nothing_else_is_known() {
    let (_, shots) = shots();
    shots.remember("key", id(1), Fate::Nothing, Duration::ZERO);
    assert!(shots.is_certain("key", id(1)));
    shots.remember("key", id(2), Fate::Happened, Duration::ZERO);
    shots.remember("key", id(3), Fate::Nothing, Duration::ZERO);
    assert!(shots.is_certain("key", id(2)) && !shots.is_certain("key", id(3)));
}
