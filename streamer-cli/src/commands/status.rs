//! `status`: what is behind, what is pending, with whom and since when, and whether anybody is alive.

use std::{collections::BTreeSet, io::IsTerminal as _, time::Duration};

use clap::Args;
use streamer::{
    OrderedJson, Streamer,
    inspect::{Collector, GroupOverview, Inspect, Lag, Overview, StreamOverview},
};

use super::{group::shown_ms, prometheus, scheduled::shown_moment, tail::terminated};
use crate::{
    app::Session,
    config::{flag, whole_number},
    exit::{Exit, Failure, Outcome},
    listeners, names, output,
    table::{Column, Table},
};

const EXAMPLES: &str = "\
Examples:
  streamer status
  streamer status order.placed order.paid --watch
  streamer status --max-lag 1000 --max-age 5m --max-failures 0
  streamer status --json | jq '.streams[].groups[].lag'
  streamer status --prometheus > /var/lib/node_exporter/streamer.prom

Waits and Oldest are the ages of the first message that was not delivered and of
the oldest pending one; Alive is how many consumers of how many. `?` and `256+`
are a lag that the store does not know, or not exactly.
Exit codes for monitoring: 0 good, 1 beyond a limit, 3 store unreachable.";

/// Show how far each group is behind, what is pending, and who is alive
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Status {
    /// The streams [default: all that the store has, and those of the configuration]
    #[arg(value_name = "STREAM", value_delimiter = ',')]
    streams: Vec<String>,
    /// Show it again and again, with rates; Ctrl-C ends it
    #[arg(long)]
    watch: bool,
    /// How often --watch looks
    #[arg(long, value_name = "DURATION", value_parser = flag::<Duration>, default_value = "2s", requires = "watch")]
    interval: Duration,
    /// Print gauges in the text format of Prometheus, for a textfile collector
    #[arg(long, conflicts_with = "watch")]
    prometheus: bool,
    /// Exit with 1 when a group has more messages to be delivered
    #[arg(long, value_name = "N", value_parser = whole_number)]
    max_lag: Option<u64>,
    /// Exit with 1 when a message has been waiting, pending or overdue for longer
    #[arg(long, value_name = "DURATION", value_parser = flag::<Duration>)]
    max_age: Option<Duration>,
    /// Exit with 1 when more failures are listed
    #[arg(long, value_name = "N", value_parser = whole_number)]
    max_failures: Option<u64>,
    /// How long a consumer may do nothing and still counts as alive: twice the reclaim time of the listeners
    #[arg(long, value_name = "DURATION", value_parser = flag::<Duration>, default_value = "2m")]
    stale_after: Duration,
}

