//! The command line. Each subcommand is a file in `cli/`.

pub mod audit;
pub mod check;
pub mod demo;
pub mod emulator;
mod forgotten;
pub mod healthcheck;
pub mod keys;
pub mod log;
pub mod memory;
pub mod migrate;
pub mod policy;
pub mod serve;
mod signals;
pub mod token;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser, Subcommand};
use jiff::tz::TimeZone;

use crate::json::Object;

use crate::clock::Clock;
use crate::store::Server;

/// An audit-logging, authenticating reverse proxy for Cloudflare's Magic IPsec tunnel API.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Begin with:
  tunnelwarden demo                               everything on this machine, with commands to paste
  tunnelwarden check --config tunnelwarden.toml   all that is wrong with a configuration
  tunnelwarden serve --config tunnelwarden.toml

Exit codes: 0 good, 1 failed, 2 wrong usage or configuration, 3 verification found tampering, 4 what was watched for is there."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Whether it only reads the record, and so is to give way to the proxy that writes it.
    #[must_use]
    pub const fn gives_way(&self) -> bool {
        matches!(self.command, Command::Audit(_))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API, health and metrics
    Serve(serve::Args),
    /// Say all that is wrong in configuration, policy, keys and upstream tokens, without listening
    Check(check::Args),
    /// Run emulator, proxy and tokens on this machine, to try it out
    Demo(demo::Args),
    /// Run the emulated upstream alone
    Emulator(emulator::Args),
    /// Check, tabulate and explain the policy
    #[command(subcommand)]
    Policy(policy::Command),
    /// Issue tokens for development, look into tokens, and revoke them
    #[command(subcommand)]
    Token(token::Command),
    /// Make the keys that a configuration names, and replace the one that signs the record
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make the record's tables on a PostgreSQL server, as their owner
    Migrate(migrate::Args),
    /// Read and verify the record
    Audit(audit::Args),
    /// Ask a running proxy whether it is ready
    Healthcheck(healthcheck::Args),
    /// Print the completions of these commands for a shell
    #[command(after_help = "\
Examples:
  source <(tunnelwarden completions bash)
  tunnelwarden completions zsh > ~/.zfunc/_tunnelwarden
  tunnelwarden completions fish > ~/.config/fish/completions/tunnelwarden.fish")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Characters of a user's name that are recorded: more than Linux takes.
const MAX_NAME: usize = 64;

/// What the outside gives to a command: the environment comes in here and nowhere else.
pub struct Env {
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where a person looks on.
    pub terminal: Terminal,
}

impl std::fmt::Debug for Env {
    /// Of the variables their names only: one of them may be a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.vars.keys().collect::<Vec<_>>();
        f.debug_struct("Env").field("vars", &names).field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// Which outputs are terminals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal {
    /// Standard output.
    pub out: bool,
    /// Standard error.
    pub errors: bool,
}

impl Env {
    /// Whether answers are colored.
    fn colors(&self) -> bool {
        self.colors_at(self.terminal.out)
    }

    /// The zone in which a person reads times: that of `TZ` (POSIX.1-2024, section 8.3), else the machine's. One that is not
    /// known is UTC, as the C library has it; each time that is shown says its offset.
    fn zone(&self) -> TimeZone {
        let Some(name) = self.vars.get("TZ") else { return TimeZone::system() };
        let name = name.trim_start_matches(':');
        TimeZone::get(name).or_else(|_| TimeZone::posix(name)).unwrap_or(TimeZone::UTC)
    }

    /// The same for who wants UTC.
    fn in_utc(&self) -> Self {
        let mut vars = self.vars.clone();
        vars.insert("TZ".to_owned(), "UTC0".to_owned());
        Self { vars, clock: Arc::clone(&self.clock), terminal: self.terminal }
    }

    /// Who runs a command that changes the record: the user's number as the system knows it, and the names that the
    /// environment has.
    fn operator(&self) -> Object {
        let mut operator = Object::new();
        operator.set("uid", u64::from(rustix::process::getuid().as_raw()));
        for (member, var) in [("user", "USER"), ("sudo_user", "SUDO_USER")] {
            if let Some(name) = self.vars.get(var) {
                operator.set(member, name.chars().take(MAX_NAME).collect::<String>());
            }
        }
        operator
    }

    /// Whether an output is colored: on a terminal that can, unless `NO_COLOR` says no (<https://no-color.org>).
    fn colors_at(&self, terminal: bool) -> bool {
        let var = |name: &str| self.vars.get(name).map_or("", String::as_str);
        terminal && var("NO_COLOR").is_empty() && var("TERM") != "dumb"
    }
}

/// Exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Good,
    /// 1
    Failed,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: verification found tampering.
    Tampered,
    /// 4: what was watched for is there.
    Found,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Tampered => 3,
            Exit::Found => 4,
        })
    }
}

