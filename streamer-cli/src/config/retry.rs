//! `[retry]` and `[listeners.NAME.retry]`: trying a listener again before its message lands in the failed list.

use std::time::Duration;

use streamer::RetryPolicy;

use super::{Value, file::Table, value::Count};
use crate::exit::Failure;

pub(super) const KEYS: [&str; 6] = ["attempts", "backoff", "delay", "longest", "jitter", "permanent"];

/// How a listener is tried again.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    attempts: Count,
    exponential: bool,
    delay: Duration,
    longest: Duration,
    jitter: bool,
    /// Errors that contain one of these are permanent.
    permanent: Vec<String>,
}

impl Retry {
    pub(super) fn read(table: &Table<'_>) -> Result<Self, Failure> {
        table.only(&KEYS)?;
        let exponential = match table.get::<String>("backoff")? {
            None => true,
            Some((backoff, _)) => match backoff.as_str() {
                "exponential" => true,
                "fixed" => false,
                other => {
                    let span = table.find("backoff").map_or(0..0, |(span, _)| span);
                    let text = format!(
                        "`{}` must be \"exponential\" or \"fixed\", not {other:?}",
                        table.full("backoff")
                    );
                    return Err(table.file.complain(span, &text));
                }
            },
        };
        if let Some((span, _)) = table.find("longest").filter(|_| !exponential) {
            let text = format!("`{}` has no effect with a fixed backoff", table.full("longest"));
            return Err(table.file.complain(span, &text));
        }
        let time = |key: &str, default| Ok::<_, Failure>(table.get(key)?.map_or(default, |(time, _)| time));
        Ok(Self {
            attempts: table.get("attempts")?.map_or(Count(3), |(attempts, _)| attempts),
            exponential,
            delay: time("delay", Duration::from_secs(1))?,
            longest: time("longest", Duration::from_secs(60))?,
            jitter: table.get("jitter")?.map_or(exponential, |(jitter, _)| jitter),
            permanent: table
                .texts("permanent")?
                .into_iter()
                .flatten()
                .map(|(text, _)| text)
                .collect(),
        })
    }

    pub(crate) fn policy(&self) -> RetryPolicy {
        let attempts = u64::from(self.attempts.0);
        let policy = match self.exponential {
            true => RetryPolicy::exponential(attempts, self.delay, self.longest),
            false => RetryPolicy::fixed(attempts, self.delay),
        };
        let permanent = self.permanent.clone();
        policy.jitter(self.jitter).permanent_if(move |error| {
            let error = error.to_string();
            permanent.iter().any(|text| error.contains(text))
        })
    }

    /// For people.
    pub(crate) fn show(&self) -> String {
        let Self { attempts, delay, .. } = self;
        let mut text = match self.exponential {
            true => format!(
                "{} attempts, from {} to {}",
                attempts.0,
                delay.show(),
                self.longest.show()
            ),
            false => format!("{} attempts, {} apart", attempts.0, delay.show()),
        };
        if self.jitter {
            text.push_str(", jitter");
        }
        if !self.permanent.is_empty() {
            text = format!("{text}, permanent {:?}", self.permanent);
        }
        text
    }
}
