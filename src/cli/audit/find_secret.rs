//! `audit find-secret`: whether a key that turned up somewhere is one of ours, and where it still is in use.

use std::io::{BufRead as _, Read as _, Write};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::progress::Progress;
use super::{Database, unreadable};
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{Known, Told, find_secret, local_text, plain, seconds};
use crate::secret::SecretString;
use crate::service::fingerprinter;

/// Bytes of a secret that are read: a pre-shared key has at most 64.
const MAX_SECRET: u64 = 64 << 10;

/// Looks for a secret.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct FindSecret {
    /// Which record.
    #[command(flatten)]
    pub database: Database,
    /// The key of fingerprints; without it, the configured one.
    #[arg(long, value_name = "FILE")]
    pub fingerprint_key: Option<PathBuf>,
    /// Print what is found as JSON.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(
    find: &FindSecret,
    env: &Env,
    out: &mut (dyn Write + Send),
    errors: &mut (dyn Write + Send),
) -> Result<Exit, Stop> {
    let file = match (&find.fingerprint_key, find.database.named(env)?) {
        (Some(file), _) => file.clone(),
        (None, Some(named)) => named.fingerprint_key_file,
        (None, None) => return Err(Stop::usage("give --fingerprint-key or --config")),
    };
    let fingerprinter = fingerprinter(&file).map_err(Stop::usage)?;
    let reader = find.database.open(env).await?;
    let secret = ask(errors).await?;
    let known = {
        let mut progress = Progress::new(env, errors, "entries looked at");
        find_secret(&reader, &fingerprinter, &secret, &mut |entries| progress.add(entries)).await
    };
    reader.close().await;
    let known = known.map_err(|error| unreadable(&error))?;
    if find.json {
        writeln!(out, "{}", known.to_json())?;
    } else {
        write_text(&known, &env.zone(), out)?;
    }
    Ok(Exit::Good)
}

/// The secret: typed unseen where standard input is a terminal, else all of it but the end of its line.
async fn ask(errors: &mut (dyn Write + Send)) -> Result<SecretString, Stop> {
    let failed = |e: std::io::Error| Stop::failed(format_args!("can't read the secret: {e}"));
    let usual = tcgetattr(std::io::stdin()).ok();
    let Some(usual) = usual else {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().lock().take(MAX_SECRET).read_to_string(&mut text).map_err(failed)?;
        return cut(&text);
    };
    write!(errors, "secret: ").and_then(|()| errors.flush())?;
    let mut unseen = usual.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    tcsetattr(std::io::stdin(), OptionalActions::Flush, &unseen).map_err(|e| failed(e.into()))?;
    let typed = tokio::task::spawn_blocking(|| {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().lock().take(MAX_SECRET).read_line(&mut text).map(|_| text)
    });
    // Who gives up gets a terminal back that shows what is typed.
    let typed = tokio::select! {
        typed = typed => typed.map_err(|e| Stop::failed(format_args!("can't read the secret: {e}"))),
        _ = tokio::signal::ctrl_c() => Err(Stop::failed("nothing was looked for")),
    };
    let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &usual);
    writeln!(errors)?;
    cut(&typed?.map_err(failed)?)
}

/// Without the end of its line.
fn cut(text: &str) -> Result<SecretString, Stop> {
    let secret = text.strip_suffix('\n').unwrap_or(text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(Stop::usage("no secret was given: type it, or send it to standard input"));
    }
    Ok(SecretString::from(secret))
}

fn write_text(known: &Known, zone: &TimeZone, out: &mut dyn Write) -> Result<(), Stop> {
    if known.handled.is_empty() {
        writeln!(out, "never handled: no entry of the record has this secret's fingerprint")?;
    } else {
        writeln!(out, "handled: {} entries have this secret's fingerprint", known.handled.len())?;
    }
    for handled in &known.handled {
        writeln!(out, "  {} as {}: {}", handled.seq, plain(&handled.what), told(&handled.told, zone))?;
    }
    for (tunnel, holder) in &known.holders {
        let name = holder.name.as_ref().map_or_else(|| tunnel.clone(), |name| format!("{name} ({tunnel})"));
        writeln!(out, "tunnel {}", plain(&name))?;
        let got = if holder.sure { "got it:  " } else { "MAY HAVE GOT IT, nobody knows how this ended: " };
        writeln!(out, "  {got}{}", told(&holder.got, zone))?;
        match &holder.lost {
            Some(entry) => writeln!(out, "  lost it: {}", told(entry, zone))?,
            None => writeln!(out, "  no later change of its key is known here: IT MAY BE IN USE")?,
        }
    }
    if known.other_keys {
        writeln!(
            out,
            "some fingerprints in this record were made with another key, so of these nothing can be told"
        )?;
    }
    Ok(())
}

/// When, who and what.
fn told(told: &Told, zone: &TimeZone) -> String {
    let line = format!(
        "{} {} {} {}, request {}",
        seconds(&local_text(told.word("time"), zone)),
        told.word("subject"),
        told.word("operation"),
        told.word("kind"),
        told.word("request_id"),
    );
    plain(&line)
}
