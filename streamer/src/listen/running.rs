//! A listening that runs in a task of its own.

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{ListenError, Listening, Report, Summary, run};
use crate::listener::StopHandle;

/// A listening that runs in a task of its own ([`Listening::spawn`]). When this is dropped it goes on.
#[derive(Debug)]
pub struct RunningListening {
    started: CancellationToken,
    ended: CancellationToken,
    stop: StopHandle,
    task: JoinHandle<Result<Summary, ListenError>>,
}

impl RunningListening {
    /// Waits until the first read is about to begin: what is emitted from then on reaches it, wherever it starts. `false`
    /// when it has ended without; [`join`](Self::join) says why.
    pub async fn ready(&self) -> bool {
        tokio::select! {
            biased;
            () = self.started.cancelled() => true,
            () = self.ended.cancelled() => self.started.is_cancelled(),
        }
    }

    /// Shuts it down gracefully ([`StopHandle::stop`]). [`join`](Self::join) waits for the end.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// What ends it, for others.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// As [`Listening::run`]; [`ListenError::Stage`] when the runtime ended before it.
    ///
    /// # Panics
    ///
    /// When its task panicked, with the same panic. (A panic of a listener is that listener's failure, and one of other code
    /// of the application an error.)
    pub async fn join(self) -> Result<Summary, ListenError> {
        self.task.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ListenError::Stage {
                stage: "the listening",
                text: "ended with its runtime".to_owned(),
            }),
        })
    }
}

impl Listening {
    /// Listens in a task of its own, and gives what tells when it is ready, stops it and waits for its end. Must be called
    /// inside a Tokio runtime.
    ///
    /// ```
    /// # use streamer::{Listeners, Streamer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let streamer = Streamer::connect("memory://").await?;
    /// # let listeners = Listeners::new().on("order.placed", "receipt", async || ());
    /// let running = streamer.listen(listeners).group("billing").spawn();
    /// assert!(running.ready().await);
    /// // … serve requests …
    /// running.stop();
    /// let summary = running.join().await?;
    /// println!("{} messages", summary.messages);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "dropping this gives away the only way to wait for its end"]
    pub fn spawn(mut self) -> RunningListening {
        let (started, ended) = (CancellationToken::new(), CancellationToken::new());
        let has_started = started.clone();
        self.reporter.add(move |report| {
            if matches!(report, Report::Started { .. }) {
                has_started.cancel();
            }
        });
        let stop = self.stop_handle();
        let at_the_end = ended.clone().drop_guard();
        let task = tokio::spawn(async move {
            let _at_the_end = at_the_end;
            self.run().await
        });
        RunningListening {
            started,
            ended,
            stop,
            task,
        }
    }

    /// Shuts down gracefully ([`StopHandle::stop`]) when this future is ready: one signal for several listenings and a web
    /// server, for example. Can be given several times; the first that is ready counts.
    pub fn stop_when(mut self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        self.ends.0.push(Box::pin(end));
        self
    }
}

/// What ends a listening from outside.
#[derive(Default)]
pub(super) struct Ends(Vec<BoxFuture<'static, ()>>);

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} futures", self.0.len())
    }
}

/// See [`Listening::run`].
pub(super) async fn run(mut listening: Listening) -> Result<Summary, ListenError> {
    let ends = std::mem::take(&mut listening.ends).0;
    let stop = listening.stop_handle();
    let run = run::run(listening);
    if ends.is_empty() {
        return run.await;
    }
    let mut run = std::pin::pin!(run);
    tokio::select! {
        summary = &mut run => return summary,
        _ = futures_util::future::select_all(ends) => stop.stop(),
    }
    run.await
}
