//! What is wrong with a store, what it means, and which command fixes it.
//!
//! `store`: the servers or the file. `streams`: streams, groups and consumers. `pending`: whether pending messages have
//! their entries. `kept`: what is kept beside streams, and leases. `scope`: how much was looked at.

mod kept;
mod pending;
mod scope;
mod store;
mod streams;

use std::time::Duration;

use serde::Serialize;

pub use self::scope::LookedAt;
use super::{Inspect, Overview};
use crate::engine::EngineResult;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Importance {
    /// Good to know; nothing has to be done.
    Notice,
    /// Messages are late, or will be lost when something else goes wrong, too.
    Warning,
    /// Messages are lost or not handled, or will be soon.
    Critical,
}

/// Something that is wrong, or good to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Which check found it, such as `group_abandoned`. These names stay.
    pub check: &'static str,
    /// How much it matters.
    pub importance: Importance,
    /// What it is about: a server, a stream, a group.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What that means for messages.
    pub meaning: &'static str,
    /// What fixes it: a command, or a setting.
    pub fix: String,
}

/// What [`Inspect::diagnose`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The findings, the most important first.
    pub findings: Vec<Finding>,
    /// The names of all checks that were made.
    pub checks: Vec<&'static str>,
    /// How much the checks looked at: they are bounded. A check without a finding says nothing about what lies beyond.
    pub looked_at: Vec<LookedAt>,
    /// What the findings about streams and groups are based on.
    #[serde(skip)]
    pub overview: Overview,
}

impl Diagnosis {
    /// The greatest importance of a finding; `None` without one.
    #[must_use]
    pub fn importance(&self) -> Option<Importance> {
        self.findings.iter().map(|finding| finding.importance).max()
    }

    /// Adds a finding of another check, such as one of an application.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.importance));
    }
}

impl Finding {
    /// A finding of a check of one's own.
    #[must_use]
    pub fn new(
        check: &'static str,
        importance: Importance,
        subject: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            check,
            importance,
            subject: subject.into(),
            found: found.into(),
            meaning: "",
            fix: String::new(),
        }
    }

    /// The same with what it means for messages.
    #[must_use]
    pub fn meaning(self, meaning: &'static str) -> Self {
        Self { meaning, ..self }
    }

    /// The same with what fixes it.
    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: fix.into(),
            ..self
        }
    }
}

/// What an application knows that the store does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The events that have a listener.
    pub listened: Vec<String>,
    /// The reclaim time of its listeners. Default: half of [`Inspect::stale_after`].
    pub reclaim: Option<Duration>,
}

/// All checks, in the order in which they are made.
const CHECKS: &[&str] = &[
    "server_unreachable",
    "server_is_replica",
    "command_missing",
    "command_forbidden",
    "server_version",
    "eviction_policy",
    "memory_nearly_full",
    "persistence_off",
    "persistence_failing",
    "replication_broken",
    "no_replica",
    "clock_skew",
    "slow_round_trip",
    "file_damaged",
    "file_system",
    "log_large",
    "commits_not_flushed",
    "not_all_streams",
    "not_allowed",
    "group_abandoned",
    "group_behind",
    "lag_unknown",
    "messages_missed",
    "pending_without_entry",
    "pending_not_taken_over",
    "attempts_cut_off",
    "stale_consumers",
    "events_overdue",
    "nobody_listens",
    "stream_missing",
    "undecodable_entries",
    "keys_without_owner",
    "retry_states_left",
    "failures_listed",
];

impl Inspect {
    /// Looks for what endangers messages. `known` adds what only the application knows.
    ///
    /// It reads the newest 10 entries of at most 100 streams, the oldest 20 pending entries of at most 100 groups, and at most
    /// 10,000 members of the failed list, besides an [overview](Inspect::overview). Unless streams are [named](Inspect::streams), it looks through the names of all keys once
    /// more, for those that are kept beside streams. For a SQLite file it reads the whole file (`PRAGMA quick_check`).
    ///
    /// # Errors
    ///
    /// The engine's when the store cannot be used at all.
    pub async fn diagnose(&self, known: &Known) -> EngineResult<Diagnosis> {
        let health = self.streamer.engine().store_health().await?;
        let mut findings = Vec::new();
        store::check(&health, &mut findings);
        let keys = self.keys_beside().await?;
        let overview = self.overview().await?;
        let [entries, failures] = self.check_streams(&overview, known, &mut findings).await?;
        let pending = self.check_pending(&overview, &mut findings).await?;
        self.check_leases(&overview, known, &mut findings).await?;
        self.check_kept(&keys, &overview, &mut findings).await?;
        let mut looked_at = scope::of_overview(&overview).to_vec();
        looked_at.extend([entries, pending, failures]);
        // Unless streams are named: then nobody knows which keys have an owner.
        if self.streams.is_none() {
            let found = keys.len() as u64;
            looked_at.push(LookedAt::new(
                "keys beside streams",
                found,
                (keys.len() < kept::MOST_KEYS).then_some(found),
            ));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.importance));
        Ok(Diagnosis {
            findings,
            checks: CHECKS.to_vec(),
            looked_at,
            overview,
        })
    }
}

/// `90 s`, `3 h`, `12 days`.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..180 => format!("{seconds} s"),
        180..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `1 message`, `2 messages`.
fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A word of a command line, in quotation marks where the shell needs them.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/@{}".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_that_is_made_is_listed_and_each_that_is_listed_is_made() {
        let sources = [
            include_str!("kept.rs"),
            include_str!("pending.rs"),
            include_str!("store.rs"),
            include_str!("streams.rs"),
        ]
        .concat();
        for check in CHECKS {
            assert!(sources.contains(&format!("\"{check}\"")), "{check} is never made");
        }
        let made = sources.split("Finding::new(").skip(1);
        for text in made {
            let name = text.split('"').nth(1).unwrap_or_default();
            assert!(CHECKS.contains(&name), "{name} is not listed");
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_a_command() {
        assert_eq!(word("order.placed"), "order.placed");
        assert_eq!(word("a; rm -rf 'x'"), r"'a; rm -rf '\''x'\'''");
    }
}
