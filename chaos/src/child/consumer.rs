//! Listens in a group. Some messages fail at first, some always.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use streamer::{
    EndReason, KeepAlive, ListenerError, Listeners, OrderKey, ReceivedMessage, Report, RetryPolicy, StopHandle,
    Workers, extract::State,
};

use super::{Assignment, RECLAIM, STREAMS, checked, connect, fails_always, fails_first};
use crate::ledger::{Attempt, Ledger};

pub(super) struct Options {
    pub(super) group: String,
    pub(super) name: Option<String>,
    pub(super) at_once: usize,
    pub(super) takes: Duration,
}

/// What a listener knows.
#[derive(Clone)]
struct Desk(Arc<Known>);

struct Known {
    ledger: Ledger,
    who: String,
    group: String,
    takes: Duration,
}

pub(super) async fn run(assignment: &Assignment, ledger: Ledger, options: Options) -> Result<()> {
    let early = StopHandle::new();
    early.on_signals()?;
    let Some(streamer) = connect(&assignment.url, &early).await? else {
        return Ok(());
    };
    let desk = Desk(Arc::new(Known {
        ledger,
        who: assignment.who.clone(),
        group: options.group.clone(),
        takes: options.takes,
    }));
    let mut listeners = Listeners::with_state(desk.clone());
    for stream in STREAMS {
        listeners = listeners.on(stream, &options.group, handle);
    }
    let listeners = listeners.retry(&RetryPolicy::fixed(3, Duration::from_millis(200)));
    let workers = match options.at_once {
        0 => Workers::InOrder,
        2 => Workers::PerKey(2, OrderKey::new(|message: &ReceivedMessage| message.stream().clone())),
        many => Workers::AtOnce(many),
    };
    let report = desk.clone();
    let mut listening = streamer
        .listen(listeners)
        .group(options.group)
        .workers(workers)
        .reclaim(Some(RECLAIM))
        .grace(Duration::from_secs(5))
        .keep_alive(KeepAlive {
            max_attempts: None,
            first_delay: Duration::from_millis(20),
            longest_delay: Duration::from_millis(300),
        })
        .on_report(move |event| report.told(event));
    if let Some(name) = options.name {
        listening = listening.consumer(name);
    }
    listening.stop_handle().on_signals()?;
    let stop = listening.stop_handle();
    if early.is_stopped() {
        stop.stop();
    }
    let summary = listening.run().await?;
    if summary.ended == EndReason::Aborted {
        desk.0.ledger.remark(&format!("{} was aborted", assignment.who));
    }
    Ok(())
}

async fn handle(message: ReceivedMessage, State(Desk(desk)): State<Desk>) -> Result<(), ListenerError> {
    let number = checked(&message).map_err(|error| {
        desk.ledger.remark(&format!("{}: {error:#}", desk.who));
        ListenerError::permanent(error.to_string())
    })?;
    tokio::time::sleep(desk.takes).await;
    let fails = fails_always(number) || fails_first(number) && message.attempt() == 1;
    desk.ledger
        .attempt(&Attempt {
            who: &desk.who,
            group: &desk.group,
            number,
            stream: &message.stream().to_string(),
            id: message.id().to_string(),
            succeeded: !fails,
            restored: message.original_id().is_some(),
        })
        .map_err(|error| ListenerError::new(error.to_string()))?;
    match fails {
        true => Err(ListenerError::new("told to fail")),
        false => Ok(()),
    }
}

impl Desk {
    fn told(&self, event: &Report<'_>) {
        let Known { ledger, who, .. } = &*self.0;
        match event {
            Report::Processed { .. } | Report::RetryLater { .. } | Report::Failed { .. } => {}
            Report::LeaseLost { stream, ids, .. } => {
                let ids = ids.iter().map(|id| format!("{stream}@{id}")).collect::<Vec<_>>();
                ledger.remark(&format!("LEASE {who} {}", ids.join(" ")));
            }
            Report::Poison { .. } => ledger.remark(&format!("POISON {who} {event}")),
            Report::Gone { .. } => ledger.remark(&format!("GONE {who} {event}")),
            _ => tracing_log(event),
        }
    }
}

fn tracing_log(event: &Report<'_>) {
    tracing::info!("{event}");
}
