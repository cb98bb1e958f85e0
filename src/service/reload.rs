//! Takes up a changed policy while running, and tells how the proxy is.
//!
//! A policy that can't be read or does not validate changes nothing: the old one stays, and readiness warns.
//! A changed text counts when two looks in a row found it: a file that is being written in place may end, for a
//! moment, before the rule that forbids. Each replacement is recorded before it takes effect. Not here: the
//! certificate (`service::certificate`), and token, key and revocation files, which their stages watch.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::authorize::{self, Authorizer};
use crate::entry::Kind;
use crate::json::Object;
use crate::pipeline::Pipeline;

/// How often a file is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// What the last reload had to say, for readiness. Anybody may read it there, so it quotes neither a file nor
/// a path; the log has the details.
pub(super) type Warning = Arc<Mutex<Option<&'static str>>>;

const UNREADABLE: &str =
    "the policy file can't be read; the policy before stays in force, and the log says why";
const NOT_GOOD: &str =
    "the changed policy file is not good and not in force; `policy check` says what is wrong";
const UNRECORDED: &str = "the changed policy is not in force: the change can't be recorded";

/// Follows the policy file until the process stops.
pub(super) async fn follow(
    file: PathBuf,
    config_digest: String,
    pipeline: Arc<Pipeline>,
    warning: Warning,
    mut stop: watch::Receiver<bool>,
) {
    let mut looks = Looks::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || authorize::read_policy(&path)).await;
        let Ok(read) = read else { continue };
        if !looks.settled(&read) {
            continue;
        }
        match take_up(read, &config_digest, &pipeline).await {
            Ok(()) => set(&warning, None),
            Err((told, why)) => {
                looks.refused = told != UNRECORDED;
                tracing::warn!(policy.file = %file.display(), policy.problem = %why, "the changed policy is not taken up");
                set(&warning, Some(told));
            }
        }
    }
}

/// What the looks at the file found.
#[derive(Debug, Default)]
struct Looks {
    last: Option<Result<String, String>>,
    /// The last one is known to be bad, and stays so. A change that could not be recorded is tried again.
    refused: bool,
}

impl Looks {
    /// Whether a look found what the one before found, and that is worth a try.
    fn settled(&mut self, read: &Result<String, String>) -> bool {
        if self.last.as_ref() != Some(read) {
            *self = Self { last: Some(read.clone()), refused: false };
            return false;
        }
        !self.refused
    }
}

async fn take_up(
    read: Result<String, String>,
    config_digest: &str,
    pipeline: &Pipeline,
) -> Result<(), (&'static str, String)> {
    let text = read.map_err(|why| (UNREADABLE, why))?;
    let now = pipeline.authorizer();
    if authorize::digest_of(&text) == now.digest() {
        return Ok(());
    }
    let new = tokio::task::spawn_blocking(move || Authorizer::new(&text)).await;
    let new = new.map_err(|e| (NOT_GOOD, e.to_string()))?.map_err(|problems| {
        (NOT_GOOD, problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let mut members = Object::new();
    members.set("config_digest", config_digest);
    members.set("policy_digest", new.digest());
    members.set("policy_digest_before", now.digest());
    let noted = pipeline.auditor.note(Kind::Reloaded, members).await;
    noted.map_err(|refusal| (UNRECORDED, refusal.message()))?;
    tracing::info!(policy.digest = new.digest(), "a new policy is in force");
    *pipeline.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    Ok(())
}

pub(super) fn set(warning: &Warning, what: Option<&'static str>) {
    *warning.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_counts_when_it_was_found_twice_in_a_row() {
        let mut looks = Looks::default();
        let text = |text: &str| Ok(text.to_owned());
        for (found, settled) in [
            (text("permit"), false),
            (text("permit, forbid"), false),
            (text("permit, forbid"), true),
            (Err("gone".to_owned()), false),
            (text("permit, forbid"), false),
            (text("permit, forbid"), true),
        ] {
            assert_eq!(looks.settled(&found), settled, "{found:?}");
        }
        looks.refused = true;
        assert!(!looks.settled(&text("permit, forbid")), "what is bad is not tried again");
        assert!(!looks.settled(&text("permit")) && looks.settled(&text("permit")));
    }
}
