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
use crate::emulator::{Emulator, Options, Token, new_token};
use crate::json::{Json, Object};
use crate::operation::AccountId;
use crate::secret::ExposeSecret as _;
use crate::service::{Running, Source, make_keys};

use super::{Env, Exit, Stop, signals};
use files::{Files, quoted};

/// The roles of the shipped policy.
const ROLES: [&str; 4] = ["viewer", "operator", "admin", "security"];

/// The account that the emulator has tunnels in.
const ACCOUNT: &str = "023e105f4ecef8ad9ca31a8372d0c353";

/// Tunnels that are there from the start.
const TUNNELS: usize = 3;

/// Options of `demo`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  tunnelwarden demo
  tunnelwarden demo --script --exit --dir ./demo")]
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
///
/// # Errors
/// What keeps it from running.
pub async fn run(args: Args, env: &Env, out: &mut (dyn Write + Send)) -> Result<Exit, Stop> {
    let played = demo(args, env, out).await;
    played.map_err(|why| Stop::failed(format_args!("the demo can't run: {why}")))?;
    Ok(Exit::Good)
}

async fn demo(args: Args, env: &Env, out: &mut (dyn Write + Send)) -> Result<(), String> {
    let upstream_token = new_token().map_err(|_| "no randomness")?;
    let account = AccountId::parse(ACCOUNT).ok_or("no account")?;
    let ids = Arc::new(Ids::new(Arc::clone(&env.clock)));
    let options = Options::new(vec![Token::user(upstream_token.clone())]);
    let emulator = Emulator::start(options, Arc::clone(&env.clock), ids).await.map_err(|e| e.to_string())?;
    let tunnel = seed(&emulator, account)?;
    let files = Files::create(
        args.dir,
        env.clock.as_ref(),
        &files::Wanted {
            listen: args.listen,
            admin: args.admin,
            upstream: &emulator.base_url(),
            upstream_token: upstream_token.expose_secret(),
            roles: &ROLES,
        },
    )?;
    let running = match start(&files, env).await {
        Ok(running) => running,
        Err(why) => {
            files.discard();
            return Err(why);
        }
    };
    let base = format!("http://{}/client/v4", running.api());
    let audit = format!("http://{}/api/v1", running.admin());
    files.shell(&format!("{base}/accounts/{ACCOUNT}/magic/ipsec_tunnels"), &tunnel, &audit)?;
    files.environment(&base, &emulator.control_url(), ACCOUNT)?;
    let told = tell(out, &files, &base, &running);
    if args.script && told.is_ok() {
        script::play(out, &base, &emulator, &files, ACCOUNT).await?;
    }
    if !args.exit {
        let _ = writeln!(out, "\nCtrl-C ends it.");
        let _ = out.flush();
        signals::stop().await;
    }
    running.stop().await;
    let _ = writeln!(
        out,
        "Stopped. The record stays in {}, with the demo's keys beside it.",
        files.database().display()
    );
    let _ = writeln!(out, "Nothing else was written: that folder may be deleted.");
    told.map_err(|e| e.to_string())
}

async fn start(files: &Files, env: &Env) -> Result<Running, String> {
    let none = std::collections::BTreeMap::new();
    let config = config::load(&files.config(), &none).map_err(|e| e.to_string())?;
    make_keys(&config.audit)?;
    let source = Source { file: files.config(), variables: none, filter: Box::new(|_| {}) };
    Running::start(config, source, Arc::clone(&env.clock)).await.map_err(|e| e.to_string())
}

/// Puts tunnels there, as a company has them; answers the id of the first.
fn seed(emulator: &Emulator, account: AccountId) -> Result<String, String> {
    let mut first = None;
    for n in 1..=TUNNELS {
        let mut tunnel = Object::new();
        tunnel.set("name", format!("site-{n}"));
        tunnel.set("cloudflare_endpoint", "203.0.113.1");
        tunnel.set("customer_endpoint", format!("198.51.100.{n}"));
        tunnel.set("interface_address", format!("10.100.{n}.0/31"));
        tunnel.set("replay_protection", true);
        let id = emulator.put_tunnel(account, &Json::Object(tunnel))?;
        first.get_or_insert(id.to_string());
    }
    first.ok_or_else(|| "no tunnel".to_owned())
}

fn tell(out: &mut dyn Write, files: &Files, base: &str, running: &Running) -> std::io::Result<()> {
    let shown = |path: PathBuf| path.display().to_string();
    writeln!(out, "tunnelwarden demo")?;
    writeln!(out, "  API       {base}")?;
    writeln!(out, "  console   http://{}/console (sign in with security.token)", running.admin())?;
    writeln!(out, "  health    http://{}/readyz", running.admin())?;
    writeln!(out, "  record    {}", shown(files.database()))?;
    writeln!(out, "  settings  {}", shown(files.config()))?;
    writeln!(out, "\nPaste this into another terminal:\n")?;
    writeln!(out, "  . {}", quoted(&files.script()))?;
    writeln!(out, "\n  # a viewer reads; nobody but an admin mints a key")?;
    writeln!(out, "  as viewer $TUNNELS/$TUNNEL")?;
    writeln!(out, "  as operator -X POST $TUNNELS/$TUNNEL/psk_generate")?;
    writeln!(out, "  as admin -X POST $TUNNELS/$TUNNEL/psk_generate")?;
    writeln!(out, "\n  # what the record knows of it, and that nobody edited it")?;
    writeln!(out, "  tunnelwarden audit list --config \"$DEMO/tunnelwarden.toml\"")?;
    writeln!(out, "  tunnelwarden audit verify --config \"$DEMO/tunnelwarden.toml\"")?;
    writeln!(
        out,
        "\nThe first line tells that terminal where all this is, and makes `as ROLE` mean: curl, with that role's \
         token.\nRoles are {}.",
        ROLES.join(", ")
    )?;
    out.flush()
}
