use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sqlx::{Connection as _, Row as _};

use super::*;
use crate::store::Database;

/// GCRA by its definition: a call fits if it comes no earlier than its quota's arrival less the whole but one interval.
#[derive(Clone, Copy)]
struct Model {
    interval: i64,
    burst: i64,
    arrival: i64,
}

impl Model {
    fn room(&self, now: i64) -> i64 {
        let (mut arrival, mut room) = (self.arrival.max(now), 0);
        while arrival + self.interval <= now + self.burst * self.interval {
            arrival += self.interval;
            room += 1;
        }
        room
    }
}

async fn connection(database: &Database) -> sqlx::PgConnection {
    let Database::Postgres(server) = database else { unreachable!() };
    server.pool(1, Duration::from_secs(10)).unwrap().acquire().await.unwrap().detach()
}

async fn take(
    connection: &mut sqlx::PgConnection,
    quotas: &[(u8, Model)],
    wants: &[i64],
    at: i64,
) -> Vec<(i64, i64)> {
    let query =
        sqlx::query("SELECT granted, arrival FROM tunnelwarden_shared.take_quotas($1, $2, $3, $4, $5)")
            .bind(quotas.iter().map(|(key, _)| vec![*key; KEY_BYTES]).collect::<Vec<_>>())
            .bind(quotas.iter().map(|(_, model)| model.interval).collect::<Vec<_>>())
            .bind(quotas.iter().map(|(_, model)| model.burst).collect::<Vec<_>>())
            .bind(wants.to_vec())
            .bind(at);
    let rows = query.fetch_all(connection).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn the_databases_gcra_is_gcra() {
    let Some(database) = crate::store::record::postgres("a").await else { return };
    let mut connection = connection(&database).await;
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec((0i64..40, prop::array::uniform2(1i64..6), 0u8..3), 1..60);
    let models = prop::array::uniform2((1i64..12, 1i64..40));
    let mut key = 0u8;
    for _ in 0..40 {
        let ([a, b], steps) = (&models, &steps).new_tree(&mut runner).unwrap().current();
        let model = |(interval, burst)| Model { interval, burst, arrival: 0 };
        let mut quotas = [(key, model(a)), (key + 1, model(b))];
        key += 2;
        let mut now = 1_000_000;
        for (pause, wants, which) in steps {
            now += pause;
            let asked: Vec<usize> = match which {
                0 => vec![0],
                1 => vec![1],
                // In any order.
                _ => vec![1, 0],
            };
            let of: Vec<_> = asked.iter().map(|at| quotas[*at]).collect();
            let wanted: Vec<_> = asked.iter().map(|at| wants[*at]).collect();
            let got = take(&mut connection, &of, &wanted, now).await;
            let rooms: Vec<_> = of.iter().map(|(_, model)| model.room(now)).collect();
            let fits = rooms.iter().all(|room| *room >= 1);
            for (at, asked) in asked.iter().enumerate() {
                let (_, model) = &mut quotas[*asked];
                let ahead = rooms[at] - wanted[at] >= model.burst / 2;
                let granted = if ahead { wanted[at] } else { rooms[at].min(1) };
                let taken = if fits { granted } else { 0 };
                let arrival = model.arrival.max(now) + taken * model.interval;
                assert_eq!(got[at], (granted, arrival), "{at} of {asked} at {now}");
                model.arrival = if fits { arrival } else { model.arrival };
            }
        }
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn quotas_that_are_full_again_are_deleted_and_others_stay() {
    let Some(database) = crate::store::record::postgres("a").await else { return };
    let mut connection = connection(&database).await;
    let second = 1_000_000_000;
    let model = Model { interval: second, burst: 300, arrival: 0 };
    for key in 0..5 {
        take(&mut connection, &[(key, model)], &[1], 1000 * second).await;
    }
    take(&mut connection, &[(9, Model { interval: 200 * second, ..model })], &[1], 1000 * second).await;
    let mut forget = async |at: i64| -> i64 {
        let query = sqlx::query("SELECT tunnelwarden_shared.forget_quotas(3, $1)").bind(at);
        query.fetch_one(&mut connection).await.unwrap().get(0)
    };
    assert_eq!(forget(1061 * second).await, 0);
    assert_eq!(forget(1062 * second).await, 3);
    assert_eq!(forget(1062 * second).await, 2);
    assert_eq!(forget(1200 * second).await, 0);
    assert_eq!(forget(1261 * second).await, 1);
}

#[tokio::test]
async fn a_clock_that_is_set_back_leaves_a_quota_spent_and_no_worse() {
    let Some(database) = crate::store::record::postgres("a").await else { return };
    let mut connection = connection(&database).await;
    let quota = [(1, Model { interval: 10, burst: 3, arrival: 0 })];
    assert_eq!(take(&mut connection, &quota, &[1], 1_000_000).await, [(1, 1_000_010)]);
    assert_eq!(take(&mut connection, &quota, &[1], 1_000).await, [(0, 1_030)]);
    let kept = take(&mut connection, &quota, &[1], 1_000_030).await;
    assert_eq!(kept, [(1, 1_000_040)]);
}

#[tokio::test]
async fn calls_that_are_spent_stay_spent_in_their_number_under_another_rate() {
    let Some(database) = crate::store::record::postgres("a").await else { return };
    let mut connection = connection(&database).await;
    let of = |interval, burst| [(1, Model { interval, burst, arrival: 0 })];
    for spent in 1..=3 {
        assert_eq!(take(&mut connection, &of(10, 8), &[1], 1000).await, [(1, 1000 + spent * 10)]);
    }
    // A fourth, of six, of which each counts for 100.
    assert_eq!(take(&mut connection, &of(100, 6), &[1], 1000).await, [(1, 1400)]);
    assert_eq!(take(&mut connection, &of(7, 2), &[1], 1000).await, [(0, 1014)], "not more than all of it");
    assert_eq!(take(&mut connection, &of(10, 8), &[1], 1000).await, [(1, 1050)], "a refusal changes nothing");
}
