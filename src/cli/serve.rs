//! `tunnelwarden serve`: runs the proxy until SIGINT or SIGTERM, then lets the calls under way end.

use std::io::Write;
use std::sync::Arc;

use crate::config;
use crate::service::Running;

use super::{ConfigFile, Env, Exit, fail, log, signals};

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
pub async fn run(args: &Args, env: &Env, errors: &mut (dyn Write + Send)) -> Exit {
    let config = match config::load(&args.file.config, &env.vars) {
        Ok(config) => config,
        Err(problems) => return fail(errors, Exit::Usage, &problems),
    };
    if let Err(problem) = log::start(&config.log) {
        return fail(errors, Exit::Usage, &problem);
    }
    let running = match Running::start(&config, Arc::clone(&env.clock)).await {
        Ok(running) => running,
        Err(error) => return fail(errors, Exit::Failed, &error),
    };
    tracing::info!(listen.address = %running.api(), admin.address = %running.admin(), "serving");
    signals::stop().await;
    tracing::info!("stopping");
    running.stop().await;
    tracing::info!("stopped");
    Exit::Good
}
