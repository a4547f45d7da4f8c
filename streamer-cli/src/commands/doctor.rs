//! `doctor`: what endangers messages, what it means, and which command fixes it.

use std::time::Duration;

use clap::Args;
use streamer::inspect::{Diagnosis, Finding, Importance, Known};

use crate::{
    app::Session,
    config::suspicious_times,
    exit::{Exit, Failure, Outcome},
    listeners, names, output,
};

const EXAMPLES: &str = "\
Examples:
  streamer doctor
  streamer doctor order.placed order.paid
  streamer doctor --json | jq '.findings[] | {check, subject}'

Exit codes: 0 nothing or only notices, 1 a warning, 2 something critical (also a
store that cannot be reached). Of a SQLite file every page is read.";

/// How long a consumer may do nothing and still counts as alive, where the reclaim time is not longer than half of it.
const STALE_AFTER: Duration = Duration::from_secs(120);

/// Find what endangers messages, and the command that fixes it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// Only these streams [default: all]
    #[arg(value_name = "STREAM", value_delimiter = ',')]
    streams: Vec<String>,
}

impl Doctor {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let mut diagnosis = match self.diagnose(session).await {
            Ok(diagnosis) => diagnosis,
            Err(failure) if failure.exit == Exit::Unreachable => {
                let mut diagnosis = Diagnosis::default();
                let subject = streamer::shown_url(&session.config.settings.url.value);
                diagnosis.add(
                    Finding::new("store_unreachable", Importance::Critical, subject, failure.to_string())
                        .meaning("Nothing can be emitted, handled or inspected.")
                        .fix("start the store, or correct its URL; `streamer config` shows where the URL comes from"),
                );
                diagnosis
            }
            Err(failure) => return Err(failure),
        };
        for text in suspicious_times(&session.config.settings) {
            diagnosis.add(
                Finding::new("configuration", Importance::Warning, "configuration", text)
                    .meaning("A number without a unit counts milliseconds; this one is hardly meant.")
                    .fix("write the unit, and look with: streamer config"),
            );
        }
        match session.json {
            true => output::json(&output::object!({
                "importance": diagnosis.importance(),
                "findings": diagnosis.findings,
                "checks": diagnosis.checks,
                "looked_at": diagnosis.looked_at,
            }))?,
            false => tell(&diagnosis)?,
        }
        Ok(match diagnosis.importance() {
            None | Some(Importance::Notice) => Exit::Done,
            Some(Importance::Warning) => Exit::Failed,
            // As the help says; the code is otherwise that of a wrong command line.
            _ => Exit::Usage,
        })
    }

    async fn diagnose(&self, session: &Session) -> Result<Diagnosis, Failure> {
        let streamer = session.connect_to_read().await?;
        let configured = listeners::names(&session.listeners, &session.config.definitions);
        let mut known = Known::default();
        let has_listener = configured.into_iter().filter(|(_, names)| !names.is_empty());
        known.listened = has_listener.map(|(event, _)| event).collect();
        known.reclaim = session.config.settings.reclaim.value.0;
        // A consumer that shows itself three times in a long reclaim time is no stale one.
        let stale_after = STALE_AFTER.max(known.reclaim.unwrap_or_default() * 2);
        let mut inspect = streamer.inspect().stale_after(stale_after).also(&known.listened);
        let named = self
            .streams
            .iter()
            .map(|name| name.trim())
            .filter(|name| !name.is_empty());
        let named = named.map(str::to_owned).collect::<Vec<_>>();
        for name in &named {
            if let Some(missing) = names::no_stream(session, &streamer, name).await {
                tracing::warn!("{missing}");
            }
        }
        if !named.is_empty() {
            known.listened.retain(|event| named.contains(event));
            inspect = streamer.inspect().stale_after(stale_after).streams(named);
        }
        Ok(inspect.diagnose(&known).await?)
    }
}

fn tell(diagnosis: &Diagnosis) -> std::io::Result<()> {
    for finding in &diagnosis.findings {
        let (word, style) = match finding.importance {
            Importance::Critical => ("critical", "31"),
            Importance::Warning => ("warning", "33"),
            _ => ("notice", "2"),
        };
        let title = format!("{}: {}", finding.subject, finding.found);
        output::line(output::styled(word, style).and(output::styled(&title, "1")))?;
        output::line(format!("  {}", finding.meaning))?;
        output::line(format!("  Fix: {}", finding.fix))?;
    }
    let count = |importance| {
        let of = diagnosis
            .findings
            .iter()
            .filter(|finding| finding.importance == importance);
        of.count() as u64
    };
    output::line(format!(
        "{}: {} critical, {}, {}.",
        output::counted(diagnosis.checks.len() as u64, "check"),
        count(Importance::Critical),
        output::counted(count(Importance::Warning), "warning"),
        output::counted(count(Importance::Notice), "notice"),
    ))?;
    match diagnosis.scope() {
        scope if scope.is_empty() => Ok(()),
        scope => output::line(scope),
    }
}
