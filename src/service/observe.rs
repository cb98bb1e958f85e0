//! Gathers what metrics tell of the whole: how the record, the budget, the keys and lost calls are now.
//!
//! Not here: the names (`measure::states`), what is counted call by call (`pipeline`, `audit`, `forward`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::config;
use crate::listen::{Connections, Failed};
use crate::measure::Metrics;
use crate::measure::states::States;
use crate::pipeline::Pipeline;
use crate::store::{Did, Store};

/// When what stands for the record's health happened last.
pub(super) struct Observed {
    metrics: Metrics,
    marks: Arc<Marks>,
}

struct Marks {
    clock: Arc<dyn Clock>,
    checkpoint: AtomicU64,
    files: Vec<AtomicU64>,
}

impl Marks {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX)
    }

    fn since(&self, mark: &AtomicU64) -> Duration {
        Duration::from_micros(self.now().saturating_sub(mark.load(Ordering::Relaxed)))
    }
}

impl Observed {
    /// Listens to the store from now on. What has not happened yet counts from now.
    pub(super) fn of(store: &Store, metrics: Metrics, config: &config::Audit, clock: Arc<dyn Clock>) -> Self {
        let mut marks = Marks { clock, checkpoint: AtomicU64::default(), files: Vec::new() };
        let now = marks.now();
        marks.checkpoint = now.into();
        marks.files = config.checkpoint_files.iter().map(|_| now.into()).collect();
        let marks = Arc::new(marks);
        let (told, counted) = (Arc::clone(&marks), metrics.clone());
        store.observe(move |did| match did {
            Did::Committed { entries, took, checkpoint } => {
                counted.commit(entries, took);
                if checkpoint {
                    told.checkpoint.store(told.now(), Ordering::Relaxed);
                }
            }
            Did::WroteCheckpointFile(place) => {
                told.files.get(place).into_iter().for_each(|file| file.store(told.now(), Ordering::Relaxed));
            }
        });
        Self { metrics, marks }
    }

    /// The metrics, which look at everything when they are asked for.
    pub(super) fn told_at_scrapes(
        self,
        pipeline: &Arc<Pipeline>,
        store: Arc<Store>,
        connections: Connections,
    ) -> Metrics {
        let (pipeline, marks) = (Arc::clone(pipeline), self.marks);
        self.metrics.with_states(move || states(&pipeline, &store, &connections, &marks))
    }
}

fn states(pipeline: &Pipeline, store: &Store, connections: &Connections, marks: &Marks) -> States {
    let (queue_appends, queue_bytes) = store.waiting();
    let age = |time| pipeline.clock.now().duration_since(time).try_into().unwrap_or_default();
    States {
        connections: connections.open(),
        connections_failed: Failed::ALL.map(|failed| (failed.name(), connections.failed(failed))).to_vec(),
        queue_appends,
        queue_bytes,
        record_entries: store.size(),
        is_writable: pipeline.auditor.admits().is_ok(),
        owed: pipeline.auditor.owed(),
        checkpoint_age: marks.since(&marks.checkpoint),
        checkpoint_file_ages: marks.files.iter().map(|file| marks.since(file)).collect(),
        unresolved: pipeline.resolver.open(),
        unresolved_age: pipeline.resolver.oldest().map_or(Duration::ZERO, age),
        budget_left: pipeline.budget.left(),
        budget_limit: pipeline.budget.standing().1,
        issuers: pipeline.rules().identifier.keys(),
    }
}