impl Status {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        if !self.watch {
            let streamer = session.connect_to_read().await?;
            let overview = self.look(session, &self.inspect(session, &streamer).await).await?;
            let beyond = self.beyond(&overview);
            if self.prometheus {
                output::text(prometheus::gauges(&overview).trim_end())?;
            } else {
                self.show(session, &streamer, &overview, &beyond, None).await?;
            }
            return Ok(if beyond.is_empty() { Exit::Done } else { Exit::Failed });
        }
        tokio::select! {
            ended = self.watch(session) => ended,
            signal = tokio::signal::ctrl_c() => match signal {
                Ok(()) => Ok(Exit::Done),
                Err(error) => Err(Failure::failed(format!("could not listen to signals: {error}"))),
            },
            () = terminated() => Ok(Exit::Done),
        }
    }

    async fn watch(&self, session: &Session) -> Outcome {
        let streamer = session.connect_to_read().await?;
        let inspect = self.inspect(session, &streamer).await;
        let mut collector = Collector::new();
        loop {
            let overview = self.look(session, &inspect).await?;
            let beyond = self.beyond(&overview);
            collector.observe(overview);
            if let Some(overview) = collector.latest() {
                if !session.json && std::io::stdout().is_terminal() {
                    console::Term::stdout().clear_screen()?;
                }
                self.show(session, &streamer, overview, &beyond, Some(&collector))
                    .await?;
            }
            tokio::time::sleep(self.interval.max(Duration::from_millis(100))).await;
        }
    }

    /// With the archive and the outbox, where they are configured; trouble with them is a warning.
    async fn inspect(&self, session: &Session, streamer: &Streamer) -> Inspect {
        let mut inspect = streamer.inspect().stale_after(self.stale_after);
        if session.has_archive() && session.archive_is_there() {
            match session.archive_to_read().await {
                Ok(archive) => inspect = inspect.archive(archive),
                Err(failure) => tracing::warn!("the archive is not shown: {failure}"),
            }
        }
        #[cfg(feature = "outbox")]
        if super::outbox::url(session).is_ok() {
            match super::outbox::open(session).await {
                Ok(outbox) => inspect = inspect.outbox(outbox),
                Err(failure) => tracing::warn!("the outbox is not shown: {failure}"),
            }
        }
        inspect
    }

    async fn look(&self, session: &Session, inspect: &Inspect) -> Result<Overview, Failure> {
        let inspect = inspect.clone();
        let named = self
            .streams
            .iter()
            .map(|name| name.trim())
            .filter(|name| !name.is_empty());
        let named = named.collect::<BTreeSet<_>>();
        if !named.is_empty() {
            return Ok(inspect.streams(named).overview().await?);
        }
        // An event that has a listener and no stream is something to see.
        let configured = listeners::names(&session.listeners, &session.config.definitions);
        let configured = configured.into_iter().map(|(event, _)| event);
        Ok(inspect.also(configured).overview().await?)
    }

    /// What is beyond a limit, in sentences.
    fn beyond(&self, overview: &Overview) -> Vec<String> {
        let mut beyond = Vec::new();
        for (stream, group) in overview.groups() {
            let name = format!("group '{}' of stream '{}'", group.name, stream.name);
            if let Some(most) = self.max_lag {
                match group.lag {
                    Lag::Exact(lag) if lag <= most => {}
                    Lag::Exact(_) => beyond.push(format!("{name}: {} messages to be delivered", group.lag)),
                    Lag::AtLeast(lag) if lag > most => {
                        beyond.push(format!("{name}: {} messages to be delivered", group.lag));
                    }
                    _ => tracing::warn!("{name}: nobody knows whether its lag ({}) is beyond {most}", group.lag),
                }
            }
            let Some(most) = self.max_age else { continue };
            let pending = group.oldest_pending.as_ref().and_then(|pending| pending.age_ms);
            for (age, what) in [(group.lag_ms, "waiting"), (pending, "pending")] {
                if let Some(age) = age.filter(|age| u128::from(*age) > most.as_millis()) {
                    beyond.push(format!("{name}: a message has been {what} for {}", shown_ms(age)));
                }
            }
        }
        for stream in &overview.streams {
            let overdue = stream.scheduled.and_then(|scheduled| scheduled.overdue_ms);
            if let (Some(most), Some(overdue)) = (self.max_age, overdue)
                && u128::from(overdue) > most.as_millis()
            {
                let name = &stream.name;
                let age = shown_ms(overdue);
                beyond.push(format!(
                    "stream '{name}': an event for later has been overdue for {age}"
                ));
            }
        }
        if let (Some(most), Some(failures)) = (self.max_failures, overview.failures)
            && failures > most
        {
            beyond.push(format!("{} listed", output::counted(failures, "failure")));
        }
        beyond
    }

    async fn show(
        &self,
        session: &Session,
        streamer: &Streamer,
        overview: &Overview,
        beyond: &[String],
        collector: Option<&Collector>,
    ) -> Result<(), Failure> {
        if session.json {
            let object = output::joined(overview, &output::object!({"beyond": beyond}));
            match collector {
                Some(collector) => output::json(&output::joined(&object, &rates(overview, collector)))?,
                None => output::json(&object)?,
            }
            return Ok(());
        }
        let mut columns = vec![
            Column::text("Stream"),
            Column::text("Group"),
            Column::whole("Lag"),
            Column::whole("Waits"),
            Column::whole("Pending"),
            Column::whole("Oldest"),
        ];
        // Both together are wider than 80 columns.
        columns.extend(match collector {
            None => vec![Column::text("With"), Column::whole("Alive")],
            Some(_) => vec![Column::whole("Alive"), Column::whole("In/s"), Column::whole("Out/s")],
        });
        let mut table = Table::new(columns);
        for stream in &overview.streams {
            let rates = |group: Option<&GroupOverview>| {
                let collector = collector?;
                let incoming = collector.stream_rates(&stream.name).incoming;
                let out = group.and_then(|group| collector.group_rates(&stream.name, &group.name).acknowledged);
                Some([incoming, out].map(|rate| rate.map_or_else(|| "?".to_owned(), |rate| format!("{rate:.1}"))))
            };
            if stream.groups.is_empty() {
                let none = if collector.is_some() { 6 } else { 7 };
                let cells = [stream.name.clone()]
                    .into_iter()
                    .chain(std::iter::repeat_n("-".to_owned(), none));
                table.row(cells.chain(rates(None).into_iter().flatten()));
            }
            for group in &stream.groups {
                let cells = cells(stream, group, collector.is_none());
                table.row(cells.into_iter().chain(rates(Some(group)).into_iter().flatten()));
            }
        }
        if !table.is_empty() {
            table.print()?;
        }
        scheduled(overview)?;
        let totals = &overview.totals;
        let lag = match totals.lag {
            Lag::Exact(lag) => output::counted(lag, "message"),
            lag => format!("{lag} messages"),
        };
        let failures = overview.failures.map_or_else(
            || "an unknown number of failures".to_owned(),
            |failures| output::counted(failures, "failure"),
        );
        let more = if overview.complete {
            ""
        } else {
            " (not all streams were looked at)"
        };
        output::line(format!(
            "{}, {}{more}: {lag} to be delivered, {} pending, {} alive, {} stale, {failures}.",
            output::counted(totals.streams, "stream"),
            output::counted(totals.groups, "group"),
            totals.pending,
            output::counted(totals.alive, "consumer"),
            totals.stale,
        ))?;
        let more = |exact: bool| if exact { "" } else { " or more" };
        if let Some(archive) = &overview.archive {
            let messages = archive.messages.map_or_else(
                || "an unknown number of messages".to_owned(),
                |messages| format!("{}{}", output::counted(messages, "message"), more(archive.exact)),
            );
            output::line(format!("Archive {}: {messages}.", archive.location))?;
        }
        if let Some(outbox) = &overview.outbox {
            let oldest = outbox
                .oldest_ms
                .map_or_else(String::new, |ms| format!(", the oldest for {}", shown_ms(ms)));
            output::line(format!(
                "Outbox: {}{} to be published{oldest}, {} blocked.",
                output::counted(outbox.waiting, "row"),
                more(outbox.exact),
                outbox.blocked
            ))?;
        }
        for name in &overview.missing {
            if let Some(missing) = names::no_stream(session, streamer, name).await {
                output::line(format!("{}.", missing.replacen("there", "There", 1)))?;
            }
        }
        for refused in &overview.refused {
            tracing::warn!("{}", refused.error);
        }
        for text in beyond {
            output::line(output::styled(&format!("Beyond the limit: {text}."), "31"))?;
        }
        Ok(())
    }
}

