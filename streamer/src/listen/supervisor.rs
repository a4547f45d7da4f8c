//! Owns the tasks of a listening: whoever spawns a task joins it.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    time::Duration,
};

use tokio::{
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::timeout,
};

use super::{EndReason, ListenError};

/// How long a task may take to end that was aborted, or that has nothing to do any more. An aborted one takes long only
/// when a listener blocks its thread.
const ENDING: Duration = Duration::from_secs(1);

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
    running: HashMap<Id, (Stage, AbortHandle)>,
    /// How many of them each stage has: thousands of workers end one by one, and each end looks at every stage.
    left: BTreeMap<Stage, usize>,
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
    /// Releases what was read and not begun, at the end. It ends when it has done so, whatever the others do.
    Release,
    /// A task beside the stages, which goes on until the stages have ended.
    Beside(&'static str),
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "the read stage",
            Self::Release => "the release of messages",
            Self::Work => "a worker",
            Self::Settle => "the settle stage",
            Self::Retention => "the retention stage",
            Self::Beside(name) => name,
        }
    }

    fn is_beside(self) -> bool {
        matches!(self, Self::Beside(_))
    }

    fn failed(self, text: &str) -> ListenError {
        ListenError::Stage {
            stage: self.name(),
            text: text.to_owned(),
        }
    }
}

/// How a task ended that ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// The read stage, and why.
    Read(EndReason),
    /// The settle stage, and whether it could store every outcome.
    Settled { all: bool },
    /// Another one.
    Other,
}

type Joined = Result<(Id, Result<Finished, ListenError>), JoinError>;

impl Supervisor {
    pub(super) fn spawn(
        &mut self,
        stage: Stage,
        task: impl Future<Output = Result<Finished, ListenError>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(task);
        self.running.insert(handle.id(), (stage, handle));
        *self.left.entry(stage).or_default() += 1;
    }

    /// Whether a stage has not ended.
    pub(super) fn is_running(&self, stage: Stage) -> bool {
        self.stages().any(|other| other == stage)
    }

    fn stages(&self) -> impl Iterator<Item = Stage> {
        self.left.keys().copied()
    }

    /// Waits for the next task to end; `None` when no stage is left (tasks beside the stages may be).
    pub(super) async fn next(&mut self) -> Option<Result<Finished, ListenError>> {
        if self.stages().all(Stage::is_beside) {
            return None;
        }
        let joined = match self.early() {
            None => self.tasks.join_next_with_id().await?,
            Some(stage) => match timeout(HANDING_ON, self.tasks.join_next_with_id()).await {
                Ok(joined) => joined?,
                Err(_) => return Some(Err(stage.failed("ended too early"))),
            },
        };
        let stage = self.remove(&joined)?;
        Some(match joined {
            Ok((_, Ok(_))) if stage.is_beside() => Err(stage.failed("ended too early")),
            Ok((_, result)) => {
                if result.is_ok() && stage != Stage::Release {
                    self.latest = self.latest.max(Some(stage));
                }
                result
            }
            Err(error) if error.is_panic() => Err(ListenError::panicked(stage.name(), &*error.into_panic())),
            // Nobody aborts a task before the end, and a runtime that shuts down drops this task too.
            Err(_) => Err(stage.failed("was cancelled")),
        })
    }

    /// A stage that ended although one before it has not. For an instant that is in order: a task drops what it has, by
    /// which the next one ends, before it has ended itself.
    fn early(&self) -> Option<Stage> {
        self.latest.filter(|latest| self.stages().any(|stage| stage < *latest))
    }

    fn remove(&mut self, joined: &Joined) -> Option<Stage> {
        let id = match joined {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let (stage, _) = self.running.remove(&id)?;
        if let Entry::Occupied(mut left) = self.left.entry(stage) {
            *left.get_mut() -= 1;
            if *left.get() == 0 {
                left.remove();
            }
        }
        Some(stage)
    }

    /// Aborts the stages and joins them; tasks beside them go on.
    pub(super) async fn abort_stages(&mut self) {
        for (stage, handle) in self.running.values() {
            if !stage.is_beside() {
                handle.abort();
            }
        }
        self.join(|stage| !stage.is_beside()).await;
        for stage in self.stages().filter(|stage| !stage.is_beside()) {
            tracing::warn!("{} blocks its thread and did not end in time", stage.name());
        }
    }

    /// Joins what is left: it has nothing to do any more.
    pub(super) async fn end(&mut self) {
        self.join(Stage::is_beside).await;
        self.tasks.abort_all();
        self.join(Stage::is_beside).await;
    }

    async fn join(&mut self, some: fn(Stage) -> bool) {
        let joined = async {
            while self.stages().any(some) {
                let Some(joined) = self.tasks.join_next_with_id().await else {
                    break;
                };
                self.remove(&joined);
            }
        };
        _ = timeout(ENDING, joined).await;
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
            Ok(Finished::Read(EndReason::Stopped))
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
