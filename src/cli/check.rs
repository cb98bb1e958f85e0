//! `tunnelwarden check`: all that is wrong in configuration, policy, keys, files and upstream tokens, at once,
//! without listening.
//!
//! Not here: what is looked at (`service::check`).

use std::io::Write;
use std::sync::Arc;

use crate::config::{self, Config};
use crate::json::{Json, Object};
use crate::service::{self, Findings};

use super::{ConfigFile, Env, Exit, Stop};

/// Options of `check`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  tunnelwarden check --config tunnelwarden.toml
  tunnelwarden check --config tunnelwarden.toml --json

The upstream is asked whether it takes each token. One that it refuses is a problem; where it does not
answer within 5 seconds, or can't be asked, that is a warning, and the exit code is 0.")]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it. What is wrong is the answer, so it goes to `out`.
///
/// # Errors
/// The answer can't be written.
pub async fn run(args: &Args, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let (Findings { problems, warnings }, summary) = match config::load(&args.file.config, &env.vars) {
        Ok(config) => {
            let summary = summary(&config);
            (service::check(config, Arc::clone(&env.clock)).await, summary)
        }
        Err(problems) => {
            // `serve` says the same in the same words.
            return tell_config(args, &problems, out);
        }
    };
    if args.json {
        let mut all = Object::new();
        all.set("ok", problems.is_empty());
        all.set("problems", items(&problems));
        all.set("warnings", items(&warnings));
        writeln!(out, "{}", Json::Object(all))?;
    } else {
        if problems.is_empty() {
            write!(out, "{summary}")?;
        }
        problems.iter().try_for_each(|(key, what)| writeln!(out, "{key}: {what}"))?;
        warnings.iter().try_for_each(|(key, what)| writeln!(out, "warning: {key}: {what}"))?;
    }
    Ok(if problems.is_empty() { Exit::Good } else { Exit::Usage })
}

/// A configuration that can't be read: nothing that it names can be looked at.
fn tell_config(args: &Args, problems: &config::Problems, out: &mut dyn Write) -> Result<Exit, Stop> {
    if args.json {
        let item = |problem: &config::Problem| {
            let mut item = Object::new();
            item.set("key", problem.key.as_str());
            item.set("problem", problem.what.as_str());
            item.set("line", problem.line);
            Json::Object(item)
        };
        let mut all = Object::new();
        all.set("ok", false);
        all.set("problems", Json::Array(problems.0.iter().map(item).collect()));
        all.set("warnings", Json::Array(Vec::new()));
        writeln!(out, "{}", Json::Object(all))?;
    } else {
        let file = args.file.config.display();
        problems.0.iter().try_for_each(|problem| writeln!(out, "{file}: {problem}"))?;
    }
    Ok(Exit::Usage)
}

fn items(found: &[(String, String)]) -> Json {
    let item = |(key, what): &(String, String)| {
        let item: Object = [("key", key.as_str()), ("problem", what.as_str())].into_iter().collect();
        Json::Object(item)
    };
    Json::Array(found.iter().map(item).collect())
}

fn summary(config: &Config) -> String {
    let issuers: Vec<&str> = config.issuers.iter().map(|issuer| issuer.issuer.as_str()).collect();
    format!(
        "good: serves {} for {}\n  issuers   {}\n  policy    {}\n  record    {}\n",
        config.upstream.base_url,
        config.listen.address,
        issuers.join(", "),
        config.policy.file.display(),
        config.audit.database,
    )
}
