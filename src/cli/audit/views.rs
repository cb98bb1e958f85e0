//! `audit list --view`: rows of a view, newest first, as a table or an object a line.
//!
//! Not here: how rows are found (`store::views`).

use std::io::Write;

use super::{List, unreadable};
use crate::cli::{Exit, Stop};
use crate::inspect::{plain, pointer, seconds};
use crate::json::{Json, Object};
use crate::store::{Filter, Reader, View};

/// Rows that are read at once.
const PAGE: usize = 64;

/// Characters of a cell in the table; `--json` has them whole.
const CELL: usize = 60;

/// What the table has of a view's columns.
const fn columns(view: View) -> &'static [&'static str] {
    match view {
        View::Requests => {
            &["time", "subject", "operation", "tunnel", "status", "refusal", "policies", "request_id"]
        }
        View::Changes => &["time", "subject", "tunnel", "field", "before", "after", "request_id"],
        View::PskEvents => {
            &["time", "subject", "operation", "tunnel", "status", "policies", "psk", "request_id"]
        }
        View::Refusals => &["time", "subject", "operation", "status", "refusal", "message", "request_id"],
        View::Findings => {
            &["time", "what", "happened", "tunnels", "operation", "actor", "request_id", "settled"]
        }
        View::TunnelHistory => {
            &["time", "subject", "operation", "name", "status", "refusal", "fields", "request_id"]
        }
    }
}

pub(super) async fn run(
    list: &List,
    view: View,
    mut filter: Filter,
    reader: &Reader,
    out: &mut (dyn Write + Send),
) -> Result<Exit, Stop> {
    check(list, view)?;
    let field = list.field.as_deref().map(pointer);
    if let Some(named) = &filter.tunnel {
        let known = reader.tunnels_named(named).await.map_err(|error| unreadable(&error))?;
        match known.as_slice() {
            [] => {}
            [one] => filter.tunnel = Some(one.clone()),
            several => {
                let ids = plain(&several.join(", "));
                return Err(Stop::usage(format_args!("several tunnels had this name; give one's id: {ids}")));
            }
        }
    }
    let mut left = filter.limit.take().map_or(usize::MAX, |limit| limit as usize);
    let mut widths: Option<Vec<usize>> = None;
    while left > 0 {
        let page = reader.view(view, &filter, field.as_deref(), left.min(PAGE)).await;
        let page = page.map_err(|error| unreadable(&error))?;
        left = left.saturating_sub(page.rows.len());
        if list.json {
            page.rows.into_iter().try_for_each(|row| writeln!(out, "{}", Json::Object(row)))?;
        } else {
            write(view, &page.rows, &mut widths, out)?;
        }
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    reader.close().await;
    if widths.is_none() && !list.json {
        writeln!(out, "nothing fits")?;
    }
    Ok(Exit::Good)
}

/// Refuses flags that mean nothing for a view: whoever gives them believes in them.
fn check(list: &List, view: View) -> Result<(), Stop> {
    if list.field.is_some() && view != View::Changes {
        let name = view.name();
        return Err(Stop::usage(format_args!(
            "--field: a row of {name} is of no one field; give --view changes, or leave --field out"
        )));
    }
    let which = &list.which;
    if view == View::Findings
        && (which.subject.is_some() || which.team.is_some() || which.operation.is_some())
    {
        return Err(Stop::usage(
            "findings are found by time and tunnel; leave --subject, --team and --operation out",
        ));
    }
    Ok(())
}

/// Writes rows; the columns are as wide as the first page needs them.
fn write(
    view: View,
    rows: &[Object],
    widths: &mut Option<Vec<usize>>,
    out: &mut (dyn Write + Send),
) -> Result<(), Stop> {
    let columns = columns(view);
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|name| cell(row, name)).collect()).collect();
    if cells.is_empty() {
        return Ok(());
    }
    let first = widths.is_none();
    let widths = widths.get_or_insert_with(|| {
        let widest = |at: usize| {
            let own = cells.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            own.chain(columns.get(at).map(|title| title.len())).max().unwrap_or(0)
        };
        (0..columns.len()).map(widest).collect()
    });
    let line = |cells: &[String]| {
        let padded = cells
            .iter()
            .zip(widths.iter())
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count()))));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    if first {
        let titles: Vec<String> =
            columns.iter().map(|title| title.to_uppercase().replace('_', " ")).collect();
        writeln!(out, "{}", line(&titles))?;
    }
    cells.iter().try_for_each(|row| writeln!(out, "{}", line(row)))?;
    Ok(())
}

fn cell(row: &Object, name: &str) -> String {
    let text = match row.get(name) {
        None | Some(Json::Null) => "-".to_owned(),
        Some(Json::String(text)) if name == "time" => seconds(text),
        Some(Json::String(text)) if !matches!(name, "before" | "after") => text.clone(),
        Some(Json::Array(items)) => {
            let one = |item: &Json| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            items.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    let text = if name == "field" && text.is_empty() { "(all)".to_owned() } else { text };
    let mut short: String = text.chars().take(CELL).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    plain(&short)
}
