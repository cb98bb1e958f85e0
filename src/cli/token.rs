//! `tunnelwarden token issue | inspect | revoke`: tokens for development, a look into any token, and its end.
//!
//! A token is never taken from the argument list, where every user of the machine can read it, and what is shown
//! of one never suffices to use it. Not here: how tokens are verified (`identify`), how they are revoked
//! (`token::revoke`).

mod revoke;
mod whole;

#[cfg(test)]
mod tests;

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{Env, Exit, Stop};
use crate::caller::Thumbprint;
use crate::clock::{Ids, rfc3339};
use crate::config::{self, Algorithm};
use crate::identify::dev::DevKey;
use crate::identify::{self, is_unseen};
use crate::json::{Json, Object};
use crate::secret::ExposeSecret;

/// Bytes of a token, key or JWK Set that are read.
const INPUT_MAX: u64 = 1 << 20;

/// Issue tokens for development, look into tokens, and revoke them.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Sign a token with a private key of your own.
    #[command(after_help = "\
Examples:
  tunnelwarden token issue --new-key dev.pem --jwks jwks.json
  tunnelwarden token issue --config tunnelwarden.toml --key dev.pem --subject alice --role operator
  tunnelwarden token issue --key dev.pem --issuer https://idp.example --audience tunnelwarden \\
      --subject alice --team net --role operator --lifetime 1h
  tunnelwarden token issue --config tunnelwarden.toml --key dev.pem --subject robot --certificate robot.crt")]
    Issue(Box<Issue>),
    /// Show what a token says, without its signature.
    #[command(after_help = "\
Examples:
  echo \"$CLOUDFLARE_API_TOKEN\" | tunnelwarden token inspect
  tunnelwarden token inspect token.jwt --config tunnelwarden.toml
  tunnelwarden token inspect token.jwt --jwks jwks.json")]
    Inspect(Inspect),
    /// Revoke tokens, or all tokens of a subject.
    #[command(after_help = "\
Where the record is on a PostgreSQL server, it is revoked at all replicas within a second; else in the file that
the configuration names as [revocation] file.

Examples:
  tunnelwarden token revoke --config tunnelwarden.toml --jti 01a2b3c4-0000-7000-8000-000000000000
  tunnelwarden token revoke --config tunnelwarden.toml --issuer https://idp.example --subject mallory")]
    Revoke(revoke::Args),
}

/// What to sign.
#[derive(clap::Args, Debug)]
pub struct Issue {
    /// PKCS#8 private key, PEM: EC P-256 or P-384, Ed25519, or RSA.
    #[arg(long, value_name = "FILE", required_unless_present = "new_key", conflicts_with = "new_key")]
    key: Option<PathBuf>,
    /// Make an ES256 key here (and its JWK Set at `--jwks`) unless it exists.
    #[arg(long, value_name = "FILE", requires = "jwks")]
    new_key: Option<PathBuf>,
    /// Where the public key of `--new-key` is published.
    #[arg(long, value_name = "FILE", requires = "new_key")]
    jwks: Option<PathBuf>,
    /// The key's name; its RFC 7638 thumbprint by default.
    #[arg(long)]
    kid: Option<String>,
    /// Sign with PS256 rather than RS256, for RSA keys.
    #[arg(long)]
    pss: bool,
    /// Take issuer and audience from this configuration where they are not given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The claim `iss`; needed where the configuration has several issuers.
    #[arg(long, requires = "subject")]
    issuer: Option<String>,
    /// The claim `aud`.
    #[arg(long, requires = "subject")]
    audience: Option<String>,
    /// The claim `sub`.
    #[arg(long, required_unless_present = "new_key")]
    subject: Option<String>,
    /// An item of the claim `team`; may be repeated.
    #[arg(long = "team", value_name = "TEAM")]
    teams: Vec<String>,
    /// An item of the claim `role`; may be repeated.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Bind it to this client certificate, PEM, the first in the file: the claim `cnf.x5t#S256` of RFC 8705.
    #[arg(long, value_name = "FILE", requires = "subject")]
    certificate: Option<PathBuf>,
    /// How long it is valid.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = lifetime)]
    lifetime: Duration,
}

fn lifetime(text: &str) -> Result<Duration, &'static str> {
    config::duration(text).ok_or("wants a duration such as `90m`, `12h` or `30d`")
}

