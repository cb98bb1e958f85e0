//! Takes up a changed policy while running, and tells how the proxy is.
//!
//! A policy that can't be read or does not validate changes nothing: the old one stays, and readiness warns.
//! Each replacement is recorded before it takes effect. Not here: token, key and revocation files, which their
//! stages watch.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::authorize::{self, Authorizer};
use crate::entry::Kind;
use crate::json::Object;
use crate::pipeline::Pipeline;

/// How often the policy file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the last reload had to say, for readiness.
pub(super) type Warning = Arc<Mutex<Option<String>>>;

/// Follows the policy file until the process stops.
pub(super) async fn follow(
    file: PathBuf,
    pipeline: Arc<Pipeline>,
    warning: Warning,
    mut stop: watch::Receiver<bool>,
) {
    let mut refused = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || authorize::read_policy(&path)).await;
        let Ok(read) = read else { continue };
        if read.as_ref().is_ok_and(|text| refused.as_ref() == Some(text)) {
            continue;
        }
        match take_up(read, &pipeline, &mut refused).await {
            Ok(()) => set(&warning, None),
            Err(what) => {
                tracing::warn!(policy.file = %file.display(), policy.problem = %what, "the changed policy is not taken up");
                set(&warning, Some(format!("the policy in the file is not in force: {what}")));
            }
        }
    }
}

async fn take_up(
    read: Result<String, String>,
    pipeline: &Pipeline,
    refused: &mut Option<String>,
) -> Result<(), String> {
    let text = read?;
    let now = pipeline.authorizer();
    if authorize::digest_of(&text) == now.digest() {
        *refused = None;
        return Ok(());
    }
    let parse = text.clone();
    let new =
        tokio::task::spawn_blocking(move || Authorizer::new(&parse)).await.map_err(|e| e.to_string())?;
    let new = match new {
        Ok(new) => new,
        Err(problems) => {
            *refused = Some(text);
            return Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        }
    };
    let mut members = Object::new();
    members.set("policy_digest", new.digest());
    members.set("policy_digest_before", now.digest());
    pipeline.auditor.note(Kind::Reloaded, members).await.map_err(|refusal| refusal.message())?;
    tracing::info!(policy.digest = new.digest(), "a new policy is in force");
    *pipeline.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    *refused = None;
    Ok(())
}

fn set(warning: &Warning, what: Option<String>) {
    *warning.lock().unwrap_or_else(PoisonError::into_inner) = what;
}
