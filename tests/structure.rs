//! The shape of the code, held by tests: modules import upwards only, files stay short.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules in their order. One may name only those above it, and itself.
const ORDER: [&str; 37] = [
    // values
    "clock",
    "secret",
    "json",
    "operation",
    "caller",
    "refusal",
    "entry",
    "tunnel",
    "measure",
    "trace",
    // evidence
    "seal",
    "archive",
    // edges
    "atomic_file",
    "store",
    "share",
    "config",
    "trust",
    "otlp",
    // stages
    "listen",
    "identify",
    "limit",
    "authorize",
    "audit",
    "forward",
    "respond",
    "state",
    "resolve",
    "reconcile",
    // the whole
    "pipeline",
    // reading
    "inspect",
    "access",
    // faces, and the emulator beside them, which one of them starts
    "ops",
    "api",
    "console",
    "service",
    "emulator",
    "cli",
];

/// The emulator stands beside the product: it may know the values and nothing else of it.
const EMULATOR_KNOWS: [&str; 5] = ["clock", "secret", "json", "operation", "emulator"];

/// Reading can't write: it may know these of the product.
const INSPECT_KNOWS: [&str; 10] =
    ["clock", "secret", "json", "operation", "entry", "seal", "archive", "store", "config", "inspect"];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(files.len() > 50, "the sources were found");
    files
}

fn module_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file, without its tests and comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules that a code names as `crate::module`, also within braces.
fn named(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let list = rest.strip_prefix('{').map_or(rest, |inside| inside.split("};").next().unwrap());
        let parts = if list.len() == rest.len() { vec![rest] } else { list.split(',').collect() };
        for part in parts {
            let name: String =
                part.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            names.insert(name);
        }
    }
    names
}

#[test]
fn modules_name_only_modules_above_them() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        let is_test = path.iter().any(|part| part.to_str().unwrap().trim_end_matches(".rs") == "tests");
        if module == "lib" || module == "main" || is_test {
            continue;
        }
        let own = ORDER.iter().position(|known| *known == module);
        let own = own.unwrap_or_else(|| panic!("`{module}` has no place in the order"));
        for name in named(&code(&text)) {
            let place = ORDER.iter().position(|known| *known == name);
            let allowed = match module.as_str() {
                "emulator" => EMULATOR_KNOWS.contains(&name.as_str()),
                "inspect" => INSPECT_KNOWS.contains(&name.as_str()),
                _ => place.is_some_and(|place| place <= own),
            };
            if !allowed && place.is_some() {
                wrong.push(format!("{} names `{name}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order:\n{}", wrong.join("\n"));
}

/// Maps of texts that hold nothing secret: a configuration's are its keys' values without the secrets, and those of the
/// comparison with the upstream's logs are times.
const MAPS_OF_NO_SECRETS: [&str; 2] = ["Config", "Memory"];

/// The types that print themselves and hold what a client or the environment gave, by name.
fn that_print_what_was_given(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("#[derive(") {
        let item = &code[at..];
        let (Some(derived), Some(open)) = (item.split(')').next(), item.find(['{', ';'])) else { continue };
        let head = &item[..open];
        let name = ["struct ", "enum "].iter().find_map(|word| head.split_once(word));
        let Some((_, name)) = name else { continue };
        let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        // To the brace in its first column, or to the semicolon of a tuple.
        let end = if item[open..].starts_with('{') { item.find("\n}").unwrap_or(item.len()) } else { open };
        let body = &item[..end];
        let given = body.contains("HeaderMap") || body.contains("BTreeMap<String, String>");
        if derived.contains("Debug") && given && !MAPS_OF_NO_SECRETS.contains(&name) {
            found.push(name);
        }
    }
    found
}

#[test]
fn no_type_that_holds_headers_or_the_environment_prints_itself() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if module_of(&path) == "emulator" || path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        for name in that_print_what_was_given(&code(&text)) {
            wrong.push(format!("{}: `{name}`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "write their `Debug` by hand:\n{}", wrong.join("\n"));
    let derives = "#[derive(Clone, Debug)]\npub struct Sent {\n    headers: HeaderMap,\n}\n";
    assert_eq!(that_print_what_was_given(derives), ["Sent"], "this check can fail");
    assert_eq!(that_print_what_was_given("#[derive(Debug)]\nstruct Sent(HeaderMap);\n"), ["Sent"]);
}

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let lines =
            text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"));
        let lines = lines.count();
        if lines > 400 {
            long.push(format!("{} has {lines} lines of code", path.display()));
        }
    }
    assert!(long.is_empty(), "two files each:\n{}", long.join("\n"));
}

#[test]
fn no_drawers_and_no_mod_files() {
    for (path, text) in sources() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["mod", "util", "utils", "common", "helpers", "manager", "misc"].contains(&name),
            "{}",
            path.display()
        );
        let is_test = path.iter().any(|part| part.to_str().unwrap().trim_end_matches(".rs") == "tests");
        assert!(
            is_test || text.starts_with("//!") || text.starts_with("#![doc"),
            "{} says what it is",
            path.display()
        );
    }
}

