//! `tunnelwarden check`: all that is wrong in configuration, policy and keys, at once, without listening.

use std::io::Write;

use crate::config::{self, Config};
use crate::json::{Json, Object};
use crate::{authorize, forward, identify, service};

use super::{ConfigFile, Env, Exit, Stop};

/// Options of `check`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  tunnelwarden check --config tunnelwarden.toml
  tunnelwarden check --config tunnelwarden.toml --json")]
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
pub fn run(args: &Args, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    let (problems, summary) = match config::load(&args.file.config, &env.vars) {
        Ok(config) => (problems(&config), summary(&config)),
        Err(problems) => {
            let told = problems.0.iter().map(|problem| (problem.key.clone(), problem.what.clone()));
            (told.collect(), String::new())
        }
    };
    let exit = if problems.is_empty() { Exit::Good } else { Exit::Usage };
    if args.json {
        let items = problems.iter().map(|(key, what)| {
            let item: Object = [("key", key.as_str()), ("problem", what.as_str())].into_iter().collect();
            Json::Object(item)
        });
        let mut all = Object::new();
        all.set("ok", problems.is_empty());
        all.set("problems", Json::Array(items.collect()));
        writeln!(out, "{}", Json::Object(all))?
    } else if problems.is_empty() {
        write!(out, "{summary}")?
    } else {
        problems.iter().try_for_each(|(key, what)| writeln!(out, "{key}: {what}"))?
    }
    Ok(exit)
}

/// Everything that would keep the proxy from starting or from serving, by key path.
fn problems(config: &Config) -> Vec<(String, String)> {
    let mut problems = authorize::check(&config.policy.file);
    problems.extend(identify::check(&config.issuers, &config.revocation));
    problems.extend(service::check_keys(&config.audit));
    problems.extend(forward::check(&config.upstream).iter().map(|error| {
        let told = error.to_string();
        let (key, what) = told.split_once(": ").unwrap_or(("upstream", &told));
        (key.to_owned(), what.to_owned())
    }));
    problems
}

fn summary(config: &Config) -> String {
    let issuers: Vec<&str> = config.issuers.iter().map(|issuer| issuer.issuer.as_str()).collect();
    format!(
        "good: serves {} for {}\n  issuers   {}\n  policy    {}\n  record    {}\n",
        config.upstream.base_url,
        config.listen.address,
        issuers.join(", "),
        config.policy.file.display(),
        config.audit.database.display(),
    )
}
