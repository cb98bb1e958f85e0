//! Entries as lines of a table for a terminal.
//!
//! The columns are as wide as what is in them, and give way where the terminal is narrower; where even that is
//! too much, an entry takes two lines. What is cut, `audit show` and `--json` have whole. Not here: how wide the
//! terminal is (`cli`).

use super::problems::problems_in_short;
use super::{plain, seconds};
use crate::json::Json;

/// The titles.
const TITLES: [&str; 8] = ["TIME", "KIND", "WHO", "OPERATION", "TUNNEL", "RESULT", "POLICY", "REQUEST ID"];

/// What a column gives way to, at most; the others don't: a cut time or id is of no use.
const LEAST: [Option<usize>; 8] = [None, None, Some(8), Some(8), Some(8), Some(12), Some(10), None];

/// Columns that move to a second line where the terminal is too narrow.
const SECOND: usize = 6;

/// How wide a column gets where nothing is cut: one long text would fill all other lines with blanks.
const WIDEST: usize = 200;

/// Blanks between columns.
const GAP: usize = 2;

/// One entry's cells, in the order of the titles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line([String; 8]);

impl Line {
    /// The line of an entry; `name_of` knows names of tunnels by their ids.
    #[must_use]
    pub fn of(entry: &Json, name_of: &dyn Fn(&str) -> Option<String>) -> Self {
        let text = |pointer: &str| entry.pointer(pointer).and_then(Json::as_str).unwrap_or("-").to_owned();
        let dry = entry.get("validate_only") == Some(&Json::Bool(true));
        let operation = text("/operation");
        let cells = [
            seconds(&text("/time")),
            text("/kind"),
            who(entry),
            if dry { format!("{operation}?validate") } else { operation },
            tunnels(entry, name_of),
            result(entry),
            policies(entry),
            text("/request_id"),
        ];
        Self(cells.map(|cell| plain(&cell)))
    }

    /// Whether the call was refused or failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        let Self([.., result, _, _]) = self;
        result.starts_with(['4', '5'])
    }
}

/// How wide each column is.
#[derive(Clone, Debug)]
pub struct Table {
    widths: [usize; 8],
    two_lines: bool,
    cuts: bool,
}

