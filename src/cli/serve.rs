//! `tunnelwarden serve`: runs the proxy until SIGINT or SIGTERM, then lets the calls under way end. SIGHUP has it read its
//! configuration again.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::config;
use crate::service::{Running, Source};

use super::{ConfigFile, Env, Exit, Stop, log, memory, signals};

/// Options of `serve`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  tunnelwarden serve --config /etc/tunnelwarden/tunnelwarden.toml
  TUNNELWARDEN__LISTEN__ADDRESS=0.0.0.0:8080 tunnelwarden serve --config tunnelwarden.toml

SIGHUP has it read the configuration again, and all files that it names; so does a change of one of them.
SIGINT and SIGTERM end it, once the calls under way have ended.")]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

/// Runs it.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(args: &Args, env: &Env) -> Result<Exit, Stop> {
    let config = config::load(&args.file.config, &env.vars).map_err(Stop::usage)?;
    let filter = log::start(&config.log, env.colors_at(env.terminal.errors)).map_err(Stop::usage)?;
    if memory::is_open(env.vars.get(memory::ALLOW_DUMPS).map(OsStr::new)) == Ok(true) {
        tracing::warn!("{}", memory::OPEN);
    }
    // From here on a SIGHUP ends nothing.
    let mut hangups = signals::Hangups::listen();
    let source = Source { file: args.file.config.clone(), variables: env.vars.clone(), filter };
    let running = Running::start(config, source, Arc::clone(&env.clock)).await.map_err(Stop::failed)?;
    tracing::info!(listen.address = %running.api(), admin.address = %running.admin(), "serving");
    let stop = signals::stop();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = hangups.next() => running.reload(),
        }
    }
    tracing::info!("stopping");
    running.stop().await;
    tracing::info!("stopped");
    Ok(Exit::Good)
}