/// `--config FILE`, which most commands take.
#[derive(clap::Args, Clone, Debug)]
pub struct ConfigFile {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Why a command ends without its answer: what to tell, and the exit code.
#[derive(Debug)]
pub struct Stop {
    exit: Exit,
    what: String,
}

impl Stop {
    /// What was given can't be used.
    pub fn usage(what: impl std::fmt::Display) -> Self {
        Self { exit: Exit::Usage, what: what.to_string() }
    }

    /// What was given is good, and still it did not work.
    pub fn failed(what: impl std::fmt::Display) -> Self {
        Self { exit: Exit::Failed, what: what.to_string() }
    }
}

impl From<std::io::Error> for Stop {
    /// An answer that can't be written. Where its reader has gone, there is nobody to tell.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::failed("");
        }
        Self::failed(format_args!("the answer can't be written: {error}"))
    }
}

/// Refuses an address, which an option was given, by which anybody on the way could be the server: it would be told the password.
fn check_proves(option: &str, server: &Server, allow_insecure: bool) -> Result<(), Stop> {
    if server.is_secure() || allow_insecure {
        return Ok(());
    }
    let hint = "use sslmode=verify-full, or give --allow-insecure-database where nobody else is on the way";
    Err(Stop::usage(format_args!("{option} would not make sure who the server is; {hint}")))
}

fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> Result<Exit, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tunnelwarden", &mut script);
    out.write_all(&script)?;
    Ok(Exit::Good)
}

/// Runs what the command line asks for. `out` is where answers go; what went wrong goes to `errors`, once.
pub async fn run(cli: Cli, env: &Env, out: &mut (dyn Write + Send), errors: &mut (dyn Write + Send)) -> Exit {
    let done = match cli.command {
        Command::Serve(args) => serve::run(&args, env).await,
        Command::Check(args) => check::run(&args, env, out).await,
        Command::Demo(args) => demo::run(args, env, out).await,
        Command::Emulator(args) => emulator::run(args, env, out).await,
        Command::Policy(command) => policy::run(&command, env, out),
        Command::Token(command) => token::run(command, env, out, errors).await,
        Command::Keys(command) => keys::run(&command, env, out).await,
        Command::Migrate(args) => migrate::run(&args, env, out).await,
        Command::Audit(args) => audit::run(&args, env, out, errors).await,
        Command::Healthcheck(args) => healthcheck::run(&args, env).await,
        Command::Completions { shell } => completions(shell, out),
    };
    done.unwrap_or_else(|Stop { exit, what }| {
        for line in what.lines() {
            // Where even this can't be written, the exit code still tells.
            let _ = writeln!(errors, "error: {line}");
        }
        exit
    })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn each_shell_has_completions_of_all_commands() {
        for shell in clap_complete::Shell::value_variants() {
            let mut out = Vec::new();
            completions(*shell, &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            for word in ["healthcheck", "find-secret", "psk-age", "older-than"] {
                assert!(script.contains(word), "{word} for {shell}");
            }
        }
    }
}
