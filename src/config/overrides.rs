//! Variables that override the file: `TUNNELWARDEN__SECTION__KEY`.
//!
//! Two underscores are a level, and letter case does not count: `TUNNELWARDEN__LIMITS__SUBJECT__READ` is
//! `limits.subject.read`, `TUNNELWARDEN__ISSUER__0__AUDIENCE` the first issuer's audience. They change the tree as
//! written, so what they say is checked as the file is. Not here: which keys there are (`read`).

use std::collections::BTreeMap;

use super::problem::{Problem, quoted};
use super::tree::{self, Node, Origin, Table, Value};

/// What such a variable's name begins with.
const PREFIX: &str = "TUNNELWARDEN__";

/// The one list of tables: a number below it is a place in the list even where the file has no such list.
const LIST: &str = "issuer";

/// Puts the variables into the tree; whatever can't be put anywhere becomes a problem.
pub(super) fn apply(root: &mut Table, env: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    // Sorted by path, so that a variable that sets a whole table comes before one that sets a key in it.
    let mut sorted: BTreeMap<Vec<String>, (&str, &str)> = BTreeMap::new();
    for (name, raw) in env {
        if !name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)) {
            continue;
        }
        let path: Vec<String> =
            name.get(PREFIX.len()..).unwrap_or_default().split("__").map(str::to_ascii_lowercase).collect();
        if path.iter().any(String::is_empty) {
            let what = "the variable's name has an empty level; write TUNNELWARDEN__SECTION__KEY";
            problems.push(Problem::new(name, None, what.to_owned()));
        } else if let Some((other, _)) = sorted.get(&path) {
            let what = format!("{} sets the same key; unset one of the two", quoted(other));
            problems.push(Problem::new(name, None, what));
        } else {
            sorted.insert(path, (name, raw));
        }
    }
    for (path, (name, raw)) in sorted {
        if let Err(what) = set(root, &path, &tree::variable(name, raw)) {
            problems.push(Problem::new(&path.join("."), None, format!("{}: {what}", quoted(name))));
        }
    }
}

fn set(root: &mut Table, path: &[String], new: &Node) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else { return Ok(()) };
    let list = first == LIST;
    in_table(root, first, rest, new, list)
}

fn in_table(table: &mut Table, name: &str, rest: &[String], new: &Node, list: bool) -> Result<(), String> {
    let at = match table.iter().position(|(known, _)| known == name) {
        Some(at) => at,
        None => {
            let value = if list { Value::Array(Vec::new()) } else { Value::Table(Table::new()) };
            table.push((name.to_owned(), Node { value, origin: new.origin.clone() }));
            table.len() - 1
        }
    };
    match table.get_mut(at) {
        Some((_, node)) => below(node, rest, new),
        None => Ok(()),
    }
}

fn below(node: &mut Node, rest: &[String], new: &Node) -> Result<(), String> {
    let Some((name, rest)) = rest.split_first() else {
        *node = new.clone();
        return Ok(());
    };
    match &mut node.value {
        Value::Table(table) => in_table(table, name, rest, new, false),
        Value::Array(items) => {
            let index = name.parse::<usize>().map_err(|_| {
                format!("{} is a place in a list; write its number, counted from 0", quoted(name))
            })?;
            if index > items.len() {
                return Err(format!("the list has {} entries; the next one is {0}", items.len()));
            }
            if index == items.len() {
                items.push(Node { value: Value::Table(Table::new()), origin: new.origin.clone() });
            }
            items.get_mut(index).map_or(Ok(()), |item| below(item, rest, new))
        }
        Value::String(_) | Value::Integer(_) | Value::Bool(_) | Value::Other(_) => {
            Err("the key above it has a plain value, not a table; unset the variable".to_owned())
        }
    }
}

/// What a problem says of a value that a variable gave.
pub(super) fn blame(origin: &Origin, what: &str) -> (Option<usize>, String) {
    match origin {
        Origin::Line(line) => (Some(*line), what.to_owned()),
        Origin::Variable { name, .. } => (None, format!("{}: {what}", quoted(name))),
    }
}
