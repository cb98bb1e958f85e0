//! `tunnelwarden migrate`: makes the record's tables on a PostgreSQL server, as their owner.
//!
//! Who writes the record may not change its tables, so this is a command of its own. Not here: the tables
//! (`migrations/postgres`).

use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::{Env, Exit, Stop, check_proves};
use crate::inspect::plain;
use crate::service::why;
use crate::store::{self, Database};

/// What `migrate` takes.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Run it as the role that owns the database, before the first start, at each upgrade, and at least once a year, as it makes the
tables of the next twelve months. It takes nothing away and may be run again at any time.

Examples:
  tunnelwarden migrate --database postgres://owner@db.example/tunnelwarden --writer tunnelwarden --reader analyst")]
pub struct Args {
    /// `postgres://OWNER@HOST/DATABASE`
    #[arg(long, value_name = "URL")]
    database: String,
    /// The owner's password; without it, the variable PGPASSWORD.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A role as which `serve` writes the record: it may add to it and read it, and nothing else; once for each.
    #[arg(long, value_name = "ROLE")]
    writer: Vec<String>,
    /// A role that may read the record; once for each.
    #[arg(long, value_name = "ROLE")]
    reader: Vec<String>,
    /// Take a server that does not prove who it is: anyone on the way can be it.
    #[arg(long)]
    allow_insecure_database: bool,
}

/// Runs it.
///
/// # Errors
/// What keeps the tables from being made.
pub async fn run(args: &Args, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let parsed = Database::parse(&args.database, Path::new(""));
    let server = match parsed.map_err(|e| Stop::usage(format_args!("--database {e}")))? {
        Database::Postgres(server) => server.with_password_file(args.password_file.clone()),
        Database::Sqlite(_) => {
            return Err(Stop::usage("a record in a file needs no `migrate`: `serve` makes its tables"));
        }
    };
    check_proves("--database", &server, args.allow_insecure_database)?;
    if let Some(what) = server.password_problem() {
        return Err(Stop::usage(format_args!("--password-file: {}", plain(&what))));
    }
    let today = TimeZone::UTC.to_datetime(env.clock.now()).date();
    let made = store::migrate(&server, &args.writer, &args.reader, today).await;
    made.map_err(|e| Stop::failed(plain(&why(&e))))?;
    writeln!(out, "good: the tables are those of this version, and months are made until a year from now")?;
    for (roles, may) in [(&args.writer, "add to the record and read it"), (&args.reader, "read it")] {
        for role in roles {
            writeln!(out, "  {} may {may}", plain(role))?;
        }
    }
    Ok(Exit::Good)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Terminal};
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn a_password_file_that_is_not_there_is_named() {
        let env = Env { vars: BTreeMap::new(), clock: SystemClock::new(), terminal: Terminal::default() };
        let line = "tunnelwarden migrate --database postgres://u@127.0.0.1:1/d --password-file /no/such/file";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let mut errors = Vec::new();
        let exit = crate::cli::run(cli, &env, &mut Vec::new(), &mut errors).await;
        let told = String::from_utf8(errors).unwrap();
        assert_eq!(exit, Exit::Usage, "{told}");
        assert!(told.contains("--password-file: ") && told.contains("`/no/such/file`"), "{told}");
        assert_eq!(told.matches("No such file").count(), 1, "{told}");
    }
}
