//! What kept a change of files out (`reload_refused`), in words.
//!
//! Not here: what can be wrong (`service::reload`).

use crate::json::Json;

/// Digests of the file, and what each is of.
const DIGESTS: [(&str, &str); 2] = [("found", "as it was found"), ("in_force", "in force since before")];

/// A line for each problem, and one below it for each digest.
pub(super) fn problem_lines(problems: &[Json]) -> Vec<String> {
    let mut lines = Vec::new();
    for problem in problems {
        lines.push(sentence(problem));
        let digests = DIGESTS.iter().filter_map(|(member, what)| Some((text(problem, member)?, what)));
        lines.extend(digests.map(|(digest, what)| format!("  {digest}, {what}")));
    }
    lines
}

/// All of them in a few words.
pub(super) fn problems_in_short(problems: &[Json]) -> String {
    match problems {
        [] => "not taken".to_owned(),
        [one] => format!("not taken: {}", sentence(one)),
        several => format!("not taken, for {} reasons", several.len()),
    }
}

fn text<'a>(problem: &'a Json, member: &str) -> Option<&'a str> {
    problem.get(member).and_then(Json::as_str)
}

fn sentence(problem: &Json) -> String {
    let keys = problem.get("keys").and_then(Json::as_array).unwrap_or_default();
    let keys = keys.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", ");
    let (of, what) = (text(problem, "of").unwrap_or("?"), text(problem, "what").unwrap_or("?"));
    let thing = match (of, keys.is_empty()) {
        ("file", false) => format!("the file of {keys}"),
        (_, false) => format!("the {of}, at {keys},"),
        (_, true) => format!("the {of}"),
    };
    let wrong = match what {
        "not_good" => "is not good",
        "missing" => "is missing",
        "unreadable" => "can't be read",
        "needs_restart" => "needs a restart",
        other => other,
    };
    format!("{thing} {wrong}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Json> {
        crate::inspect::read_entry(text.as_bytes()).unwrap().as_array().unwrap().to_vec()
    }

    #[test]
    fn each_problem_is_a_sentence_with_its_digests_below() {
        let all = problems(
            r#"[{"of":"file","what":"not_good","keys":["policy.file"],"found":"sha256:aa","in_force":"hmac-sha256:k:bb"},
                {"of":"file","what":"missing","keys":["revocation.file"],"in_force":"sha256:cc"},
                {"of":"configuration","what":"needs_restart","keys":["listen.address","admin.address"],"found":"hmac-sha256:k:dd"},
                {"of":"configuration","what":"unreadable"},{"of":"configuration","what":"novel"},{}]"#,
        );
        let lines = [
            "the file of policy.file is not good",
            "  sha256:aa, as it was found",
            "  hmac-sha256:k:bb, in force since before",
            "the file of revocation.file is missing",
            "  sha256:cc, in force since before",
            "the configuration, at listen.address, admin.address, needs a restart",
            "  hmac-sha256:k:dd, as it was found",
            "the configuration can't be read",
            "the configuration novel",
            "the ? ?",
        ];
        assert_eq!(problem_lines(&all), lines);
        assert_eq!(problems_in_short(&all), "not taken, for 6 reasons");
        assert_eq!(problems_in_short(&all[..1]), "not taken: the file of policy.file is not good");
        assert_eq!(problems_in_short(&[]), "not taken");
    }
}
