//! `consumer`: the consumers of a group are listed and deleted.

use std::time::Duration;

use clap::{Args, Subcommand};
use streamer::{
    EntryId, OrderedJson, StreamName, Streamer,
    engine::{ConsumerInfo, Member, PendingFilter},
};

use super::group;
use crate::{
    app::Session,
    confirm::Confirm,
    exit::{Exit, Failure, Outcome},
    names, output,
    table::{Column, Table},
};

const EXAMPLES: &str = "\
Examples:
  streamer consumer list order.placed billing
  streamer consumer delete order.placed billing billing-7 --yes
  streamer consumer delete order.placed billing b-7 --transfer-to b-1";

const LIST_EXAMPLES: &str = "\
Examples:
  streamer consumer list order.placed billing
  streamer consumer list order.placed billing --json";

const DELETE_EXAMPLES: &str = "\
Examples:
  streamer consumer delete order.placed billing billing-7 --dry-run
  streamer consumer delete order.placed billing billing-7 --yes
  streamer consumer delete order.placed billing b-7 --transfer-to b-1 --yes

A consumer with pending messages is not deleted: nobody would handle them.
Stop it first; others take its messages over after the reclaim time.";

/// Pending entries moved at once.
const STEP: usize = 500;

/// List and delete the consumers of a group
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Consumer {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Delete(Delete),
}

impl Consumer {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        match &self.command {
            What::List(list) => list.run(session).await,
            What::Delete(delete) => delete.run(session).await,
        }
    }
}

/// List the consumers of a group
#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// The stream
    stream: String,
    /// The group
    group: String,
}

impl List {
    async fn run(&self, session: &Session) -> Outcome {
        let Self { stream, group } = self;
        let streamer = session.connect_to_read().await?;
        group::find(session, &streamer, stream, group).await?;
        let consumers = streamer.engine().consumers(&StreamName::from(stream), group).await?;
        if session.json {
            for ConsumerInfo {
                name, pending, idle, ..
            } in &consumers
            {
                let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
                output::json(&output::object!({
                    "stream": stream, "group": group, "consumer": name, "pending": pending, "idle_ms": idle,
                }))?;
            }
            return Ok(Exit::Done);
        }
        if consumers.is_empty() {
            output::line(format!("Group '{group}' of the '{stream}' stream has no consumers."))?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new([
            Column::text("Consumer"),
            Column::whole("Pending"),
            Column::whole("Idle"),
        ]);
        for ConsumerInfo {
            name, pending, idle, ..
        } in &consumers
        {
            let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
            table.row([name, &pending.to_string(), &group::shown_ms(idle)]);
        }
        table.print()?;
        Ok(Exit::Done)
    }
}

/// Delete a consumer that has nothing pending, or whose messages another one gets
#[derive(Args, Debug)]
#[command(after_help = DELETE_EXAMPLES)]
struct Delete {
    /// The stream
    stream: String,
    /// The group
    group: String,
    /// The consumer
    consumer: String,
    /// Give its pending messages to this consumer first; each counts as delivered once more
    #[arg(long, value_name = "CONSUMER")]
    transfer_to: Option<String>,
    #[command(flatten)]
    confirm: Confirm,
}

impl Delete {
    async fn run(&self, session: &Session) -> Outcome {
        let Self {
            stream,
            group,
            consumer,
            transfer_to,
            confirm,
        } = self;
        let streamer = session.connect_to_change(confirm.is_dry_run()).await?;
        group::find(session, &streamer, stream, group).await?;
        let name = StreamName::from(stream);
        let consumers = streamer.engine().consumers(&name, group).await?;
        let Some(info) = consumers.iter().find(|one| one.name == *consumer) else {
            let hint = names::hint(consumer, consumers.iter().map(|one| one.name.as_str()));
            return Err(Failure::failed(format!(
                "group '{group}' of the '{stream}' stream has no consumer '{consumer}'{hint}"
            )));
        };
        let pending = output::counted(info.pending, "pending message");
        let transfer = match transfer_to {
            Some(to) if to == consumer => return Err(Failure::usage("a consumer cannot inherit from itself")),
            Some(to) if info.pending > 0 => format!(", after giving its {pending} to '{to}'"),
            None if info.pending > 0 => {
                return Err(Failure::failed(format!(
                    "consumer '{consumer}' has {pending}, which nobody would handle; stop it and wait until another one \
                     has taken them over, or say --transfer-to CONSUMER"
                )));
            }
            _ => String::new(),
        };
        if confirm.is_dry_run() {
            match session.json {
                true => output::json(&self.report(0, true))?,
                false => output::line(format!(
                    "Would delete consumer '{consumer}' of group '{group}'{transfer}."
                ))?,
            }
            return Ok(Exit::Done);
        }
        let what = format!("This deletes consumer '{consumer}' of group '{group}' of the '{stream}' stream{transfer}.");
        if !confirm.ask(session, &what)? {
            output::done("Nothing was deleted.")?;
            return Ok(Exit::Failed);
        }
        let moved = match transfer_to {
            Some(to) => transfer_pending(&streamer, &name, group, consumer, to).await?,
            None => 0,
        };
        let member = Member {
            group: group.clone(),
            consumer: consumer.clone(),
        };
        let left = streamer.engine().leave(&member, &[name]).await;
        if left.into_iter().collect::<Result<Vec<_>, _>>()?.contains(&false) {
            return Err(Failure::failed(format!(
                "consumer '{consumer}' was delivered messages again and stays: it is at work; stop it first"
            )));
        }
        match session.json {
            true => output::done_json(&self.report(moved, false))?,
            false => output::done(format!(
                "Consumer '{consumer}' has been deleted from group '{group}' of the '{stream}' stream{}.",
                match (moved, transfer_to) {
                    (1.., Some(to)) => format!("; {} went to '{to}'", output::counted(moved, "message")),
                    _ => String::new(),
                }
            ))?,
        }
        Ok(Exit::Done)
    }

    fn report(&self, transferred: u64, dry_run: bool) -> OrderedJson {
        output::object!({
            "report": "consumer_deleted", "stream": self.stream, "group": self.group, "consumer": self.consumer,
            "transferred": transferred, "dry_run": dry_run,
        })
    }
}

/// Gives what is pending with one consumer to another. What another consumer claims in that time is left to it.
async fn transfer_pending(
    streamer: &Streamer,
    stream: &StreamName,
    group: &str,
    from: &str,
    to: &str,
) -> Result<u64, Failure> {
    let mut moved = 0;
    loop {
        let filter = PendingFilter {
            count: STEP,
            consumer: Some(from),
            ..PendingFilter::default()
        };
        let ids: Vec<EntryId> = streamer
            .engine()
            .pending(stream, group, filter)
            .await?
            .iter()
            .map(|entry| entry.id)
            .collect();
        if ids.is_empty() {
            return Ok(moved);
        }
        let claimed = streamer.engine().claim(stream, group, to, Duration::ZERO, &ids).await?;
        if claimed.entries.is_empty() && claimed.deleted.is_empty() {
            return Err(Failure::failed(
                "its pending messages could not be given to another consumer",
            ));
        }
        moved += claimed.entries.len() as u64;
        // Their entries are gone; nobody can handle them.
        streamer.engine().acknowledge(stream, group, &claimed.deleted).await?;
    }
}
