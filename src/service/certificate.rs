//! Takes up a changed certificate while running.
//!
//! Files that can't be used change nothing: the old certificate stays, and readiness warns. Not here: what can be
//! used, and how it comes to new connections (`listen::Certificate`).

use std::sync::Arc;

use tokio::sync::watch;

use super::reload::{LOOK, Warning, set};
use super::why;
use crate::listen::{Certificate, Reloaded};

const NOT_GOOD: &str = "the certificate and its key can't be used as they are now; those before stay in use, and the log says why";

/// Follows the certificate's files until the process stops.
pub(super) async fn follow(certificate: Arc<Certificate>, warning: Warning, mut stop: watch::Receiver<bool>) {
    let mut told = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let certificate = Arc::clone(&certificate);
        let Ok(look) = tokio::task::spawn_blocking(move || certificate.reload()).await else { continue };
        match look {
            Ok(Reloaded::Seen) => {}
            Ok(Reloaded::Same) => set(&warning, None),
            Ok(Reloaded::Taken) => {
                tracing::info!("a new certificate is in use");
                set(&warning, None);
            }
            Err(error) => {
                let problem = Some(why(&error));
                if told != problem {
                    tracing::warn!(tls.problem = problem, "the changed certificate is not taken up");
                }
                told = problem;
                set(&warning, Some(NOT_GOOD));
                continue;
            }
        }
        told = None;
    }
}
