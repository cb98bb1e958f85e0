//! `audit reconcile`: what the upstream's own audit logs tell that the record does not, and the other way round.
//!
//! It reads the record and never writes to it, whether `serve` runs or not: one process writes. What it finds is recorded
//! by `serve`, where `[audit.reconcile]` says how often. Not here: the comparison (`reconcile`).

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::progress::Progress;
use super::unreadable;
use super::which::parse_some_time;
use crate::cli::{Env, Exit, Stop};
use crate::config;
use crate::inspect::{local, local_text, plain, seconds};
use crate::json::{Json, Object};
use crate::reconcile::{Finding, Named, OfAccount, Report, What};
use crate::service;

/// Compares the record with the upstream's audit logs.
#[derive(clap::Args, Clone, Debug)]
pub struct Reconcile {
    /// The configuration: of the record, and of the upstream with its token.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// From when on, in place of where the last run ended: a date, RFC 3339, or how long ago (`30m`, `2h`, `7d`).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Print what is found as JSON.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(
    asked: &Reconcile,
    env: &Env,
    out: &mut (dyn Write + Send),
    errors: &mut (dyn Write + Send),
) -> Result<Exit, Stop> {
    let since = parse_some_time(asked.since.as_deref(), env).map_err(Stop::usage)?;
    if since.is_some_and(|since| since > env.clock.now()) {
        return Err(Stop::usage("--since: that is yet to come"));
    }
    let config = config::load(&asked.config, &env.vars).map_err(Stop::usage)?;
    let reconciler = service::reconciler(&config, Arc::clone(&env.clock)).await.map_err(Stop::failed)?;
    let report = {
        let mut progress = Progress::new(env, errors, "rows of the upstream's audit logs");
        reconciler.run(since, &mut |rows| progress.add(rows)).await
    };
    let report = report.map_err(|error| unreadable(&error))?;
    if asked.json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        write_text(&report, &env.zone(), out)?;
        let by = match config.audit.reconcile.every {
            Some(_) => "`serve` records what it finds itself",
            None => "`serve` records what it finds where `audit.reconcile.every` is set",
        };
        writeln!(out, "nothing of this was written to the record; {by}")?;
    }
    Ok(match (report.findings.is_empty(), report.is_whole()) {
        (false, _) => Exit::Found,
        (true, true) => Exit::Good,
        (true, false) => Exit::Failed,
    })
}

fn write_text(report: &Report, zone: &TimeZone, out: &mut dyn Write) -> std::io::Result<()> {
    for of in &report.accounts {
        write_account(of, zone, out)?;
    }
    if report.accounts.is_empty() {
        writeln!(out, "no account is known: no write came about; name one in `audit.reconcile.accounts`")?;
    }
    for found in &report.findings {
        writeln!(out, "{}", plain(&line(found, zone)))?;
    }
    for key in &report.settled {
        writeln!(out, "{}", plain(&format!("now in the upstream's logs: {key}")))?;
    }
    if !report.findings.is_empty() {
        return Ok(());
    }
    let nothing = "nothing went past this proxy, and nothing of it is missing there";
    match (report.is_whole(), report.read_nothing()) {
        (true, _) => writeln!(out, "good: {nothing}"),
        (false, true) => {
            writeln!(
                out,
                "NOT COMPARED: nothing of the upstream's audit logs was read; see above why, and run it again"
            )
        }
        (false, false) => {
            writeln!(out, "NOT WHOLE: in what could be read {nothing}; run it again for the rest")
        }
    }
}

fn write_account(of: &OfAccount, zone: &TimeZone, out: &mut dyn Write) -> std::io::Result<()> {
    let (since, until) = (seconds(&local(of.since, zone)), seconds(&local(of.until, zone)));
    writeln!(
        out,
        "account {}, {since} to {until}: {} rows, {} changes of tunnels, {} of them through this proxy",
        of.account, of.rows, of.changes, of.ours
    )?;
    for hole in &of.holes {
        let (since, until) = (seconds(&local(hole.span.since, zone)), seconds(&local(hole.span.until, zone)));
        writeln!(out, "  NOT READ: {since} to {until}: {}", plain(&hole.why))?;
    }
    if let Some(why) = &of.keys_unread {
        writeln!(out, "  KEYS NOT LOOKED AT: {}", plain(why))?;
    }
    Ok(())
}

