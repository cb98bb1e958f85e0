//! An entry as a row of CSV (RFC 4180), for a spreadsheet.
//!
//! Every cell is quoted. A text that a spreadsheet would take for a formula gets an apostrophe before it, as OWASP
//! advises (CSV Injection), and what a terminal would obey is escaped. Not here: which entries are exported
//! (`cli::audit`).

use std::borrow::Cow;
use std::fmt::Write as _;

use super::plain;
use crate::json::Text;

/// The columns: their titles, and the members of an entry that they show.
const COLUMNS: [(&str, &str); 21] = [
    ("time", "time"),
    ("kind", "kind"),
    ("id", "id"),
    ("request_id", "request_id"),
    ("subject", "subject"),
    ("teams", "teams"),
    ("roles", "roles"),
    ("issuer", "issuer"),
    ("client_address", "client_address"),
    ("user_agent", "user_agent"),
    ("operation", "operation"),
    ("account", "account"),
    ("tunnels", "tunnels"),
    ("decision", "decision"),
    ("policies", "policies"),
    ("status", "status"),
    ("refusal", REFUSAL),
    ("sent", "sent"),
    ("changes", "before_after_diff"),
    ("resolution", "resolution"),
    ("duration_us", "duration_us"),
];

/// The member of which only the name is shown.
const REFUSAL: &str = "refusal";

/// How a formula begins, also in the wide letters that some spreadsheets take for the same. Tabs and ends of lines, which some
/// skip, are escaped before.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// The first row.
#[must_use]
pub fn csv_heading() -> String {
    let titles = COLUMNS.iter().map(|(title, _)| cell(title));
    std::iter::once(cell("seq")).chain(titles).collect::<Vec<_>>().join(",")
}

/// An entry's row, behind what `row` holds.
pub fn csv(row: &mut String, seq: u64, entry: Text<'_>) {
    let members = entry.members().unwrap_or_default();
    // Writing to a `String` does not fail.
    let _ = write!(row, "\"{seq}\"");
    for (_, name) in COLUMNS {
        row.push(',');
        let value = members.get(name);
        let value =
            if name == REFUSAL { value.and_then(|value| value.members()?.get("name")) } else { value };
        push(row, &value.map_or(Cow::Borrowed(""), shown));
    }
}

/// What a text says, texts of a list one after the other, all else as JSON.
fn shown(value: Text<'_>) -> Cow<'_, str> {
    let texts = || value.items()?.into_iter().map(Text::string).collect::<Option<Vec<_>>>();
    let shown = value.string().or_else(|| texts().map(|texts| texts.join(" ").into()));
    shown.unwrap_or(Cow::Borrowed(value.as_str()))
}

fn cell(text: &str) -> String {
    let mut cell = String::new();
    push(&mut cell, text);
    cell
}

fn push(row: &mut String, text: &str) {
    let text = plain(text);
    row.push('"');
    if text.starts_with(FORMULA) {
        row.push('\'');
    }
    for (at, part) in text.split('"').enumerate() {
        if at > 0 {
            row.push_str("\"\"");
        }
        row.push_str(part);
    }
    row.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::written_entry;

    #[test]
    fn a_row_has_a_cell_for_each_title_and_no_cell_is_a_formula() {
        let entry = r#"{"time":"t","subject":"=HYPERLINK(\"x\")","teams":["a","+b"],"user_agent":"-1\n@x",
            "tunnels":[{"id":"t1"}],"status":200}"#;
        let mut row = String::new();
        csv(&mut row, 3, Text::of(&written_entry(entry.as_bytes()).unwrap()));
        for cell in [
            r#""3","t","","#,
            r#","'=HYPERLINK(""x"")","#,
            r#","a +b","#,
            r#","'-1\u{a}@x","#,
            r#","[{""id"":""t1""}]","#,
            r#","200","#,
        ] {
            assert!(row.contains(cell), "{cell}: {row}");
        }
        assert_eq!(row.matches("\",\"").count(), csv_heading().matches("\",\"").count());
        assert_eq!(row.lines().count(), 1);
    }
}
