//! `[audit]`: where the record is and what it keeps.
//!
//! Not here: the store (`store`), the keys' bytes (`seal`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::table::{Section, plain_text, text_of};
use super::tree::{Node, Value};
use super::{Audit, Bodies, Reconcile};
use crate::operation::AccountId;
use crate::store::{AddressError, Database};

/// Checkpoint files that are taken: each costs a write a second.
const MAX_CHECKPOINT_FILES: usize = 16;

pub(super) fn read(section: &mut Section<'_>) -> Audit {
    let generate = "name a key file; `tunnelwarden keys generate` makes it";
    let audit = Audit {
        database: database(section),
        signing_key_file: section.required_path("signing_key_file", generate),
        fingerprint_key_file: section.required_path("fingerprint_key_file", generate),
        checkpoint_files: checkpoint_files(section),
        bodies: section.section("bodies", |inner| Bodies {
            read: inner.flag("read", false),
            write: inner.flag("write", true),
            secret: inner.flag("secret", true),
        }),
        append_timeout: section.duration(
            "append_timeout",
            Duration::from_secs(2),
            Duration::from_millis(100)..=Duration::from_secs(30),
        ),
        one_shot_window: section.duration(
            "one_shot_window",
            Duration::from_mins(10),
            Duration::from_secs(1)..=Duration::from_hours(24),
        ),
        heartbeat: section.duration(
            "heartbeat",
            Duration::from_mins(1),
            Duration::from_secs(1)..=Duration::from_hours(1),
        ),
        resolve_after: section.duration(
            "resolve_after",
            // Cloudflare's edge waits at most 100 seconds for what is behind it.
            Duration::from_mins(2),
            Duration::from_millis(100)..=Duration::from_hours(1),
        ),
        reconcile: section.section("reconcile", reconcile),
    };
    each_its_own(section, &audit);
    audit
}

fn reconcile(section: &mut Section<'_>) -> Reconcile {
    const DAY: Duration = Duration::from_hours(24);
    // Asked for by itself: it costs calls to the upstream, and its token must be allowed to read audit logs.
    let every = section.says("every");
    let every_so_often = section.duration("every", Duration::from_mins(15), Duration::from_secs(1)..=DAY);
    let grace = section.duration("grace", Duration::from_hours(1), Duration::ZERO..=DAY);
    // The upstream keeps its logs for 30 days.
    let look_back = section.duration("look_back", DAY, Duration::from_secs(1)..=7 * DAY);
    if look_back < grace {
        section.problem(
            "look_back",
            "is shorter than grace; a call must still be looked at when its grace is over",
        );
    }
    if !every {
        section.resolved("every", "never");
    }
    let accounts = section.parsed("accounts", accounts).unwrap_or_default();
    let shown: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
    section.resolved("accounts", shown.join(" "));
    Reconcile { every: every.then_some(every_so_often), grace, look_back, accounts }
}

fn accounts(node: &Node) -> Result<Vec<AccountId>, String> {
    let wanted = || "wants a list of account ids, each 1 to 32 lower-case hex digits in quotes".to_owned();
    let Value::Array(items) = &node.value else { return Err(wanted()) };
    let id = |item: &Node| text_of(item).and_then(AccountId::parse).ok_or_else(wanted);
    items.iter().map(id).collect()
}

/// `sqlite:FILE` or `postgres://...`. A password in it is a secret: nothing of the value is quoted.
fn database(section: &mut Section<'_>) -> Database {
    let given = section.says("database");
    let base = section.reader.base.clone();
    let parsed = section
        .parsed("database", |node| Database::parse(&plain_text(node)?, &base).map_err(|e| e.to_string()));
    if !given {
        section.problem("database", "is missing; name the record's file, such as \"sqlite:audit.db\"");
    }
    let password_file = section.path("database_password_file");
    let insecure = section.flag("allow_insecure_database", false);
    let replica = section.text("replica");
    match parsed {
        Some(Database::Postgres(server)) => {
            if !server.is_secure() && !insecure {
                section.problem("database", &AddressError::Insecure.to_string());
            }
            section.resolved("database", Database::Postgres(server.clone()));
            let name = replica.unwrap_or_else(host_name);
            section.resolved("replica", &name);
            let server = server.with_password_file(password_file);
            let named = server.clone().for_replica(&name);
            if let Err(e) = &named {
                section.problem("replica", &format!("{e}; without this key it is the host's name"));
            }
            Database::Postgres(named.unwrap_or(server))
        }
        file => {
            let path = file.as_ref().and_then(Database::file).unwrap_or(&base);
            let shown = path.strip_prefix(&base).unwrap_or(path);
            section.resolved("database", format!("sqlite:{}", shown.display()));
            section.resolved("replica", "none");
            Database::Sqlite(path.to_owned())
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// One path, or a list of them.
fn checkpoint_files(section: &mut Section<'_>) -> Vec<PathBuf> {
    let files = section.parsed("checkpoint_file", |node| {
        let Value::Array(items) = &node.value else { return Ok(vec![plain_text(node)?]) };
        if items.len() > MAX_CHECKPOINT_FILES {
            return Err(format!("wants at most {MAX_CHECKPOINT_FILES} paths"));
        }
        items.iter().map(plain_text).collect()
    });
    let files = files.unwrap_or_default();
    section.resolved("checkpoint_file", if files.is_empty() { "none".to_owned() } else { files.join("\n") });
    files.into_iter().map(|file| section.reader.base.join(file)).collect()
}

/// Two names for one file would overwrite a key or the record.
fn each_its_own(section: &Section<'_>, audit: &Audit) {
    let mut seen: Vec<(&str, &Path)> = Vec::new();
    let checkpoints = audit.checkpoint_files.iter().map(|path| ("checkpoint_file", path.as_path()));
    let database = audit.database.file().map(|path| ("database", path));
    let files = [
        ("signing_key_file", audit.signing_key_file.as_path()),
        ("fingerprint_key_file", audit.fingerprint_key_file.as_path()),
    ];
    for (key, path) in database
        .into_iter()
        .chain(files)
        .chain(checkpoints)
        .filter(|(_, path)| **path != section.reader.base.join(""))
    {
        match seen.iter().find(|(_, known)| *known == path) {
            Some((other, _)) => {
                section.problem(key, &format!("is the same file as {other}; give each its own"))
            }
            None => seen.push((key, path)),
        }
    }
}
