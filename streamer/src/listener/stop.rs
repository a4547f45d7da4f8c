//! Ending a listening: by a signal, by the application, or by a listener.

use std::time::Duration;

use tokio::{sync::mpsc::Receiver, time::Instant};
use tokio_util::sync::CancellationToken;

/// Signals within this time of the first one count as the same. Nobody has looked at what the first one did so soon.
const ONE_SIGNAL: Duration = Duration::from_millis(250);

/// Ends a listening. Cheap to clone; every clone ends the same one.
#[derive(Clone, Debug, Default)]
pub struct StopHandle {
    stop: CancellationToken,
    abort: CancellationToken,
}

impl StopHandle {
    /// A handle for a listening that is yet to begin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shuts down gracefully: nothing more is read, running listeners finish (within the grace period), what was handled is
    /// acknowledged, what was read and not begun goes back to the group.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends it at once: what runs is dropped and stays pending; what was not yet acknowledged is not.
    pub fn abort(&self) {
        self.stop.cancel();
        self.abort.cancel();
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Whether the end at once was asked for.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.abort.is_cancelled()
    }

    /// Waits until the end is asked for.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until the end at once is asked for.
    pub async fn aborted(&self) {
        self.abort.cancelled().await;
    }

    /// Shuts the listening down gracefully at the first Ctrl-C or SIGTERM, and at once at the second. Signals within a quarter of
    /// a second count as one: `timeout`, for example, signals the process and then its group, which the process is in.
    ///
    /// Must be called inside a Tokio runtime. The signals no longer end the process by themselves from then on.
    ///
    /// # Errors
    ///
    /// When the operating system does not let this process hear signals.
    pub fn on_signals(&self) -> std::io::Result<()> {
        tokio::spawn(self.clone().obey(signals()?));
        Ok(())
    }

    async fn obey(self, mut signals: Receiver<()>) {
        if signals.recv().await.is_none() {
            return;
        }
        self.stop();
        let first = Instant::now();
        while signals.recv().await.is_some() {
            if first.elapsed() >= ONE_SIGNAL {
                return self.abort();
            }
        }
    }

    /// Sleeps, at most until the end is asked for; tells whether it slept through.
    pub(crate) async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.stop.cancelled() => false,
        }
    }
}

/// Each termination signal that arrives, from now on.
fn signals() -> std::io::Result<Receiver<()>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if sender.send(()).await.is_err() {
                    return;
                }
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {} });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use tokio::{sync::mpsc, time::sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_signals_of_one_moment_are_one_and_a_later_one_ends_at_once() {
        let (sender, receiver) = mpsc::channel(2);
        let stop = StopHandle::new();
        let obeying = tokio::spawn(stop.clone().obey(receiver));
        for _ in 0..2 {
            let _ = sender.send(()).await;
        }
        stop.stopped().await;
        sleep(ONE_SIGNAL).await;
        assert!(!stop.is_aborted());
        let _ = sender.send(()).await;
        stop.aborted().await;
        assert!(obeying.await.is_ok());
    }
}
