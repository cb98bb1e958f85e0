//! Whether the record is whole, as the host itself finds, and what to do for evidence.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;

use super::cells::{block, cut};
use super::frame::{Frame, failed, shown};
use super::{Console, Reader, same_origin, session};
use crate::access::VerificationState;
use crate::inspect::{Report, seconds};

#[derive(Template)]
#[template(path = "verify.html")]
struct Verify {
    frame: Frame,
    class: &'static str,
    state: String,
    going: bool,
    problems: Vec<String>,
    says: Vec<String>,
    head: String,
}

/// The page.
pub(super) async fn page(State(console): State<Console>, Reader(reading): Reader) -> Response {
    let found = async {
        let told = console.desk.verification(&reading, false).await?;
        Ok((told, console.desk.checkpoints(&reading, 1).await?))
    };
    let (told, notes) = match found.await {
        Ok(found) => found,
        Err(refusal) => return failed(Some(&reading), &refusal),
    };
    let time = |time: jiff::Timestamp| seconds(&time.to_string());
    let (class, state, problems) = match &told.what {
        VerificationState::Never => {
            ("note", "Nobody asked for it since this process started.".to_owned(), Vec::new())
        }
        VerificationState::Going { since, entries } => (
            "note",
            format!("It goes on since {}: {entries} entries are good so far.", time(*since)),
            Vec::new(),
        ),
        VerificationState::Failed { at, why } => {
            ("bad", format!("It could not be made ({}): {}", time(*at), cut(why, 400)), Vec::new())
        }
        VerificationState::Done { at, report, .. } if report.is_sound() => {
            let what = format!(
                "Good: {} entries and {} checkpoints are as they were recorded ({}).",
                report.good,
                report.checkpoints,
                time(*at)
            );
            ("good", what, Vec::new())
        }
        VerificationState::Done { at, report, .. } => (
            "bad",
            format!("TAMPERED: the record is not as it was recorded ({}).", time(*at)),
            problems(report),
        ),
    };
    shown(&Verify {
        frame: Frame::of(&reading, "/console/verify", told.request_id),
        class,
        state,
        going: matches!(told.what, VerificationState::Going { .. }),
        problems,
        says: says(&told.what),
        head: notes.what.first().map(|note| block(note)).unwrap_or_default(),
    })
}

/// What a good record says of its keys and archives.
fn says(state: &VerificationState) -> Vec<String> {
    match state {
        VerificationState::Done { report, .. } if report.is_sound() => {
            report.says().iter().map(|line| cut(line, 400)).collect()
        }
        VerificationState::Done { .. }
        | VerificationState::Never
        | VerificationState::Going { .. }
        | VerificationState::Failed { .. } => Vec::new(),
    }
}

fn problems(report: &Report) -> Vec<String> {
    let bad =
        report.first_bad.iter().map(|bad| format!("first bad entry: {} ({})", bad.seq, cut(&bad.what, 400)));
    bad.chain(report.problems.iter().map(|problem| cut(problem, 400))).collect()
}

/// Starts it.
pub(super) async fn start(
    State(console): State<Console>,
    headers: HeaderMap,
    Reader(reading): Reader,
) -> Response {
    if !same_origin::is_same(&headers) {
        return session::foreign();
    }
    match console.desk.verification(&reading, true).await {
        Ok(_) => Redirect::to("/console/verify").into_response(),
        Err(refusal) => failed(Some(&reading), &refusal),
    }
}
