//! How the database goes about what is asked of it: by an index, and without sorting texts.

use super::filter::Bounds;
use super::reader::{
    ACCOUNTS_FROM, AMBIGUOUS, CALLS_FROM, INTENTS_FROM, LAST_ARCHIVED, LAST_RECONCILED, LAST_STARTED, MARK,
    NAMED, ONE_SHOT_SINCE, RECONCILED_FROM, SINCE, UNTIL, WITHIN, WITHOUT_OUTCOME,
};
use super::reading::{BERLIN, Log, OSLO, id};
use super::sql::Dialect::Sqlite;
use super::sqlite::ROTATIONS;
use super::sqlite::snapshot::MARKS;
use super::*;
use crate::entry::Kind;
use crate::operation::Operation;

#[tokio::test]
async fn neither_a_start_nor_a_comparison_reads_the_whole_log() {
    let log = Log::make().await;
    let start = [MARK, WITHOUT_OUTCOME, AMBIGUOUS, INTENTS_FROM, ONE_SHOT_SINCE, LAST_STARTED];
    let later = [ACCOUNTS_FROM, CALLS_FROM, RECONCILED_FROM, LAST_RECONCILED, LAST_ARCHIVED];
    let texts = start.into_iter().chain(later).map(|sql| sql.sqlite);
    for query in texts.chain([ROTATIONS, MARKS]) {
        let steps = log.plan(query).await;
        assert!(!steps.is_empty(), "no plan of{query}");
        for step in steps {
            let by_index = !step.starts_with("SCAN") || step.contains(" INDEX entries_");
            assert!(by_index, "{step} of{query}");
        }
    }
}

#[tokio::test]
async fn a_tunnels_entries_are_found_by_its_index_and_a_page_is_not_sorted() {
    let log = Log::make().await;
    let of_tunnel = Filter { tunnel: Some(BERLIN.to_owned()), writes: true, ..Filter::default() };
    let plan = log.plan(of_tunnel.query(Sqlite, Bounds::default()).text()).await.join("\n");
    for index in ["entries_tunnel ", "entries_tunnel_name", "entries_bulk"] {
        assert!(plan.contains(index) && !plan.contains("SCAN entries"), "{plan}");
    }
    for view in View::ALL {
        let plan = log.plan(view.candidates(Sqlite, &of_tunnel, Bounds::default()).text()).await.join("\n");
        let by_kind = view == View::Findings && plan.contains("entries_kind");
        assert!(
            (by_kind || plan.contains("entries_tunnel ")) && !plan.contains("SCAN entries"),
            "{view:?}: {plan}"
        );
        let of_subject = Filter { subject: Some("ann".to_owned()), ..Filter::default() };
        let plan = log.plan(view.candidates(Sqlite, &of_subject, Bounds::default()).text()).await.join("\n");
        assert!(
            plan.contains("(subject=?)") || view == View::Findings && plan.contains("entries_kind"),
            "{view:?}: {plan}"
        );
        assert!(!plan.contains("TEMP B-TREE"), "{view:?}: {plan}");
        let plan = log.plan(&format!("SELECT * FROM {} WHERE seq = 5", view.name())).await.join("\n");
        assert!(!plan.contains("SCAN entries"), "{view:?}: {plan}");
    }
    for query in [WITHIN, SINCE, UNTIL] {
        let plan = log.plan(query.sqlite).await.join("\n");
        assert!(plan.contains("INDEX entries_time"), "{plan}");
    }
    assert!(!log.plan(NAMED.sqlite).await.join("\n").contains("SCAN entries\n"));
    let time = |text: &str| Some(text.parse().unwrap());
    let window = Filter {
        since: time("2026-01-01T10:00:00Z"),
        until: time("2026-01-01T11:00:00Z"),
        ..Filter::default()
    };
    let plan = log.plan(window.rows(Sqlite, 1).text()).await.join("\n");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn changes_are_found_by_an_index_and_in_its_order() {
    let log = Log::make().await;
    let time = |text: &str| Some(text.parse().unwrap());
    let hour = || Filter {
        since: time("2026-01-01T10:00:00Z"),
        until: time("2026-01-01T11:00:00Z"),
        limit: Some(9),
        ..Filter::default()
    };
    let of = |which: Filter| Changes { which, ..Changes::default() };
    let call = Changes { call: Some(id(3)), ..Changes::default() };
    let tunnel = || Filter { tunnel: Some(BERLIN.into()), ..hour() };
    for (changes, by) in [
        (of(hour()), "entries_time"),
        (of(Filter { subject: Some("ann".into()), ..hour() }), "entries_subject"),
        (of(tunnel()), "entries_tunnel"),
        (call.clone(), "entries_request_id"),
        (of(Filter { limit: Some(9), ..Filter::default() }), "SCAN entries"),
    ] {
        let plan = log.plan(changes.query(Sqlite).text()).await.join("\n");
        assert!(plan.contains(by), "{by}: {plan}");
        let sorted = plan.contains("TEMP B-TREE");
        assert!(!sorted || by == "entries_tunnel" || by == "entries_request_id", "{by}: {plan}");
        let found = log.reader.changes(&changes).await.unwrap();
        let fields: Vec<_> = found.iter().map(|change| change.field.clone().unwrap()).collect();
        assert_eq!(fields.len(), 2, "{by}");
    }
    for (field, count) in [("/description", 1), ("/descr", 0), ("/replay_protection", 1)] {
        let changes = Changes { field: Some(field.into()), ..Changes::default() };
        assert_eq!(log.reader.changes(&changes).await.unwrap().len(), count, "{field}");
    }
    for none in [
        of(Filter { kind: Some(Kind::Resolved), ..Filter::default() }),
        of(Filter { team: Some("web".into()), ..Filter::default() }),
        of(Filter { operation: Some(Operation::Delete), ..Filter::default() }),
        of(Filter { tunnel: Some(OSLO.into()), ..Filter::default() }),
        Changes { places: Some((3, 9)), ..Changes::default() },
    ] {
        assert!(log.reader.changes(&none).await.unwrap().is_empty(), "{none:?}");
    }
}