/// What to show.
#[derive(clap::Args, Debug)]
pub struct Inspect {
    /// File with the token; `-` is standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Judge it as the proxy of this configuration does.
    #[arg(long, value_name = "FILE", conflicts_with = "jwks")]
    config: Option<PathBuf>,
    /// Verify the signature with this JWK Set, and nothing else.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// What can't be read, made or used.
pub async fn run(
    command: Command,
    env: &Env,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<Exit, Stop> {
    match command {
        Command::Issue(issue) => run_issue(&issue, env, out, errors),
        Command::Inspect(inspect) => run_inspect(&inspect, env, out).await,
        Command::Revoke(args) => revoke::run(&args, env, out).await,
    }
}

fn run_issue(issue: &Issue, env: &Env, out: &mut dyn Write, errors: &mut dyn Write) -> Result<Exit, Stop> {
    let path = issue.new_key.as_deref().or(issue.key.as_deref());
    let path = path.ok_or_else(|| Stop::usage("one of --key and --new-key is needed"))?;
    if let (Some(path), Some(jwks)) = (&issue.new_key, &issue.jwks) {
        let made = make(path, jwks, issue.kid.as_deref())?;
        // Standard output is the token's.
        for (is_new, path) in made {
            writeln!(errors, "{}   {}", if is_new { "made" } else { "kept" }, path.display())?;
        }
    }
    let Some(subject) = &issue.subject else { return Ok(Exit::Good) };
    let (issuer, audience) = parties(issue, env)?;
    let mut key = load(path, issue.pss)?;
    if let Some(kid) = &issue.kid {
        key = key.with_id(kid.as_str());
    }
    let now = env.clock.now().as_second();
    let seconds = issue.lifetime.as_secs();
    if seconds == 0 {
        return Err(Stop::usage("--lifetime must be a second or more, such as `1h`"));
    }
    let exp = now.checked_add_unsigned(seconds).ok_or_else(|| Stop::usage("--lifetime is too long"))?;
    let mut claims = Object::from_iter([
        ("iss", Json::from(issuer)),
        ("aud", audience.into()),
        ("sub", subject.as_str().into()),
        ("iat", now.into()),
        ("exp", exp.into()),
        ("jti", Ids::new(env.clock.clone()).next().to_string().into()),
    ]);
    for (name, values) in [("team", &issue.teams), ("role", &issue.roles)] {
        if !values.is_empty() {
            claims.set(name, values.clone());
        }
    }
    if let Some(file) = &issue.certificate {
        claims.set("cnf", Object::from_iter([("x5t#S256", thumbprint(file)?.to_string())]));
    }
    writeln!(out, "{}", key.sign(&claims.into(), &[]).map_err(Stop::failed)?)?;
    Ok(Exit::Good)
}

/// Of the first certificate in a PEM file, if it is one that a client can come with.
fn thumbprint(file: &Path) -> Result<Thumbprint, Stop> {
    let wrong = |what: &str| Stop::failed(format_args!("`{}` {what}", file.display()));
    let bytes = read(file)?;
    let certificate = match CertificateDer::pem_slice_iter(&bytes).next() {
        Some(Ok(certificate)) => certificate,
        Some(Err(_)) => return Err(wrong("is not PEM; give the client's certificate in PEM")),
        None => return Err(wrong("has no certificate in it; give the client's certificate in PEM")),
    };
    // Whoever came with another one would not get past the handshake.
    ParsedCertificate::try_from(&certificate).map_err(|_| {
        wrong("has no X.509 certificate of version 3, and no other is taken; make one with extensions")
    })?;
    Ok(Thumbprint::of(&certificate))
}

/// Issuer and audience: as given, else as configured.
fn parties(issue: &Issue, env: &Env) -> Result<(String, String), Stop> {
    if let (Some(issuer), Some(audience)) = (&issue.issuer, &issue.audience) {
        return Ok((issuer.clone(), audience.clone()));
    }
    let Some(file) = &issue.config else {
        return Err(Stop::usage("give --issuer and --audience, or --config for a file that names them"));
    };
    let known = config::issuers(file, &env.vars).map_err(Stop::usage)?;
    let meant: Vec<_> = known
        .into_iter()
        .filter(|(issuer, _)| issue.issuer.as_ref().is_none_or(|given| given == issuer))
        .collect();
    match <[_; 1]>::try_from(meant) {
        Ok([(issuer, audience)]) => Ok((issuer, issue.audience.clone().unwrap_or(audience))),
        Err(others) if others.is_empty() => Err(Stop::usage(format_args!(
            "`{}` names no such issuer with an audience; give --issuer and --audience",
            file.display()
        ))),
        Err(others) => {
            let names: Vec<String> = others.into_iter().map(|(issuer, _)| issuer).collect();
            Err(Stop::usage(format_args!(
                "several issuers are configured; give --issuer, one of {}",
                names.join(", ")
            )))
        }
    }
}

/// Makes a key and its JWK Set, each unless it exists: a key that somebody uses is never replaced. Which of them are new.
fn make<'a>(path: &'a Path, jwks: &'a Path, kid: Option<&str>) -> Result<[(bool, &'a Path); 2], Stop> {
    let made = [path, jwks].map(|path| (!path.exists(), path));
    if !path.exists() {
        let key = DevKey::generate(Algorithm::Es256).map_err(Stop::failed)?;
        // Nobody else may read it, not even for the moment between making and changing its mode.
        create(path, key.pem().expose_secret(), 0o600)?;
    }
    if !jwks.exists() {
        let mut key = load(path, false)?;
        if let Some(kid) = kid {
            key = key.with_id(kid);
        }
        create(jwks, &format!("{}\n", key.jwks()), 0o644)?;
    }
    Ok(made)
}

