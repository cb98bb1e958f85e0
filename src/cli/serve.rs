//! `tunnelwarden serve`: runs the proxy until SIGINT or SIGTERM, then lets the calls under way end.

use std::sync::Arc;

use crate::config;
use crate::service::Running;

use super::{ConfigFile, Env, Exit, Stop, log, signals};

/// Options of `serve`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  tunnelwarden serve --config /etc/tunnelwarden/tunnelwarden.toml
  TUNNELWARDEN__LISTEN__ADDRESS=0.0.0.0:8080 tunnelwarden serve --config tunnelwarden.toml")]
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
    log::start(&config.log, env.colors_at(env.terminal.errors)).map_err(Stop::usage)?;
    let running = Running::start(&config, Arc::clone(&env.clock)).await.map_err(Stop::failed)?;
    tracing::info!(listen.address = %running.api(), admin.address = %running.admin(), "serving");
    signals::stop_of_service().await;
    tracing::info!("stopping");
    running.stop().await;
    tracing::info!("stopped");
    Ok(Exit::Good)
}
