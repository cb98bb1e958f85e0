//! The `tunnelwarden` program.

use std::process::ExitCode;

use clap::Parser as _;
use tunnelwarden::cli::{Cli, Env, Exit, run};
use tunnelwarden::clock::SystemClock;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let vars = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let env = Env { vars: vars.collect(), clock: SystemClock::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return Exit::Failed.into();
    };
    let exit = runtime.block_on(run(cli, &env, &mut std::io::stdout(), &mut std::io::stderr()));
    // What is still running serves nobody: a blocked name lookup must not hold the exit.
    runtime.shutdown_background();
    exit.into()
}