impl Table {
    /// A table for such lines, on a terminal of `width` columns; without one nothing is cut.
    #[must_use]
    pub fn fit(lines: &[Line], width: Option<usize>) -> Self {
        let mut widths = TITLES.map(|title| title.chars().count());
        for Line(cells) in lines {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        let Some(width) = width else {
            return Self { widths: widths.map(|width| width.min(WIDEST)), two_lines: false, cuts: false };
        };
        let mut one = widths;
        if shrink(&mut one, width) {
            return Self { widths: one, two_lines: false, cuts: true };
        }
        let (first, second) = widths.split_at_mut(SECOND);
        shrink(first, width);
        shrink_from(second, width.saturating_sub(2 * GAP), SECOND);
        Self { widths, two_lines: true, cuts: true }
    }

    /// The first line (or two) of the table.
    #[must_use]
    pub fn heading(&self) -> String {
        self.line(&Line(TITLES.map(str::to_owned)))
    }

    /// An entry's line (or two).
    #[must_use]
    pub fn line(&self, Line(cells): &Line) -> String {
        let mut text = String::new();
        for (at, (cell, width)) in cells.iter().zip(self.widths).enumerate() {
            if at == SECOND && self.two_lines {
                text.truncate(text.trim_end().len());
                text.push('\n');
                text.push_str(&" ".repeat(2 * GAP));
            } else if at > 0 {
                text.push_str(&" ".repeat(GAP));
            }
            let long =
                self.cuts && cell.chars().count() > width && LEAST.get(at).is_some_and(Option::is_some);
            let cut = if long { width.saturating_sub(1) } else { usize::MAX };
            let shown: String = cell.chars().take(cut).chain(long.then_some('…')).collect();
            text.push_str(&shown);
            text.push_str(&" ".repeat(width.saturating_sub(shown.chars().count())));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

fn shrink(widths: &mut [usize], width: usize) -> bool {
    shrink_from(widths, width, 0)
}

/// Takes from the widest column that can give, one by one, until all fit; false where they can't.
fn shrink_from(widths: &mut [usize], width: usize, first: usize) -> bool {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let least = LEAST.iter().skip(first);
        let giving =
            widths.iter_mut().zip(least).filter(|(width, least)| least.is_some_and(|least| **width > least));
        match giving.map(|(width, _)| width).max() {
            Some(widest) => *widest -= 1,
            None => return false,
        }
    }
    true
}

/// The caller; where only a token was known, and not taken, its owner in parentheses.
fn who(entry: &Json) -> String {
    let text = |pointer: &str| entry.pointer(pointer).and_then(Json::as_str);
    let owner = || text("/refused_token/subject").map(in_parentheses);
    text("/subject").map(str::to_owned).or_else(owner).unwrap_or_else(|| "-".to_owned())
}

/// The owner of a token that was not taken, as tables tell one from a caller.
#[must_use]
pub fn in_parentheses(subject: &str) -> String {
    format!("({subject})")
}

/// The tunnel's name, else its id; of several the first, and how many more.
fn tunnels(entry: &Json, name_of: &dyn Fn(&str) -> Option<String>) -> String {
    let Some([first, rest @ ..]) = entry.get("tunnels").and_then(Json::as_array) else {
        return "-".to_owned();
    };
    let text = |name: &str| first.get(name).and_then(Json::as_str);
    let known = || text("id").and_then(name_of);
    let name = text("name").map(str::to_owned).or_else(known).or_else(|| text("id").map(str::to_owned));
    let name = name.unwrap_or_else(|| "?".to_owned());
    if rest.is_empty() { name } else { format!("{name} and {} more", rest.len()) }
}

/// The deciding policies.
fn policies(entry: &Json) -> String {
    let policies = entry.get("policies").and_then(Json::as_array).unwrap_or_default();
    let names: Vec<&str> = policies.iter().filter_map(Json::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

/// How it ended, as far as this entry tells.
fn result(entry: &Json) -> String {
    if let Some(found) = entry.get("findings").and_then(Json::as_array) {
        return match found.len() {
            0 => "nothing new".to_owned(),
            1 => "1 finding".to_owned(),
            more => format!("{more} findings"),
        };
    }
    if let Some(problems) = entry.get("problems").and_then(Json::as_array) {
        return problems_in_short(problems);
    }
    if let Some(parts) = entry.get("parts").and_then(Json::as_array) {
        return parts.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", ");
    }
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

    fn line(entry: &str) -> Line {
        let names = |id: &str| (id == "0f").then(|| "paris".to_owned());
        Line::of(&super::super::read_entry(entry.as_bytes()).unwrap(), &names)
    }

    #[track_caller]
    fn check(entry: &str, expected: &str) {
        assert_eq!(line(entry).0.join("|"), expected);
    }

    #[test]
    fn a_line_says_who_did_what_to_which_tunnel_how_it_ended_and_by_which_policy() {
        check(
            r#"{"kind":"outcome","time":"2026-01-01T10:20:30.123456Z","request_id":"r","subject":"ann",
                "operation":"update","tunnels":[{"id":"aa","name":"berlin"}],"status":200,"decision":"allow",
                "policies":["p","q"],"validate_only":true}"#,
            "2026-01-01T10:20:30Z|outcome|ann|update?validate|berlin|200|p,q|r",
        );
        check(
            r#"{"kind":"refusal","time":"x","request_id":"r","status":403,"refusal":{"name":"forbidden"},
                "tunnels":[{"id":"aa"},{"id":"bb"}],"validate_only":false}"#,
            "x|refusal|-|-|aa and 1 more|403 forbidden|-|r",
        );
        check(
            r#"{"kind":"started","time":"x","request_id":"r","subject":"\u001b[2J"}"#,
            r"x|started|\u{1b}[2J|-|-|-|-|r",
        );
        check(r#"{"time":"x","tunnels":[{"id":"0f"}]}"#, "x|-|-|-|paris|-|-|-");
        check(
            r#"{"kind":"refusal","time":"x","request_id":"r","refused_token":{"subject":"ann"},"operation":"list",
                "status":401,"refusal":{"name":"token_revoked"}}"#,
            "x|refusal|(ann)|list|-|401 token_revoked|-|r",
        );
    }

    #[test]
    fn a_line_says_what_a_reload_took_and_what_kept_it_out() {
        check(
            r#"{"kind":"reloaded","time":"x","request_id":"r","parts":["policy","limits"]}"#,
            "x|reloaded|-|-|-|policy, limits|-|r",
        );
        check(
            r#"{"kind":"reload_refused","time":"x","request_id":"r","problems":[
                {"of":"file","what":"missing","keys":["policy.file"]}]}"#,
            "x|reload_refused|-|-|-|not taken: the file of policy.file is missing|-|r",
        );
    }

    fn lines() -> Vec<Line> {
        let id = "01990b1c-7c6e-7d2b-8f5e-0c8a5d6b7e10";
        let entry = |who: &str| {
            line(&format!(
                r#"{{"kind":"refusal","time":"2026-01-01T10:20:30.123456Z","request_id":"{id}","subject":"{who}",
                    "operation":"generate_psk","tunnels":[{{"id":"01a20acc8c4a7a2289c7281ac8afbe6e"}}],"status":403,
                    "refusal":{{"name":"forbidden"}},"policies":["keys-need-admin"]}}"#
            ))
        };
        vec![entry("ann"), entry(&"é".repeat(60))]
    }

    #[test]
    fn a_table_fits_its_terminal_and_never_cuts_times_and_request_ids() {
        for width in [80, 100, 120, 160, 240] {
            let lines = lines();
            let table = Table::fit(&lines, Some(width));
            for line in lines.iter().map(|line| table.line(line)).chain([table.heading()]) {
                assert!(line.lines().all(|one| one.chars().count() <= width), "{width}:\n{line}");
                assert_eq!(line.lines().count(), if width < 134 { 2 } else { 1 }, "{width}:\n{line}");
                assert!(line.lines().all(|one| one == one.trim_end()), "no blanks at a line's end");
            }
            let first = table.line(&lines[0]);
            assert!(first.contains("2026-01-01T10:20:30Z") && first.ends_with("-0c8a5d6b7e10"), "{first}");
        }
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let lines = lines();
        let whole = Table::fit(&lines, None).line(&lines[1]);
        assert!(whole.contains(&"é".repeat(60)) && !whole.contains('…'), "{whole}");
        let cut = Table::fit(&lines, Some(100)).line(&lines[1]);
        assert!(cut.contains("é…"), "{cut}");
    }
}
