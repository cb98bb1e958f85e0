//! Waits for the signals that end a process in order, and for the one that asks it to reload.

use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// Each SIGHUP since it was made.
pub(super) struct Hangups(Option<Signal>);

impl Hangups {
    pub(super) fn listen() -> Self {
        let signal = signal(SignalKind::hangup());
        if signal.is_err() {
            tracing::warn!("SIGHUP can't be listened to; files are followed all the same");
        }
        Self(signal.ok())
    }

    /// Returns at the next one.
    pub(super) async fn next(&mut self) {
        let came = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if came.is_none() {
            std::future::pending().await
        }
    }
}
