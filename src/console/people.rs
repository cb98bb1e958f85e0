//! People and teams: who called how often, and how much of it was refused.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::SignedDuration;

use super::cells::{self, Table};
use super::frame::{Frame, failed, shown};
use super::{Console, Reader};
use crate::access::Asked;
use crate::store::{By, Filter};

/// Days that are looked back.
const DAYS: i64 = 30;

/// People that are shown.
const MOST: u32 = 200;

#[derive(Template)]
#[template(path = "people.html")]
struct People {
    frame: Frame,
    days: i64,
    subjects: Table,
    teams: Table,
}

/// The page.
pub(super) async fn page(State(console): State<Console>, Reader(reading): Reader) -> Response {
    let desk = &console.desk;
    let since = desk.now().checked_sub(SignedDuration::from_hours(24 * DAYS)).ok();
    let asked =
        |by: &str| Asked { since: Some(format!("{DAYS}d")), by: Some(by.to_owned()), ..Asked::default() };
    let filter = Filter { since, limit: Some(MOST), ..Filter::default() };
    let found = async {
        let subjects = desk.counts(&reading, &asked("subject"), &filter, By::Subject).await?;
        Ok((subjects, desk.counts(&reading, &asked("team"), &filter, By::Team).await?))
    };
    match found.await {
        Err(refusal) => failed(Some(&reading), &refusal),
        Ok((subjects, teams)) => shown(&People {
            frame: Frame::of(&reading, "/console/people", subjects.request_id),
            days: DAYS,
            subjects: cells::counts(&["Who", "Calls", "Refused", "Failed"], &subjects.what, Some("subject")),
            teams: cells::counts(&["Team", "Calls", "Refused", "Failed"], &teams.what, Some("team")),
        }),
    }
}
