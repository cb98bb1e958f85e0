//! Waits for the signals that end a process in order, and takes the one that ends none.

use tokio::signal::unix::{SignalKind, signal};

/// Returns at SIGINT (Ctrl-C) or SIGTERM.
pub(super) async fn stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals can't be listened to; end this process by its id");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// As [`stop`]; a SIGHUP meanwhile, by which service managers reload, ends nothing. Without this it would kill.
pub(super) async fn stop_of_service() {
    tokio::select! {
        () = stop() => {}
        () = hangups() => {}
    }
}

/// Answers each SIGHUP in the log, and never returns: there is nothing else to do, as files are watched.
async fn hangups() {
    if let Ok(mut hangup) = signal(SignalKind::hangup()) {
        while hangup.recv().await.is_some() {
            tracing::info!(
                "SIGHUP: files that are watched are taken up without it, and the configuration by a restart only"
            );
        }
    }
    std::future::pending().await
}
