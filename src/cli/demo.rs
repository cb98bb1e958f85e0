//! `tunnelwarden demo`: everything on one machine, out of nothing.
//!
//! An emulated upstream, the proxy before it, keys, the shipped policy, one token for each role, and commands
//! to paste. What it starts is what `serve` starts, from a configuration file that it writes. Not here: the day
//! that `--script` plays (`script`).

mod files;
mod script;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Ids;
use crate::config;
use crate::emulator::{Emulator, Options};
use crate::secret::SecretString;
use crate::service::Running;

use super::{Env, Exit, signals};
use files::Files;

/// The roles of the shipped policy.
const ROLES: [&str; 4] = ["viewer", "operator", "admin", "security"];

/// The account that the emulator has tunnels in.
const ACCOUNT: &str = "023e105f4ecef8ad9ca31a8372d0c353";

/// Tunnels that are there from the start.
const TUNNELS: usize = 3;

/// Options of `demo`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where to keep database, keys and tokens [default: a new folder below the system's temporary one]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where to serve the API
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where to serve health and metrics
    #[arg(long, default_value = "127.0.0.1:0")]
    admin: SocketAddr,
    /// Play a day of calls first: good ones, refused ones, limited ones, a lost answer
    #[arg(long)]
    script: bool,
    /// End when the script has been played
    #[arg(long, requires = "script")]
    exit: bool,
}

/// Runs the demo until Ctrl-C.
pub async fn run(args: Args, env: &Env, out: &mut dyn Write) -> Exit {
    match demo(args, env, out).await {
        Ok(()) => Exit::Good,
        Err(why) => super::fail(out, &format!("the demo can't run: {why}")),
    }
}

async fn demo(args: Args, env: &Env, out: &mut dyn Write) -> Result<(), String> {
    let upstream_token = files::random_token()?;
    let ids = Arc::new(Ids::new(Arc::clone(&env.clock)));
    let options = Options::new(SecretString::from(upstream_token.as_str()));
    let emulator = Emulator::start(options, Arc::clone(&env.clock), ids).await.map_err(|e| e.to_string())?;
    let seeded = emulator.seed(ACCOUNT, TUNNELS);
    let files = Files::create(args.dir, env.clock.as_ref(), &files::Wanted {
        listen: args.listen,
        admin: args.admin,
        upstream: &emulator.base_url(),
        upstream_token: &upstream_token,
        roles: &ROLES,
    })?;
    let config = config::load(&files.config(), &std::collections::BTreeMap::new()).map_err(|e| e.to_string())?;
    let running = Running::start(&config, Arc::clone(&env.clock)).await.map_err(|e| e.to_string())?;
    let base = format!("http://{}/client/v4", running.api());
    files.environment(&base, &emulator.origin(), ACCOUNT)?;
    let tunnel = seeded.first().cloned().unwrap_or_default();
    let told = tell(out, &files, &base, &tunnel, &running);
    if args.script && told.is_ok() {
        script::play(out, &base, &emulator, &files, ACCOUNT).await?;
    }
    if !args.exit {
        let _ = writeln!(out, "\nCtrl-C ends it.");
        let _ = out.flush();
        signals::stop().await;
    }
    running.stop().await;
    let _ = writeln!(out, "Stopped. The record stays in {}", files.database().display());
    told.map_err(|e| e.to_string())
}

fn tell(
    out: &mut dyn Write,
    files: &Files,
    base: &str,
    tunnel: &str,
    running: &Running,
) -> std::io::Result<()> {
    let dir = files.dir().display();
    let collection = format!("$CLOUDFLARE_BASE_URL/accounts/{ACCOUNT}/magic/ipsec_tunnels");
    writeln!(out, "tunnelwarden demo")?;
    writeln!(out, "  API       {base}")?;
    writeln!(out, "  health    http://{}/readyz", running.admin())?;
    writeln!(out, "  record    {}", files.database().display())?;
    writeln!(out, "  settings  {}", files.config().display())?;
    writeln!(out, "\nPaste this into another terminal:\n")?;
    writeln!(out, "  export CLOUDFLARE_BASE_URL={base}")?;
    writeln!(out, "  as() {{ curl -sS -H \"Authorization: Bearer $(cat {dir}/$1.token)\" \"${{@:2}}\"; echo; }}")?;
    writeln!(out, "\n  # a viewer reads; nobody but an admin mints a key")?;
    writeln!(out, "  as viewer {collection}/{tunnel}")?;
    writeln!(out, "  as operator -X POST {collection}/{tunnel}/psk_generate")?;
    writeln!(out, "  as admin -X POST {collection}/{tunnel}/psk_generate")?;
    writeln!(out, "\n  # what the record knows of it, and that nobody edited it")?;
    let program = std::env::current_exe().map_or_else(|_| "tunnelwarden".into(), |path| path.display().to_string());
    writeln!(out, "  {program} audit list --config {dir}/tunnelwarden.toml")?;
    writeln!(out, "  {program} audit verify --config {dir}/tunnelwarden.toml")?;
    out.flush()
}
