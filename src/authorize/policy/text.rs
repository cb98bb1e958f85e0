//! A policy text, read and validated, with everything that is wrong in it by line and `@id`.
//!
//! Validation is strict, and a warning counts as an error: a policy that can never apply is one that its author
//! believes in. Not here: the file (`authorize::file`), what is made of a good text (`policy`).

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Formatter};

use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, ValidationWarning, Validator};
use miette::Diagnostic;

/// Characters of an `@id`: it stands in every entry of the record.
const MAX_ID: usize = 64;

/// Characters of an `@advice`: it stands in an error message, of which terminals show two lines.
const MAX_ADVICE: usize = 200;

/// One thing that is wrong with a policy text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The line, from 1, where there is one.
    pub line: Option<usize>,
    /// The `@id` of the policy, where it has one.
    pub id: Option<String>,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Display for PolicyProblem {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        // Both may quote the file, which must not steer a terminal.
        let plain = |text: &str| text.replace(char::is_control, "?");
        if let Some(id) = &self.id {
            write!(f, "policy `{}`: ", plain(id))?;
        }
        f.write_str(&plain(&self.what))
    }
}

/// The policies of a text, under their `@id`s and in its order, if all is well with all of them.
pub(super) fn read(text: &str, schema: &Schema) -> Result<Vec<Policy>, Vec<PolicyProblem>> {
    let parsed = match text.parse::<PolicySet>() {
        Ok(parsed) => parsed,
        Err(errors) => return Err(sorted(errors.iter().map(|error| problem(text, None, error)).collect())),
    };
    let mut problems = Vec::new();
    let placed = placed(text, &parsed);
    let named = named(&placed, &mut problems);
    problems.extend(parsed.templates().map(|template| PolicyProblem {
        line: text.find(&template.to_cedar()).map(|at| line_at(text, at)),
        id: template.annotation("id").map(str::to_owned),
        what: "templates (`?principal`, `?resource`) are not served; write the policy out".into(),
    }));
    let names: HashMap<&PolicyId, &str> =
        placed.iter().filter_map(|(_, policy)| Some((policy.id(), policy.annotation("id")?))).collect();
    problems.extend(invalid(text, &parsed, schema, &names));
    if problems.is_empty() { Ok(named) } else { Err(sorted(problems)) }
}

/// The policies in the order of the text, each with its line.
fn placed(text: &str, parsed: &PolicySet) -> Vec<(Option<usize>, Policy)> {
    // The parser names them `policy0`, `policy1`, ... in the order of the text.
    let ordinal =
        |policy: &&Policy| policy.id().to_string().trim_start_matches("policy").parse().unwrap_or(usize::MAX);
    let mut policies: Vec<&Policy> = parsed.policies().collect();
    policies.sort_by_key(ordinal);
    let mut from = 0;
    let mut placed = Vec::with_capacity(policies.len());
    for policy in policies {
        let source = policy.to_cedar().unwrap_or_default();
        let at = text.get(from..).and_then(|rest| rest.find(&source)).map(|at| from + at);
        from = at.map_or(from, |at| at + source.len());
        placed.push((at.map(|at| line_at(text, at)), policy.clone()));
    }
    placed
}

/// The policies under their `@id`s, those that have a good one.
fn named(placed: &[(Option<usize>, Policy)], problems: &mut Vec<PolicyProblem>) -> Vec<Policy> {
    let mut first: BTreeMap<String, Option<usize>> = BTreeMap::new();
    let mut named = Vec::with_capacity(placed.len());
    for (line, policy) in placed {
        let id = policy.annotation("id");
        let mut wrong = |what: String| {
            problems.push(PolicyProblem { line: *line, id: id.map(str::to_owned), what });
        };
        for (annotation, value) in policy.annotations() {
            match annotation {
                "id" if is_id(value) => {}
                "id" => wrong(format!(
                    "the `@id` must be 1 to {MAX_ID} letters, digits, `-`, `_` or `.`; give it a shorter or plainer one"
                )),
                "advice" if is_advice(value) => {}
                "advice" => wrong(format!(
                    "the `@advice` must be 1 to {MAX_ADVICE} printable characters on one line; shorten it"
                )),
                other => wrong(format!("unknown annotation `@{other}`; `@id` and `@advice` are known")),
            }
        }
        match id {
            None => wrong("no `@id`; give the policy one, it names the policy in refusals and record".into()),
            Some(id) => match first.get(id) {
                Some(Some(at)) => {
                    wrong(format!("the `@id` is taken by the policy on line {at}; give one another"))
                }
                Some(None) => wrong("the `@id` is taken by another policy; give one another".into()),
                None => {
                    first.insert(id.to_owned(), *line);
                    named.push(policy.new_id(PolicyId::new(id)));
                }
            },
        }
    }
    named
}

fn is_id(id: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(plain)
}

fn is_advice(advice: &str) -> bool {
    (1..=MAX_ADVICE).contains(&advice.chars().count()) && !advice.chars().any(char::is_control)
}

/// What the validator says, in strict mode.
fn invalid(
    text: &str,
    parsed: &PolicySet,
    schema: &Schema,
    names: &HashMap<&PolicyId, &str>,
) -> Vec<PolicyProblem> {
    let found = Validator::new(schema.clone()).validate(parsed, ValidationMode::Strict);
    let name = |id: &PolicyId| names.get(id).map(|name| (*name).to_owned());
    let errors = found.validation_errors().map(|error| problem(text, name(error.policy_id()), error));
    // A team may well be named in another script than the policy around it.
    let tolerated =
        |warning: &&ValidationWarning| !matches!(warning, ValidationWarning::MixedScriptString(_));
    let warnings = found.validation_warnings().filter(tolerated);
    errors.chain(warnings.map(|warning| problem(text, name(warning.policy_id()), warning))).collect()
}

fn problem(text: &str, id: Option<String>, error: &dyn Diagnostic) -> PolicyProblem {
    let line = error.labels().and_then(|mut labels| labels.next()).map(|label| line_at(text, label.offset()));
    PolicyProblem { line, id, what: plainly(&error.to_string(), error.help().map(|help| help.to_string())) }
}

/// The validator's words, in terms that the author of a policy knows.
fn plainly(raw: &str, help: Option<String>) -> String {
    // The parser numbers policies; their author knows them by `@id` and line.
    let what = raw
        .strip_prefix("for policy `")
        .and_then(|rest| rest.split_once("`, "))
        .map_or(raw, |(_, what)| what);
    // The same for each action; once is enough.
    let what = match what.split_once(" in context for Action::") {
        Some((before, rest)) => {
            format!(
                "{before} in the context{}",
                rest.find("\" ").and_then(|at| rest.get(at + 1..)).unwrap_or_default()
            )
        }
        None => what.to_owned(),
    };
    let not_on_tunnel = ["`Account` not found", "`Audit` not found"].iter().any(|end| what.ends_with(end));
    let help = help.or_else(|| {
        not_on_tunnel
            .then(|| "put `resource is Tunnel &&` before it, or name the actions on tunnels".to_owned())
    });
    help.map_or(what.clone(), |help| format!("{what}; {help}"))
}

pub(super) fn plain(what: String) -> PolicyProblem {
    PolicyProblem { line: None, id: None, what }
}

fn sorted(mut problems: Vec<PolicyProblem>) -> Vec<PolicyProblem> {
    problems.sort_by(|a, b| (a.line, &a.what).cmp(&(b.line, &b.what)));
    problems.dedup();
    problems
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
