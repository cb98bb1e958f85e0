//! `tunnelwarden emulator`: runs the stand-in for the upstream until it is told to stop.
//!
//! Not here: the emulator itself (`emulator`).

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Env, Exit, Stop};
use crate::clock::Ids;
use crate::emulator::{Emulator, Options, Rule, Token, new_token};
use crate::json::{Json, Object};
use crate::operation::AccountId;
use crate::secret::{ExposeSecret as _, SecretString};

/// Run a stand-in for Cloudflare's Magic IPsec API, for trying things out and for tests.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  tunnelwarden emulator --seed-tunnels 3
  tunnelwarden emulator --fault drop-after@generate_psk:1 --latency-ms 50
  curl -s http://127.0.0.1:8787/__emulator/effects")]
pub struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8787")]
    pub address: SocketAddr,
    /// The account that seeded tunnels belong to, 1 to 32 lower-case hex digits.
    #[arg(long, default_value = ACCOUNT, value_parser = account)]
    pub account: AccountId,
    /// Tunnels to begin with, at most 1000.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub seed_tunnels: u16,
    /// The file with the token to accept. If there is none, or nothing in it, a token is made and written there.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What goes wrong, as `NAME[=ARG][@OPERATION][:TIMES]`; may stand several times.
    #[arg(long = "fault", value_name = "FAULT", value_parser = Rule::parse)]
    pub faults: Vec<Rule>,
    /// Milliseconds that every call waits first.
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u32,
    /// Requests in five minutes; 0 for no limit.
    #[arg(long, default_value_t = Options::RATE.0)]
    pub rate: u32,
}

/// An account that is nobody's: too many zeros.
const ACCOUNT: &str = "00000000000000000000000000000acc";

fn account(text: &str) -> Result<AccountId, String> {
    AccountId::parse(text).ok_or_else(|| "an account is 1 to 32 lower-case hex digits".to_owned())
}

/// Runs the command until Ctrl-C or SIGTERM.
///
/// # Errors
/// What keeps it from running.
pub async fn run(args: Args, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    let emulator = open(&args, env, out).await.map_err(Stop::failed)?;
    let stopped = stopped().await;
    stopped.map_err(|e| Stop::failed(format_args!("can't wait for a signal to stop: {e}")))?;
    emulator.stop().await;
    writeln!(out, "stopped")?;
    Ok(Exit::Good)
}

async fn stopped() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Starts the emulator and says how to reach it.
async fn open(args: &Args, env: &Env, out: &mut dyn Write) -> Result<Emulator, String> {
    let token = match &args.token_file {
        Some(file) => token_from(file)?,
        None => made()?,
    };
    let options = Options {
        address: args.address,
        rate: (args.rate > 0).then_some((args.rate, Options::RATE.1)),
        latency: Duration::from_millis(args.latency_ms.into()),
        faults: args.faults.clone(),
        ..Options::new(vec![Token::user(token.clone())])
    };
    let ids = Arc::new(Ids::new(Arc::clone(&env.clock)));
    let started = Emulator::start(options, Arc::clone(&env.clock), ids).await;
    let emulator = started.map_err(|error| format!("can't listen on `{}`: {error}", args.address))?;
    for number in 1..=args.seed_tunnels {
        emulator
            .put_tunnel(args.account, &seed(number))
            .map_err(|problem| format!("can't seed tunnel {number}: {problem}"))?;
    }
    let mut told = writeln!(out, "CLOUDFLARE_BASE_URL={}", emulator.base_url());
    told = told.and(match &args.token_file {
        Some(file) => writeln!(out, "token file: {}", file.display()),
        None => writeln!(out, "CLOUDFLARE_API_TOKEN={}", token.expose_secret()),
    });
    told = told.and_then(|()| writeln!(out, "account: {}", args.account));
    told = told.and_then(|()| writeln!(out, "what happened: {}/effects", emulator.control_url()));
    told.and_then(|()| out.flush()).map_err(|error| format!("can't write to the terminal: {error}"))?;
    Ok(emulator)
}

fn made() -> Result<SecretString, String> {
    new_token().map_err(|_| "the system gives no random bytes".to_owned())
}

/// Reads the token in `file`, or puts a new one there, where only its owner can read it.
fn token_from(file: &Path) -> Result<SecretString, String> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let shown = file.display();
    match std::fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => return Ok(SecretString::from(text.trim())),
        // As a shell leaves it that was to put a variable there which is not set.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("can't read `{shown}`: {error}")),
    }
    let token = made()?;
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    opened
        .and_then(|mut opened| {
            opened.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            writeln!(opened, "{}", token.expose_secret())
        })
        .map_err(|error| format!("can't write `{shown}`: {error}"))?;
    Ok(token)
}

/// A tunnel to begin with. Addresses are of the documentation (RFC 5737) and private (RFC 1918) ranges; every
/// third has BGP.
fn seed(number: u16) -> Json {
    let (high, low) = (number / 125, number % 125 * 2);
    let mut tunnel = Object::from_iter([
        ("name", format!("branch-{number:03}")),
        ("description", format!("Branch office {number}")),
        ("cloudflare_endpoint", "203.0.113.1".to_owned()),
        ("customer_endpoint", format!("198.51.100.{}", number % 254 + 1)),
        ("interface_address", format!("10.{high}.0.{low}/31")),
    ]);
    tunnel.set("replay_protection", true);
    if number.is_multiple_of(3) {
        tunnel.set("bgp", Object::from_iter([("customer_asn", 64_512 + u32::from(number))]));
    }
    tunnel.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;

    use super::*;
    use crate::clock::SystemClock;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(more: &[&str]) -> Args {
        let line = ["emulator", "--address", "127.0.0.1:0"].iter().chain(more);
        Line::try_parse_from(line).unwrap().args
    }

    fn env() -> Env {
        Env { vars: BTreeMap::new(), clock: SystemClock::new(), terminal: Default::default() }
    }

    #[tokio::test]
    async fn it_says_where_it_is_and_which_token_it_takes() {
        let mut out = Vec::new();
        let args = args(&["--seed-tunnels", "1000", "--fault", "html@create:1"]);
        let emulator = open(&args, &env(), &mut out).await.unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains(&format!("CLOUDFLARE_BASE_URL={}", emulator.base_url())), "{said}");
        assert!(said.contains("CLOUDFLARE_API_TOKEN=cfut_"), "{said}");
        assert_eq!(emulator.tunnels(args.account).len(), 1000);
        assert!(emulator.effects().is_empty());
    }

    #[tokio::test]
    async fn a_token_file_is_made_once_for_its_owner_alone_and_never_printed() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let args = args(&["--token-file", file.to_str().unwrap()]);
        let mut out = Vec::new();
        open(&args, &env(), &mut out).await.unwrap();
        let first = std::fs::read_to_string(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        open(&args, &env(), &mut out).await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
        assert!(!String::from_utf8(out).unwrap().contains(first.trim()));
        for empty in ["", "\n"] {
            std::fs::write(&file, empty).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
            open(&args, &env(), &mut Vec::new()).await.unwrap();
            let next = std::fs::read_to_string(&file).unwrap();
            assert!(next.starts_with("cfut_") && next.lines().count() == 1, "an empty one is filled");
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for bad in [["--account", "XYZ"], ["--fault", "nope"], ["--seed-tunnels", "1001"]] {
            assert!(Line::try_parse_from(["emulator"].iter().chain(&bad)).is_err(), "{bad:?}");
        }
    }
}
