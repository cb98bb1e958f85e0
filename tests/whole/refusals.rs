//! Every way to say no, made to happen over a real socket: what the client gets, what the record keeps, and that
//! nothing reached the upstream.
//!
//! A refusal, or a fault of a token, that has no row here fails `every_refusal_has_a_row`. Not here: what a row is
//! checked for (`refusals/row.rs`), how bytes are sent (`refusals/ask.rs`).

mod ask;
mod identity;
mod internal;
mod limits;
mod paths;
mod record;
mod request;
mod row;
mod state;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};

use strum::VariantNames as _;
use tunnelwarden::refusal::{Refusal, TokenFault};

use row::{Group, Row};

/// One test for each group, and the list of them: a group can't be in the table and not run.
macro_rules! groups {
    ($($test:ident => $group:path,)*) => {
        const GROUPS: &[&Group] = &[$(&$group),*];

        $(
            #[tokio::test]
            async fn $test() {
                row::run(&$group).await;
            }
        )*
    };
}

groups! {
    requests_that_are_not_well_made_are_refused => request::GROUP,
    a_body_that_does_not_come_is_refused => request::SLOW,
    one_connection_too_many_is_told_so => request::CROWDED,
    tokens_that_are_not_accepted_are_refused => identity::GROUP,
    tokens_that_must_be_bound_and_are_not_are_refused => identity::BOUND,
    keys_that_were_never_seen_are_not_the_callers_fault => identity::KEYLESS,
    what_is_spent_is_refused_until_it_comes_back => limits::GROUP,
    policy_and_state_refuse_before_anything_is_sent => state::GROUP,
    an_upstream_that_gives_no_usable_answer_is_an_outcome => upstream::GROUP,
    an_upstream_that_is_not_there_gets_nothing => upstream::ABSENT,
    what_cannot_be_recorded_is_refused => record::GROUP,
    a_fault_of_our_own_is_recorded_like_any_refusal => internal::GROUP,
}

fn rows() -> impl Iterator<Item = &'static Row> {
    GROUPS.iter().flat_map(|group| group.rows)
}

#[test]
fn every_refusal_has_a_row() {
    let refusals: BTreeSet<&str> = rows().map(|row| row.refusal).collect();
    let faults: BTreeSet<&str> = rows().filter_map(|row| row.fault).collect();
    let all = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<&str>>();
    assert_eq!((refusals, faults), (all(Refusal::VARIANTS), all(TokenFault::VARIANTS)));
}

#[test]
fn a_code_means_one_thing() {
    let mut meanings: BTreeMap<i64, (&str, Option<&str>, u16)> = BTreeMap::new();
    for row in rows() {
        let meaning = (row.refusal, row.fault, row.status);
        assert_eq!(*meanings.entry(row.code).or_insert(meaning), meaning, "{}", row.code);
    }
    let names: BTreeSet<_> = meanings.values().collect();
    assert_eq!(names.len(), meanings.len(), "and one thing has one code");
}
