//! `audit find-secret`: whether a key that turned up somewhere is one of ours, where it still is in use, and where it can be read.
//!
//! Not here: how it is looked for (`inspect`).

use std::io::{BufRead as _, Read as _, Write};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::progress::Progress;
use super::source::signed_by;
use super::{Database, unreadable};
use crate::archive;
use crate::cli::forgotten::Forgotten;
use crate::cli::{Env, Exit, Stop};
use crate::inspect::{Known, Readables, Search, Told, find_secret, local_text, plain, seconds};
use crate::seal::Verifier;
use crate::secret::SecretString;
use crate::service::{fingerprinter, why};

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
    /// Look into this archive as well, once for each: the bodies of old entries are there.
    #[arg(long, value_name = "FILE")]
    pub archive: Vec<PathBuf>,
    /// With --archive, the public key by which it is signed; without it, the configured signing key's.
    #[arg(long, value_name = "FILE|KEY", requires = "archive")]
    pub public_key: Vec<String>,
    /// Print what is found as JSON.
    #[arg(long)]
    pub json: bool,
    /// Whatever else is given, which may be the secret.
    #[arg(hide = true, allow_hyphen_values = true, num_args = 0.., value_parser = Forgotten::parse)]
    pub other: Vec<Forgotten>,
}

pub(super) async fn run(
    find: &FindSecret,
    env: &Env,
    out: &mut (dyn Write + Send),
    errors: &mut (dyn Write + Send),
) -> Result<Exit, Stop> {
    if !find.other.is_empty() {
        return Err(Stop::usage(
            "an argument is none of this command's, and is not repeated here since it may be the secret, which is never taken \
             from there: others can see it, and the shell keeps it; type it when it is asked for, or send it to standard \
             input, as in `pass show suspect | tunnelwarden audit find-secret --config FILE`",
        ));
    }
    let file = match (&find.fingerprint_key, find.database.named(env)?) {
        (Some(file), _) => file.clone(),
        (None, Some(named)) => named.fingerprint_key_file,
        (None, None) => return Err(Stop::usage("give --fingerprint-key or --config")),
    };
    let fingerprinter = fingerprinter(&file).map_err(Stop::usage)?;
    let keys = match find.archive.as_slice() {
        [] => Vec::new(),
        _ => {
            let (key, others) = signed_by(&find.public_key, &find.database, env)?;
            [vec![key], others].concat()
        }
    };
    if !find.archive.is_empty() && find.database.place(env)?.file().is_none() {
        return Err(Stop::usage("--archive goes with a record in a file: one on a server is never archived"));
    }
    let reader = find.database.open(env).await?;
    let secret = ask(errors).await?;
    let mut search = Search::new(&secret);
    find.archive.iter().try_for_each(|file| look_into(file, &keys, &mut search))?;
    let known = {
        let mut progress = Progress::new(env, errors, "entries looked at");
        let mut seen = |entries| progress.add(entries);
        match search.record(&reader, &mut seen).await {
            Ok(()) => find_secret(&reader, &fingerprinter, &secret, &mut seen).await,
            Err(error) => Err(error),
        }
    };
    reader.close().await;
    let known = known.map_err(|error| unreadable(&error))?.without(&|text| search.masked(text));
    let known = Known { readable: search.found(), ..known };
    if find.json {
        writeln!(out, "{}", known.to_json())?;
    } else {
        write_text(&known, &env.zone(), out)?;
    }
    Ok(Exit::Good)
}

/// Looks at each entry of an archive, which must prove itself: another one would say that nothing is there.
fn look_into(file: &Path, keys: &[Verifier], search: &mut Search<'_>) -> Result<(), Stop> {
    let shown = plain(&file.display().to_string());
    let failed = |e: &dyn std::fmt::Display| Stop::usage(format_args!("the archive `{shown}`: {e}"));
    let input = std::fs::File::open(file).map_err(|e| failed(&e))?;
    let mut archive =
        archive::Reader::open(std::io::BufReader::new(input), keys).map_err(|e| failed(&why(&e)))?;
    while let Some((seq, text)) = archive.next_entry().map_err(|e| failed(&why(&e)))? {
        search.look(seq, text);
    }
    let proven = archive.finish().map_err(|e| failed(&why(&e)))?;
    search.looked_at(proven.header.from()..proven.header.to());
    Ok(())
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
    if known.handled.is_empty() && !known.readable.entries.is_empty() {
        writeln!(out, "never handled as a key: no entry of the record has this secret's fingerprint")?;
    } else if known.handled.is_empty() {
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
    write_readable(&known.readable, zone, out)
}

/// Where whoever reads the record can read it.
fn write_readable(readable: &Readables, zone: &TimeZone, out: &mut dyn Write) -> Result<(), Stop> {
    let count = readable.entries.len() as u64 + readable.more;
    if count == 0 {
        let of = if readable.archived > 0 { " that was looked at" } else { "" };
        writeln!(out, "readable nowhere: it stands in no text of an entry{of}")?;
    } else {
        writeln!(
            out,
            "READABLE: it stands in the texts of {count} entries, for all who may read them; replace it wherever it is in use"
        )?;
    }
    for (seq, entry) in &readable.entries {
        writeln!(out, "  {seq} at {}: {}", plain(&entry.at.join(", ")), told(&entry.told, zone))?;
    }
    if readable.more > 0 {
        writeln!(out, "  and {} more", readable.more)?;
    }
    if readable.archived > 0 {
        writeln!(
            out,
            "the bodies of {} entries are in an archive and were not looked at; give its file by --archive",
            readable.archived
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