#[test]
fn the_architecture_fits_on_its_pages() {
    let text = include_str!("../src/ARCHITECTURE.md");
    assert!(text.lines().count() <= 160);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests: String = ["tests", "src"].iter().flat_map(|folder| all_text(&root.join(folder))).collect();
    for line in text.lines().filter(|line| line.starts_with("| ") && line.contains("held by")) {
        for name in
            line.split('`').skip(1).step_by(2).filter(|name| name.contains('_') && !name.contains('.'))
        {
            assert!(tests.contains(&format!("fn {name}(")), "no test is called `{name}`");
        }
    }
}

#[test]
fn the_map_has_the_modules_in_their_order() {
    let text = include_str!("../src/ARCHITECTURE.md");
    let map = text.split("# The map").nth(1).unwrap().split("\n# ").next().unwrap();
    let rows = map.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let (beside, groups): (Vec<&str>, Vec<&str>) = rows.partition(|line| line.starts_with("| beside"));
    let modules = |rows: &[&str]| -> Vec<String> {
        let cells = rows.iter().map(|row| row.split('|').nth(2).unwrap());
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
    };
    let beside = modules(&beside);
    let order: Vec<&str> = ORDER.into_iter().filter(|name| !beside.iter().any(|b| b == name)).collect();
    assert_eq!(modules(&groups), order);
}

/// The words in backticks that are sentences, as only tests are called.
fn sentences(text: &str) -> Vec<&str> {
    let is_name =
        |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let words = text.split('`').skip(1).step_by(2).filter(is_name);
    words.filter(|word| word.matches('_').count() >= 3).collect()
}

#[test]
fn every_test_that_a_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests: String = ["tests", "src"].iter().flat_map(|folder| all_text(&root.join(folder))).collect();
    for (page, text, many) in [
        ("SECURITY.md", include_str!("../SECURITY.md"), 80),
        ("ARCHITECTURE.md", include_str!("../src/ARCHITECTURE.md"), 60),
    ] {
        let named = sentences(text);
        assert!(named.len() > many, "{page} names {} tests", named.len());
        for name in named {
            assert!(tests.contains(&format!("fn {name}(")), "{page}: no test is called `{name}`");
        }
    }
}

/// What `tests/mutants/defences.py` takes out stands where it is sought, and what is to fail then is a test. Each test that the
/// threat model rests on is one of these: one that can't fail holds nothing.
#[test]
fn each_defence_can_be_taken_out_and_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests: String = ["tests", "src"].iter().flat_map(|folder| all_text(&root.join(folder))).collect();
    let table: toml::Table = include_str!("mutants/defences.toml").parse().unwrap();
    let defences = table["defence"].as_array().unwrap();
    assert!(defences.len() > 100, "{} defences", defences.len());
    let (mut names, mut failing) = (BTreeSet::new(), BTreeSet::new());
    for defence in defences {
        let name = defence["name"].as_str().unwrap();
        assert!(names.insert(name), "two are called `{name}`");
        let more = defence.get("more").and_then(toml::Value::as_array).into_iter().flatten();
        for edit in std::iter::once(defence).chain(more) {
            let text = std::fs::read_to_string(root.join(edit["file"].as_str().unwrap())).unwrap();
            let (from, to) = (edit["from"].as_str().unwrap(), edit["to"].as_str().unwrap());
            assert_eq!(text.matches(from).count(), 1, "{name}: {from}");
            assert_ne!(from, to, "{name}");
        }
        let own = defence["tests"].as_array().unwrap();
        assert!(!own.is_empty(), "{name}");
        for test in own.iter().map(|test| test.as_str().unwrap()) {
            assert!(tests.contains(&format!("fn {test}(")), "{name}: no test is called `{test}`");
            failing.insert(test);
        }
    }
    for test in sentences(include_str!("../SECURITY.md")) {
        assert!(failing.contains(test), "SECURITY.md: no defence is listed without which `{test}` fails");
    }
}

fn all_text(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(all_text(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            texts.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

#[test]
fn the_check_on_imports_can_fail() {
    assert!(named("use crate::store::Store;").contains("store"));
    assert!(named("use crate::{json, store::Store};").contains("store"));
    assert!(named("let x = crate::pipeline::f();").contains("pipeline"));
    assert!(!named("$crate::store").contains("store"));
}