/// The streams for which events wait until they are due.
fn scheduled(overview: &Overview) -> std::io::Result<()> {
    let mut table = Table::new([
        Column::text("Stream"),
        Column::whole("Scheduled"),
        Column::whole("Next due"),
        Column::whole("Overdue"),
    ]);
    for stream in &overview.streams {
        let Some(scheduled) = stream.scheduled.filter(|scheduled| scheduled.waiting > 0) else {
            continue;
        };
        let more = if scheduled.exact { "" } else { "+" };
        table.row([
            stream.name.clone(),
            format!("{}{more}", scheduled.waiting),
            scheduled.next_due_ms.map_or_else(|| "-".to_owned(), shown_moment),
            match scheduled.overdue_ms {
                Some(ms) if scheduled.overdue > 0 => format!("{}, since {}", scheduled.overdue, shown_age(ms)),
                _ => "-".to_owned(),
            },
        ]);
    }
    match table.is_empty() {
        true => Ok(()),
        false => table.print(),
    }
}

pub(super) fn cells(stream: &StreamOverview, group: &GroupOverview, with_consumer: bool) -> Vec<String> {
    let age = |ms: Option<u64>| ms.map_or_else(|| "?".to_owned(), shown_age);
    let oldest = group.oldest_pending.as_ref();
    let mut cells = vec![
        stream.name.clone(),
        group.name.clone(),
        group.lag.to_string(),
        if group.lag == Lag::Exact(0) {
            "-".to_owned()
        } else {
            age(group.lag_ms)
        },
        group.pending.to_string(),
        oldest.map_or_else(|| "-".to_owned(), |oldest| age(oldest.age_ms)),
    ];
    if with_consumer {
        cells.push(oldest.map_or_else(|| "-".to_owned(), |oldest| oldest.consumer.clone()));
    }
    cells.push(format!("{}/{}", group.alive, group.alive + group.stale));
    cells
}

/// `5m`, `3h`, `12d`: one unit, so that a table stays narrow.
pub(super) fn shown_age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The streams of an overview, and their groups, with what happens to them each second.
fn rates(overview: &Overview, collector: &Collector) -> OrderedJson {
    let stream = |stream: &StreamOverview| {
        let group = |group: &GroupOverview| {
            let rates = collector.group_rates(&stream.name, &group.name);
            output::joined(group, &output::object!({"rates": rates}))
        };
        let groups: Vec<_> = stream.groups.iter().map(group).collect();
        let rates = collector.stream_rates(&stream.name);
        output::joined(stream, &output::object!({"groups": groups, "rates": rates}))
    };
    output::object!({"streams": overview.streams.iter().map(stream).collect::<Vec<_>>()})
}
