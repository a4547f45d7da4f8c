//! `mode = "lines"`: a few long-lived children that get one message at a time each.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use streamer::{Listener, ListenerContext, ListenerError, ReceivedMessage, async_trait};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
};

use super::{child::Child, command::Program, too_late};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// A program that answers line by line.
pub(crate) struct Lines {
    program: Program,
    /// As many as there are workers, so that no worker waits for another one's message.
    permits: Semaphore,
    /// Children that wait for a message. One that is at work belongs to the future that asked it, so that it is killed
    /// when that future is dropped: its late answer must never be taken for the next message's.
    idle: Mutex<Vec<Child>>,
    restart: Mutex<Restart>,
}

/// When the next child may be started.
#[derive(Default)]
struct Restart {
    /// Children lost since the last answer.
    losses: u32,
    not_before: Option<Instant>,
}

impl Lines {
    pub(crate) fn new(program: Program, workers: usize) -> Self {
        Self {
            program,
            permits: Semaphore::new(workers.max(1)),
            idle: Mutex::default(),
            restart: Mutex::default(),
        }
    }

    /// Ends the children in good order, all at once.
    pub(crate) async fn end(&self) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        futures_util::future::join_all(idle.into_iter().map(Child::end)).await;
    }

    /// A child that is ready for a message: one that waits, or a new one.
    async fn child(&self) -> Result<Child, ListenerError> {
        loop {
            let Some(mut child) = lock(&self.idle).pop() else { break };
            match child.is_ready() {
                Ok(()) => return Ok(child),
                Err(reason) => {
                    tracing::warn!("{}: the program is started again: {reason}", self.program.name);
                    self.lost();
                }
            }
        }
        let not_before = lock(&self.restart).not_before;
        if let Some(instant) = not_before {
            sleep_until(instant).await;
        }
        Child::start(&self.program).map_err(|error| {
            self.lost();
            self.program.cannot_start(&error)
        })
    }

    fn lost(&self) {
        let mut restart = lock(&self.restart);
        let delay = FIRST_DELAY
            .saturating_mul(1 << restart.losses.min(16))
            .min(LONGEST_DELAY);
        restart.losses = restart.losses.saturating_add(1);
        restart.not_before = Some(Instant::now() + delay);
    }

    fn answered(&self, child: Child) {
        *lock(&self.restart) = Restart::default();
        lock(&self.idle).push(child);
    }
}

#[async_trait]
impl Listener for Lines {
    async fn handle(&self, message: &ReceivedMessage, _: &ListenerContext) -> Result<(), ListenerError> {
        let mut line = message.to_json();
        line.push('\n');
        let _permit = self.permits.acquire().await?;
        let mut child = self.child().await?;
        // From here until it answered, the child is gone with this future.
        let asked = child.ask(line.as_bytes());
        let answer = match self.program.timeout {
            Some(limit) => match timeout(limit, asked).await {
                Ok(answer) => answer,
                Err(_) => {
                    // Its late answer must not meet the next attempt.
                    child.give_up().await;
                    self.lost();
                    return Err(too_late(
                        limit,
                        "; one that reads its whole input needs `mode = \"message\"`",
                    ));
                }
            },
            None => asked.await,
        };
        match answer {
            Ok(answer) => {
                self.answered(child);
                answer.map_err(ListenerError::new)
            }
            Err(mut reason) => {
                self.lost();
                let words = child.last_words().await;
                if !words.is_empty() {
                    reason = format!("{reason}: {words}");
                }
                Err(ListenerError::new(reason))
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