fn create(path: &Path, text: &str, mode: u32) -> Result<(), Stop> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|e| at(path, "can't be written", &e))
}

fn load(path: &Path, pss: bool) -> Result<DevKey, Stop> {
    let bytes = zeroize::Zeroizing::new(read(path)?);
    DevKey::from_pem(&bytes, pss.then_some(Algorithm::Ps256)).map_err(|e| at(path, "can't be used", &e))
}

fn read(path: &Path) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(INPUT_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(INPUT_MAX).read_to_end(&mut bytes))
    };
    read.map_err(|e| at(path, "can't be read", &e))?;
    Ok(bytes)
}

fn at(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Stop {
    Stop::failed(format_args!("`{}` {what}: {error}", path.display()))
}

async fn run_inspect(inspect: &Inspect, env: &Env, out: &mut dyn Write) -> Result<Exit, Stop> {
    if inspect.file.to_str().is_some_and(looks_like_a_token) {
        return Err(Stop::usage(
            "this looks like a token: give it on standard input, where other users can't read it",
        ));
    }
    let bytes = zeroize::Zeroizing::new(read(&inspect.file)?);
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    // What people paste is often the whole header.
    let token = text.strip_prefix("Authorization:").map_or(text, str::trim_start);
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let shown = identify::show(token)
        .map_err(|_| Stop::failed("this is no JWT: three base64url parts of strict JSON are needed"))?;
    section(out, "header", &shown.header, None)?;
    section(out, "claims", &shown.claims, Some(env.clock.now()))?;
    if let Some(fault) = shown.fault {
        writeln!(out, "refused: {}", crate::refusal::Refusal::TokenInvalid(fault).message())?;
        return Ok(Exit::Failed);
    }
    if let Some(config) = &inspect.config {
        return whole::judge(token, config, env, out).await;
    }
    let Some(jwks) = &inspect.jwks else {
        writeln!(out, "signature: not verified; give --config FILE (or --jwks FILE) to verify it")?;
        return Ok(Exit::Good);
    };
    match identify::verify_signature(token, &read(jwks)?) {
        Ok(kid) => {
            let kid = kid.map_or_else(String::new, |kid| format!(" of key `{kid}`"));
            writeln!(out, "signature: good{kid}; times, issuer and audience were not judged")?;
            Ok(Exit::Good)
        }
        Err(why) => {
            writeln!(out, "signature: not good: {why}")?;
            Ok(Exit::Failed)
        }
    }
}

/// One member a line; of times, what they mean.
fn section(out: &mut dyn Write, title: &str, value: &Json, now: Option<Timestamp>) -> Result<(), Stop> {
    writeln!(out, "{title}")?;
    for (name, value) in value.as_object().into_iter().flat_map(Object::iter) {
        let name = visible(&Json::from(name).to_string());
        write!(out, "  {}: {}", name.trim_matches('"'), visible(&value.to_string()))?;
        let is_time = matches!(name.as_str(), "\"exp\"" | "\"nbf\"" | "\"iat\"");
        let time = value.as_i64().and_then(|seconds| Timestamp::from_second(seconds).ok());
        if let (true, Some(time), Some(now)) = (is_time, time, now) {
            let side = if time <= now { "past" } else { "ahead" };
            write!(out, "  ({}, {side})", rfc3339(time))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Whether a word in it begins as a JWT does, whose header is an object.
fn looks_like_a_token(text: &str) -> bool {
    text.split_whitespace().any(|word| word.starts_with("eyJ") && word.contains('.'))
}

/// Escapes what a terminal would obey or a reader would not see.
fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_unseen(c) {
            shown.extend(c.escape_unicode())
        } else {
            shown.push(c)
        }
        shown
    })
}