/// `TIME  WHAT  OPERATION of TUNNELS, by WHOM`
fn line(found: &Finding, zone: &TimeZone) -> String {
    let time = found.time.map_or_else(|| "at a time unknown".to_owned(), |time| seconds(&local(time, zone)));
    let text = |name: &str| found.told.get(name).and_then(Json::as_str);
    let what = match found.what {
        What::Bypass => "NOT THROUGH THIS PROXY",
        What::Key => "A NEW KEY THAT NOBODY EXPLAINS",
        What::Unknown => "NOT KNOWN UPSTREAM",
    };
    let operation = match (text("operation"), text("method"), text("path")) {
        (Some(operation), _, _) => operation.to_owned(),
        (None, Some(method), path) => format!("{method} {}", path.unwrap_or_default()),
        (None, None, _) => "a change".to_owned(),
    };
    let mut line = format!("{time}  {what}: {operation}");
    if !found.tunnels.is_empty() {
        let tunnels: Vec<String> = found.tunnels.iter().map(named).collect();
        line.push_str(&format!(" of {}", tunnels.join(", ")));
    }
    line.push_str(&format!(", account {}", found.account));
    if let Some(actor) = found.told.get("actor").and_then(Json::as_object) {
        line.push_str(&format!(", by {}", actor_text(actor)));
    }
    for (before, name) in [("by", "subject"), ("with", "user_agent"), ("cf-ray", "cf_ray")] {
        if let Some(text) = text(name) {
            line.push_str(&format!(", {before} {text}"));
        }
    }
    if let Some(id) = found.request_id {
        line.push_str(&format!(", request {id}"));
    }
    let known = found
        .known_since
        .as_deref()
        .map_or("new".to_owned(), |since| format!("known since {}", seconds(&local_text(since, zone))));
    format!("{line} ({known})")
}

fn named(tunnel: &Named) -> String {
    tunnel.name.as_ref().map_or_else(|| tunnel.id.to_string(), |name| format!("{name} ({})", tunnel.id))
}

/// Who it was, by the best of the names that the upstream gives.
fn actor_text(actor: &Object) -> String {
    let text = |name: &str| actor.get(name).and_then(Json::as_str);
    let who = text("email").or(text("id")).unwrap_or("somebody");
    let mut whole = format!("{} {who}", text("type").unwrap_or("unknown"));
    if let Some(token) = text("token_name").or(text("token_id")) {
        whole.push_str(&format!(" with the token `{token}`"));
    } else if let Some(context) = text("context") {
        whole.push_str(&format!(" ({context})"));
    }
    if let Some(address) = text("ip_address") {
        whole.push_str(&format!(" from {address}"));
    }
    whole
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::operation::AccountId;

    fn account(read_nothing: bool, keys_unread: Option<&str>) -> OfAccount {
        let time = Timestamp::UNIX_EPOCH;
        OfAccount {
            account: AccountId::parse("0a").unwrap(),
            since: time,
            until: time,
            keys_until: time,
            keys_unread: keys_unread.map(str::to_owned),
            read_nothing,
            rows: 0,
            changes: 0,
            ours: 0,
            by_intent: 0,
            failed: 0,
            holes: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_good_of_what_was_not_read() {
        let away = "the upstream is away";
        for (accounts, begins) in [
            (vec![account(false, None)], "good: "),
            (vec![account(true, Some(away))], "NOT COMPARED: "),
            (vec![account(true, Some(away)), account(false, None)], "NOT WHOLE: "),
            (vec![account(false, Some(away))], "NOT WHOLE: "),
            (vec![], "NOT COMPARED: "),
        ] {
            let report =
                Report { time: Timestamp::UNIX_EPOCH, accounts, findings: Vec::new(), settled: Vec::new() };
            let mut out = Vec::new();
            write_text(&report, &TimeZone::UTC, &mut out).unwrap();
            let said = String::from_utf8(out).unwrap();
            assert!(said.lines().last().unwrap().starts_with(begins), "{begins}: {said}");
            assert_eq!(said.contains("good"), begins == "good: " && report.is_whole(), "{said}");
        }
    }
}
