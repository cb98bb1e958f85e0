//! Entries as lines of a table for a terminal.
//!
//! What is too wide is cut; `audit show` and `--json` have everything.

use super::plain;
use crate::json::Json;

/// Columns: the title and how many characters it gets.
pub const WIDTHS: [(&str, usize); 7] = [
    ("TIME", 20),
    ("KIND", 10),
    ("SUBJECT", 24),
    ("OPERATION", 12),
    ("TUNNEL", 32),
    ("RESULT", 22),
    ("REQUEST ID", 36),
];

/// One entry's cells, in the order of [`WIDTHS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line([String; 7]);

impl Line {
    /// The line of an entry.
    #[must_use]
    pub fn of(entry: &Json) -> Self {
        let text = |pointer: &str| entry.pointer(pointer).and_then(Json::as_str).unwrap_or("-").to_owned();
        // 2026-01-01T00:00:00.000000Z without the fraction.
        let time = text("/time");
        let time = time.get(..19).map_or(time.clone(), |seconds| format!("{seconds}Z"));
        Self([
            time,
            text("/kind"),
            text("/subject"),
            text("/operation"),
            tunnels(entry),
            result(entry),
            text("/request_id"),
        ])
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_cells(f, self.0.iter().map(|cell| plain(cell)))
    }
}

/// The first line of the table.
#[must_use]
pub fn heading() -> String {
    struct Heading;
    impl std::fmt::Display for Heading {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write_cells(f, WIDTHS.iter().map(|(title, _)| (*title).to_owned()))
        }
    }
    Heading.to_string()
}

fn write_cells(f: &mut impl std::fmt::Write, cells: impl Iterator<Item = String>) -> std::fmt::Result {
    for (i, (cell, (_, width))) in cells.zip(WIDTHS).enumerate() {
        let shown = if cell.chars().count() > width {
            cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        } else {
            cell
        };
        match i {
            0 => write!(f, "{shown:<width$}")?,
            // No blanks at a line's end.
            6 => write!(f, "  {shown}")?,
            _ => write!(f, "  {shown:<width$}")?,
        }
    }
    Ok(())
}

/// The tunnel's name, else its id; of several the first, and how many more.
fn tunnels(entry: &Json) -> String {
    let Some([first, rest @ ..]) = entry.get("tunnels").and_then(Json::as_array) else {
        return "-".to_owned();
    };
    let name = first.get("name").or_else(|| first.get("id")).and_then(Json::as_str).unwrap_or("?");
    if rest.is_empty() { name.to_owned() } else { format!("{name} and {} more", rest.len()) }
}

/// How it ended, as far as this entry tells.
fn result(entry: &Json) -> String {
    let status = entry.get("status").and_then(Json::as_i64).map(|status| status.to_string());
    let word = ["/refusal/name", "/resolution", "/decision"]
        .into_iter()
        .find_map(|pointer| entry.pointer(pointer).and_then(Json::as_str));
    match (status, word) {
        (Some(status), Some("allow") | None) => status,
        (Some(status), Some(word)) => format!("{status} {word}"),
        (None, Some(word)) => word.to_owned(),
        (None, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entry: &str, expected: &str) {
        let entry = super::super::read_entry(entry.as_bytes()).unwrap();
        assert_eq!(
            Line::of(&entry)
                .to_string()
                .split("  ")
                .filter(|cell| !cell.is_empty())
                .map(str::trim)
                .collect::<Vec<_>>()
                .join("|"),
            expected
        );
    }

    #[test]
    fn a_line_says_who_did_what_to_which_tunnel_and_how_it_ended() {
        check(
            r#"{"kind":"outcome","time":"2026-01-01T10:20:30.123456Z","request_id":"r","subject":"ann",
                "operation":"update","tunnels":[{"id":"aa","name":"berlin"}],"status":200,"decision":"allow"}"#,
            "2026-01-01T10:20:30Z|outcome|ann|update|berlin|200|r",
        );
        check(
            r#"{"kind":"refusal","time":"x","request_id":"r","status":403,"refusal":{"name":"forbidden"},
                "tunnels":[{"id":"aa"},{"id":"bb"}]}"#,
            "x|refusal|-|-|aa and 1 more|403 forbidden|r",
        );
        check(
            r#"{"kind":"started","time":"x","request_id":"r","subject":"\u001b[2J"}"#,
            r"x|started|\u{1b}[2J|-|-|-|r",
        );
    }

    #[test]
    fn what_is_too_wide_is_cut() {
        let entry = format!(r#"{{"subject":"{}"}}"#, "é".repeat(100));
        let line = Line::of(&super::super::read_entry(entry.as_bytes()).unwrap()).to_string();
        assert!(line.contains(&format!("{}…", "é".repeat(23))), "{line}");
        assert!(heading().starts_with("TIME"));
    }
}
