//! `tunnelwarden healthcheck`: asks a running proxy whether it is ready, for container engines that know no HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config;
use crate::inspect::plain;

use super::{ConfigFile, Env, Exit, Stop};

/// Options of `healthcheck`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  tunnelwarden healthcheck --config /etc/tunnelwarden/tunnelwarden.toml")]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

/// How long the proxy has to answer: less than the three seconds that a container engine waits by our Dockerfile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of an answer that are looked at.
const MAX_ANSWER: u64 = 64 << 10;

/// Runs it.
///
/// # Errors
/// What keeps the proxy from being ready, or from answering.
pub async fn run(args: &Args, env: &Env) -> Result<Exit, Stop> {
    let address = config::admin_address(&args.file.config, &env.vars).map_err(Stop::usage)?;
    let answer = match tokio::time::timeout(PATIENCE, ask(reachable(address))).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(Stop::failed(format_args!("`{address}` can't be asked: {error}"))),
        Err(_) => return Err(Stop::failed(format_args!("`{address}` does not answer"))),
    };
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(Exit::Good);
    }
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    Err(Stop::failed(format_args!("not ready: {}", plain(body.trim_end()))))
}

/// An address to listen on everywhere is asked for here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
