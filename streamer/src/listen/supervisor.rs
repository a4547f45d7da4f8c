//! Owns the tasks of a listening: whoever spawns a task joins it.

use std::{collections::HashMap, time::Duration};

use tokio::{
    task::{Id, JoinSet},
    time::timeout,
};

use super::{Ended, ListenError};

/// How long a task that was aborted may take to end. One takes long only when a listener blocks its thread.
const ABORTING: Duration = Duration::from_secs(1);

/// How long a stage may go on after the next one has ended.
const HANDING_ON: Duration = Duration::from_secs(1);

/// The tasks of a listening, by name.
///
/// A task ends by itself when the one before it has ended, with [`Finished`]. Any other end is an error that names the
/// task: an error of its own, a panic, or an end while the tasks before it go on.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    tasks: JoinSet<Result<Finished, ListenError>>,
    /// The tasks that have not ended.
    running: HashMap<Id, Stage>,
    /// The last stage that ended in order.
    latest: Option<Stage>,
}

/// What a task of a listening is, in the order in which messages pass them: each ends after those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Read,
    Work,
    Settle,
    Retention,
    /// A task beside the stages, which goes on until it is aborted.
    Beside(&'static str),
}

impl Stage {
    fn failed(self, text: &str) -> ListenError {
        ListenError::Stage {
            stage: self.name(),
            text: text.to_owned(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "the read stage",
            Self::Work => "a worker",
            Self::Settle => "the settle stage",
            Self::Retention => "the retention stage",
            Self::Beside(name) => name,
        }
    }
}

/// How a task ended that ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// The read stage, and why.
    Read(Ended),
    /// Another one.
    Other,
}

impl Supervisor {
    pub(super) fn spawn(
        &mut self,
        stage: Stage,
        task: impl Future<Output = Result<Finished, ListenError>> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        self.running.insert(id, stage);
    }

    /// Waits for the next task to end; `None` when no stage is left (tasks beside the stages may be).
    pub(super) async fn next(&mut self) -> Option<Result<Finished, ListenError>> {
        if self.running.values().all(|stage| matches!(stage, Stage::Beside(_))) {
            return None;
        }
        let joined = match self.early() {
            None => self.tasks.join_next_with_id().await?,
            Some(stage) => match timeout(HANDING_ON, self.tasks.join_next_with_id()).await {
                Ok(joined) => joined?,
                Err(_) => return Some(Err(stage.failed("ended too early"))),
            },
        };
        let (id, result) = match joined {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let stage = self.running.remove(&id)?;
        Some(match result {
            Ok(Ok(_)) if matches!(stage, Stage::Beside(_)) => Err(stage.failed("ended too early")),
            Ok(result) => {
                self.latest = self.latest.max(result.is_ok().then_some(stage));
                result
            }
            Err(error) if error.is_panic() => Err(match error.into_panic().downcast::<ListenError>() {
                Ok(error) => *error,
                Err(panic) => ListenError::panicked(stage.name(), &*panic),
            }),
            // Nobody but `end` aborts a task, and a runtime that shuts down drops this task too.
            Err(_) => Err(stage.failed("was cancelled")),
        })
    }

    /// A stage that ended although one before it has not. For an instant that is in order: a task drops what it has, by
    /// which the next one ends, before it has ended itself.
    fn early(&self) -> Option<Stage> {
        self.latest
            .filter(|latest| self.running.values().any(|stage| stage < latest))
    }

    /// Aborts what is still running and joins it.
    pub(super) async fn end(&mut self) {
        self.tasks.abort_all();
        let joined = timeout(ABORTING, async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
                self.running.remove(&id);
            }
        });
        if joined.await.is_err() {
            for stage in self.running.values() {
                tracing::warn!("{} blocks its thread and did not end in time", stage.name());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn first_error(supervisor: &mut Supervisor) -> String {
        loop {
            match supervisor.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
                None => return "none".to_owned(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_no_other_stage_asked_for_is_an_error_with_a_name() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn(Stage::Read, std::future::pending());
        supervisor.spawn(Stage::Settle, async { Ok(Finished::Other) });
        assert_eq!(
            first_error(&mut supervisor).await,
            "listening ended: the settle stage ended too early"
        );
        let mut supervisor = Supervisor::default();
        supervisor.spawn(Stage::Read, std::future::pending());
        supervisor.spawn(Stage::Beside("the lease task"), async { Ok(Finished::Other) });
        assert_eq!(
            first_error(&mut supervisor).await,
            "listening ended: the lease task ended too early"
        );
        let mut supervisor = Supervisor::default();
        supervisor.spawn(Stage::Work, async { panic!("boom") });
        assert_eq!(
            first_error(&mut supervisor).await,
            "listening ended: a worker panicked: boom"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn stages_that_end_one_after_the_other_end_in_order() {
        let mut supervisor = Supervisor::default();
        let (read, mut queue) = tokio::sync::mpsc::channel::<()>(1);
        supervisor.spawn(Stage::Read, async move {
            drop(read);
            // The worker ends before this task has.
            tokio::time::sleep(HANDING_ON / 2).await;
            Ok(Finished::Read(Ended::Stopped))
        });
        supervisor.spawn(Stage::Work, async move {
            while queue.recv().await.is_some() {}
            Ok(Finished::Other)
        });
        supervisor.spawn(Stage::Beside("the lease task"), std::future::pending());
        assert_eq!(first_error(&mut supervisor).await, "none");
        supervisor.end().await;
    }
}
