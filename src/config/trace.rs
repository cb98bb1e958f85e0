//! `[trace]`: traces of calls, for an OpenTelemetry collector.
//!
//! Not here: `traceparent` (`trace`), sending (`otlp`), the trace log (`read`).

use std::time::Duration;

use super::table::{Section, plain_text, text_of};
use super::tree::Node;
use super::{Trace, units, url};

/// What a share of calls is counted in.
const ALL: u32 = 100;

pub(super) fn read(section: &mut Section<'_>) -> Trace {
    let endpoint = section.parsed("otlp_endpoint", |node| url::otlp_endpoint(&plain_text(node)?));
    section.resolved("otlp_endpoint", endpoint.as_ref().map_or("none".to_owned(), ToString::to_string));
    let share = |node: &Node| {
        let found = text_of(node).filter(|text| text.ends_with('%')).and_then(|text| units::share(text, ALL));
        found.ok_or_else(|| "wants a share of all calls such as \"5%\", from 0% to 100%".to_owned())
    };
    let sampled_percent = section.parsed("sampling", share).unwrap_or(ALL);
    section.resolved("sampling", format!("{sampled_percent}%"));
    Trace {
        otlp_endpoint: endpoint,
        ca_file: section.path("ca_file"),
        sampled_percent,
        follows_clients: section.flag("follow_clients", false),
        timeout: section.duration(
            "timeout",
            Duration::from_secs(5),
            Duration::from_millis(100)..=Duration::from_mins(1),
        ),
    }
}
