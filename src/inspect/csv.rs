//! An entry as a row of CSV (RFC 4180), for a spreadsheet.
//!
//! Every cell is quoted. A text that a spreadsheet would take for a formula gets an apostrophe before it, as OWASP
//! advises (CSV Injection), and what a terminal would obey is escaped. Not here: which entries are exported
//! (`cli::audit`).

use super::plain;
use crate::json::Json;

/// The columns: their titles, and where an entry has them.
const COLUMNS: [(&str, &str); 21] = [
    ("time", "/time"),
    ("kind", "/kind"),
    ("id", "/id"),
    ("request_id", "/request_id"),
    ("subject", "/subject"),
    ("teams", "/teams"),
    ("roles", "/roles"),
    ("issuer", "/issuer"),
    ("client_address", "/client_address"),
    ("user_agent", "/user_agent"),
    ("operation", "/operation"),
    ("account", "/account"),
    ("tunnels", "/tunnels"),
    ("decision", "/decision"),
    ("policies", "/policies"),
    ("status", "/status"),
    ("refusal", "/refusal/name"),
    ("sent", "/sent"),
    ("changes", "/before_after_diff"),
    ("resolution", "/resolution"),
    ("duration_us", "/duration_us"),
];

/// How a formula begins, also in the wide letters that some spreadsheets take for the same. Tabs and ends of lines, which some
/// skip, are escaped before.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// The first row.
#[must_use]
pub fn csv_heading() -> String {
    let titles = COLUMNS.iter().map(|(title, _)| cell(title));
    std::iter::once(cell("seq")).chain(titles).collect::<Vec<_>>().join(",")
}

/// An entry's row.
#[must_use]
pub fn csv(seq: u64, entry: &Json) -> String {
    let mut row = String::with_capacity(1024);
    push(&mut row, &seq.to_string());
    for (_, pointer) in COLUMNS {
        row.push(',');
        match entry.pointer(pointer) {
            Some(Json::String(text)) => push(&mut row, text),
            other => push(&mut row, &other.map_or_else(String::new, shown)),
        }
    }
    row
}

/// Texts of a list one after the other, all else as JSON.
fn shown(value: &Json) -> String {
    let items = value.as_array().map(|items| items.iter().map(Json::as_str).collect::<Option<Vec<_>>>());
    items.flatten().map_or_else(|| value.to_text(), |texts| texts.join(" "))
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
    use crate::inspect::read_entry;

    #[test]
    fn a_row_has_a_cell_for_each_title_and_no_cell_is_a_formula() {
        let entry = r#"{"time":"t","subject":"=HYPERLINK(\"x\")","teams":["a","+b"],"user_agent":"-1\n@x",
            "tunnels":[{"id":"t1"}],"status":200}"#;
        let row = csv(3, &read_entry(entry.as_bytes()).unwrap());
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
