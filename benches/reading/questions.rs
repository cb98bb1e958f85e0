//! How long an analyst waits: each view's everyday question, and pages of the audit API and the console.

use std::time::{Duration, Instant};

use http::Method;
use jiff::Timestamp;
use tunnelwarden::store::{Filter, Reader, View};

use crate::harness::World;
use crate::record::{Record, time};

/// Questions of each kind, all about something else.
const QUESTIONS: u64 = 100;

/// Entries of a time that is asked for: at 100,000 calls a day about an hour.
const WINDOW: u64 = 5_000;

/// Rows of an answer.
const ROWS: usize = 50;

/// What a question asks for.
#[derive(Clone, Copy, Debug)]
enum By {
    Time,
    Tunnel,
    Name,
    Subject,
}

const KINDS: [By; 4] = [By::Time, By::Tunnel, By::Name, By::Subject];

impl By {
    fn filter(self, n: u64, entries: u64) -> Filter {
        let nth = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let from = nth % entries.saturating_sub(WINDOW).max(1);
        match self {
            Self::Time => {
                Filter { since: Some(time(from)), until: Some(time(from + WINDOW)), ..Filter::default() }
            }
            Self::Tunnel => Filter { tunnel: Some(format!("{:032x}", nth % 1000)), ..Filter::default() },
            Self::Name => Filter { tunnel: Some(format!("site-{}", nth % 1000)), ..Filter::default() },
            Self::Subject => {
                Filter { subject: Some(format!("caller-{}@corp.example", nth % 50)), ..Filter::default() }
            }
        }
    }

    /// The same as the parameters of a query.
    fn query(self, n: u64, entries: u64) -> String {
        let filter = self.filter(n, entries);
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        match self {
            Self::Time => format!("since={}&until={}", text(filter.since), text(filter.until)),
            Self::Tunnel | Self::Name => format!("tunnel={}", filter.tunnel.unwrap()),
            Self::Subject => format!("subject={}", filter.subject.unwrap().replace('@', "%40")),
        }
    }
}

/// Asks the views through the store.
pub async fn views(record: &Record, entries: u64) {
    println!("\n{:>32} {:>9} {:>9} {:>9}", "", "p50", "p95", "slowest");
    let reader = Reader::open(&record.database()).await.unwrap();
    for view in View::ALL {
        for by in KINDS {
            let mut times = Vec::new();
            for n in 0..QUESTIONS {
                let mut filter = by.filter(n, entries);
                let began = Instant::now();
                if let By::Name = by {
                    let ids = reader.tunnels_named(&filter.tunnel.clone().unwrap()).await.unwrap();
                    filter.tunnel = ids.first().cloned();
                }
                reader.view(view, &filter, None, ROWS).await.unwrap();
                times.push(began.elapsed());
            }
            tell(&format!("{} by {by:?}", view.name()), times);
        }
    }
    let mut times = Vec::new();
    for n in 0..QUESTIONS {
        let filter = Filter { limit: Some(50), ..KINDS[n as usize % KINDS.len()].filter(n, entries) };
        let began = Instant::now();
        reader.list(&filter).await.unwrap();
        times.push(began.elapsed());
    }
    tell("entries by each in turn", times);
    reader.close().await;
}

/// Asks the API and the console, as a person with a browser does.
pub async fn pages(world: &World, entries: u64) {
    let token = world.token("security");
    let cookie = format!("tunnelwarden-token={token}");
    let bearer = format!("Bearer {token}");
    println!();
    for (name, path, header) in [
        ("console: search, first page", "/console/search?what=requests", ("cookie", cookie.as_str())),
        ("console: search, filtered", "/console/search?what=requests&", ("cookie", cookie.as_str())),
        ("console: changes, filtered", "/console/search?what=changes&", ("cookie", cookie.as_str())),
        ("console: entries, first page", "/console/search?what=entries", ("cookie", cookie.as_str())),
        ("console: overview", "/console", ("cookie", cookie.as_str())),
        ("api: calls, filtered", "/api/v1/calls?", ("authorization", bearer.as_str())),
        ("api: entries, first page", "/api/v1/entries", ("authorization", bearer.as_str())),
    ] {
        let mut times = Vec::new();
        for n in 0..QUESTIONS {
            let by = KINDS[n as usize % KINDS.len()];
            let query = if path.ends_with(['&', '?']) { by.query(n, entries) } else { String::new() };
            let began = Instant::now();
            let answer = world.ask(Method::GET, &format!("{path}{query}"), &[header], "").await;
            times.push(began.elapsed());
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        tell(name, times);
    }
}

fn tell(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!("{name:>32} {:>9.1?} {:>9.1?} {:>9.1?}", at(50), at(95), at(100));
}
