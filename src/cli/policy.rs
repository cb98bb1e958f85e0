//! `tunnelwarden policy`: is a policy text good, who may do what by it, and why not.
//!
//! All of it is computed by asking the very code that decides about calls. Not here: that code (`authorize`).

mod explain;
mod matrix;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Env, Exit};
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

/// Runs the command. Answers go to `out`; problems with what was given go there too, as they are the answer.
pub async fn run(command: &Command, env: &Env, out: &mut (dyn Write + Send)) -> Exit {
    let done = match command {
        Command::Check { from } => check(from, env, out),
        Command::Matrix(matrix) => matrix::run(matrix, env, out),
        Command::Explain(explain) => explain::run(explain, env, out),
    };
    // Nobody reads on (a closed pipe, say): there is nobody to tell either.
    done.unwrap_or(Exit::Failed)
}

fn check(from: &PolicyFrom, env: &Env, out: &mut dyn Write) -> io::Result<Exit> {
    let Some((authorizer, path)) = load(from, env, out)? else { return Ok(Exit::Usage) };
    writeln!(
        out,
        "{}: good, {} policies, sha256 {}",
        path.display(),
        authorizer.policy_ids().count(),
        authorizer.digest()
    )?;
    Ok(Exit::Good)
}

/// The policy, or `None` after its problems were written.
fn load(from: &PolicyFrom, env: &Env, out: &mut dyn Write) -> io::Result<Option<(Authorizer, PathBuf)>> {
    let found = match (&from.policy, &from.config) {
        (Some(policy), _) => Ok(policy.clone()),
        (None, Some(config)) => config::policy_file(config, &env.vars).map_err(|wrong| wrong.to_string()),
        (None, None) => Err("give --policy or --config".to_owned()),
    };
    let read = found.and_then(|path| Ok((read_policy(&path)?, path)));
    let (text, path) = match read {
        Ok(read) => read,
        Err(what) => {
            writeln!(out, "{what}")?;
            return Ok(None);
        }
    };
    match Authorizer::new(&text) {
        Ok(authorizer) => Ok(Some((authorizer, path))),
        Err(problems) => {
            for problem in problems {
                writeln!(out, "{}: {problem}", path.display())?;
            }
            Ok(None)
        }
    }
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
