//! `tunnelwarden policy`: is a policy text good, who may do what by it, and why not.
//!
//! All of it is computed by asking the very code that decides about calls. Not here: that code (`authorize`).

mod explain;
mod matrix;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Env, Exit, Stop};
use crate::authorize::{Authorizer, read_policy};
use crate::caller::Caller;
use crate::config;

pub use explain::Explain;
pub use matrix::Matrix;

/// Work on a policy text.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say everything that is wrong with a policy, by line and `@id`.
    #[command(after_help = "Example:\n  tunnelwarden policy check --policy policy.cedar")]
    Check {
        /// Which policy.
        #[command(flatten)]
        from: PolicyFrom,
    },
    /// Show which role may do what.
    #[command(after_help = "Examples:\n  tunnelwarden policy matrix --policy policy.cedar\n  \
                            tunnelwarden policy matrix --config tunnelwarden.toml --role viewer,operator --json")]
    Matrix(Matrix),
    /// Say how one call would be decided, and by which policies.
    #[command(after_help = "Example:\n  tunnelwarden policy explain --policy policy.cedar --subject alice \
                            --role operator --operation generate_psk \\\n    \
                            --account 023e105f4ecef8ad9ca31a8372d0c353 --tunnel c4a7362d577a6c3019a474fd6f485821")]
    Explain(Explain),
}

/// Where the policy is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PolicyFrom {
    /// The configuration that names it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The policy itself.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// What can't be read or used.
pub fn run(command: &Command, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    match command {
        Command::Check { from } => check(from, env, out),
        Command::Matrix(matrix) => matrix::run(matrix, env, out),
        Command::Explain(explain) => explain::run(explain, env, out),
    }
}

/// What is wrong is the answer, so it goes to `out`.
fn check(from: &PolicyFrom, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    let path = path(from, env)?;
    let text = read_policy(&path).map_err(Stop::usage)?;
    let shown = path.display();
    match Authorizer::new(&text) {
        Ok(authorizer) => {
            let count = authorizer.policy_ids().count();
            let noun = if count == 1 { "policy" } else { "policies" };
            writeln!(out, "{shown}: good, {count} {noun}, sha256 {}", authorizer.digest())?;
            if authorizer.permits_nothing() {
                writeln!(out, "warning: without a policy that permits, nobody may do anything")?;
            }
            Ok(Exit::Good)
        }
        Err(problems) => {
            problems.iter().try_for_each(|problem| writeln!(out, "{shown}: {problem}"))?;
            Ok(Exit::Usage)
        }
    }
}

fn path(from: &PolicyFrom, env: &Env) -> Result<PathBuf, Stop> {
    match (&from.policy, &from.config) {
        (Some(policy), _) => Ok(policy.clone()),
        (None, Some(config)) => config::policy_file(config, &env.vars).map_err(Stop::usage),
        (None, None) => Err(Stop::usage("give --policy or --config")),
    }
}

/// The policy to be asked.
fn load(from: &PolicyFrom, env: &Env) -> Result<Authorizer, Stop> {
    let path = path(from, env)?;
    let text = read_policy(&path).map_err(Stop::usage)?;
    Authorizer::new(&text).map_err(|problems| {
        let told: Vec<String> =
            problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect();
        Stop::usage(told.join("\n"))
    })
}

/// A caller as described on the command line.
fn caller(subject: &str, issuer: &str, roles: &[String], teams: &[String]) -> Caller {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        names
    };
    Caller {
        subject: subject.to_owned(),
        teams: sorted(teams),
        roles: sorted(roles),
        issuer: issuer.to_owned(),
        jti: None,
        key_id: None,
        expires: jiff::Timestamp::MAX,
    }
}

#[cfg(test)]
mod tests;
