//! What to do when a step beside the subscription fails: as patient as the subscription is with the store.

use std::time::{Duration, Instant};

use super::{KeepAlive, ListenError, Report, plan::Plan, report::Scope};
use crate::engine::{EngineError, EngineErrorKind};

/// How long a step is tried again after the end was asked for.
const AFTER_STOP: Duration = Duration::from_secs(2);

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store, or the archive; it may pass.
    Store(EngineError),
    /// The listening must end.
    Fatal(ListenError),
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self::Store(error)
    }
}

impl From<ListenError> for Trouble {
    fn from(error: ListenError) -> Self {
        Self::Fatal(error)
    }
}

/// Repeats a step that changes nothing by being repeated, while it fails for a reason that may pass and keep-alive is on.
/// Many batches may do so at once: the trouble is told once, until a step has succeeded again.
pub(super) async fn patiently<T, F>(plan: &Plan, step: impl Fn() -> F) -> Result<T, ListenError>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let scope = &Scope::Retention;
    let stop = &plan.context.stop;
    let (mut attempts, mut stopped) = (0, None);
    loop {
        let error = match step().await {
            Ok(done) => {
                if attempts > 0 && plan.reporter.retention_is_interrupted(false) {
                    plan.reporter.tell(&Report::Resumed { scope });
                }
                return Ok(done);
            }
            Err(Trouble::Store(error)) => error,
            Err(Trouble::Fatal(error)) => return Err(error),
        };
        // A full store refuses until somebody makes room.
        let passes = error.kind().is_transient() || error.kind() == EngineErrorKind::Full;
        let Some(keep_alive) = plan.options.keep_alive.filter(|_| passes) else {
            return Err(ListenError::Engine(error));
        };
        let KeepAlive { max_attempts, .. } = keep_alive;
        if stop.is_stopped() && stopped.get_or_insert_with(Instant::now).elapsed() >= AFTER_STOP
            || max_attempts.is_some_and(|most| attempts >= most)
        {
            return Err(ListenError::GaveUp { attempts, error });
        }
        attempts += 1;
        let mut delay = keep_alive.delay(attempts);
        if plan.reporter.retention_is_interrupted(true) {
            plan.reporter.tell(&Report::Interrupted {
                scope,
                error: &error,
                attempt: attempts,
                delay,
            });
        } else {
            tracing::debug!("{scope} is still interrupted: {error}");
        }
        if stop.is_stopped() {
            delay = delay.min(AFTER_STOP / 10);
            tokio::time::sleep(delay).await;
        } else {
            stop.sleep(delay).await;
        }
    }
}
