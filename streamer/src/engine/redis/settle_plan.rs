//! In which order the deliveries of one stream are ended.
//!
//! Messages without failures are settled by a command of their own, which waits for nothing. For the others the failure
//! comes first, in the failed list, which all streams share. On a single server one script does both: a script is not
//! rolled back, but it stops at its first error. (A pipeline or a transaction would run the acknowledgement although the
//! record was refused.) On a Cluster the list is in another slot than the stream, so there are steps, and the next one is
//! only sent once the server has answered that the last one is done.

use std::{collections::VecDeque, fmt, time::Duration};

use bytes::Bytes;
use redis::{Cmd, cmd};

use super::{
    command::{idle, on, signed, with_ids, xack},
    script,
    stores::{KEPT, without_groups},
};
use crate::{
    engine::{EntryEnd, EntrySettlement, FailureChange, FailureRecord, Member, keys},
    entry::{EntryId, StreamName},
};

/// The idle time of a released entry: longer than anybody waits before claiming.
const RELEASED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// For how long retry states are kept after the last change at most.
const KEPT_AT_MOST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How many entries a short script is about: Lua puts no more than some 8,000 arguments in a call.
const MOST_IN_SHORT: usize = 2000;

/// What one command does, for error texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Settles messages that have no failures.
    Independent,
    Details,
    Records,
    ObsoleteRecords,
    ObsoleteDetails,
    /// Settles messages whose failures are recorded, or with them.
    Failed,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Independent => "those without failures",
            Self::Details => "write failure details",
            Self::Records => "record failures",
            Self::ObsoleteRecords => "remove obsolete failures",
            Self::ObsoleteDetails => "remove obsolete failure details",
            Self::Failed => "those with failures",
        })
    }
}

/// The commands that end deliveries of one stream.
pub(super) struct StreamPlan {
    /// Goes with the first wave, whatever becomes of the others.
    independent: Option<Cmd>,
    /// Each is sent only when the one before it was done. A command with the key that it goes to.
    waves: VecDeque<Vec<(StreamName, Cmd, Step)>>,
    stream: StreamName,
    /// How many entries are acknowledged without, and with, failures.
    acknowledges: (usize, usize),
}

impl StreamPlan {
    pub(super) fn new(
        member: Option<&Member>,
        stream: &StreamName,
        entries: &[EntrySettlement],
        on_cluster: bool,
    ) -> Self {
        let (mut free, mut failed, mut failures) = (Ends::default(), Ends::default(), Failures::default());
        for entry in entries {
            match entry.failures.as_deref() {
                Some(change) if !(change.add.is_empty() && change.remove.is_empty()) => {
                    failures.add(change);
                    failed.add(entry, member.is_some());
                }
                _ => free.add(entry, member.is_some()),
            }
        }
        let mut waves = VecDeque::new();
        if !failures.is_empty() {
            if on_cluster {
                failures.put_waves(&mut waves);
                let mut last: Vec<_> = failed
                    .command(member, stream)
                    .map(|command| (stream.clone(), command, Step::Failed))
                    .into_iter()
                    .collect();
                last.extend(failures.without_obsolete_details());
                waves.push_back(last);
            } else {
                let command = failed
                    .short_script(member, stream, &failures)
                    .unwrap_or_else(|| failed.script(member, stream, Some(&failures)));
                waves.push_back(vec![(stream.clone(), command, Step::Failed)]);
            }
        }
        Self {
            independent: free.command(member, stream),
            waves,
            stream: stream.clone(),
            acknowledges: (free.acknowledge.len(), failed.acknowledge.len()),
        }
    }

    /// What can be sent now; nothing when all is done.
    pub(super) fn next_wave(&mut self) -> Vec<(StreamName, Cmd, Step)> {
        let mut wave = self.waves.pop_front().unwrap_or_default();
        let independent = self.independent.take();
        wave.extend(independent.map(|command| (self.stream.clone(), command, Step::Independent)));
        wave
    }

    /// How many entries a command acknowledges, which it answers if all of them were pending.
    pub(super) fn acknowledges(&self, step: Step) -> usize {
        match step {
            Step::Independent => self.acknowledges.0,
            Step::Failed => self.acknowledges.1,
            _ => 0,
        }
    }

    /// A command was refused, so that what depends on it must not be sent.
    pub(super) fn failed(&mut self, step: Step) {
        if step != Step::Independent {
            self.waves.clear();
        }
    }
}

/// What becomes of entries.
#[derive(Default)]
struct Ends<'a> {
    acknowledge: Vec<EntryId>,
    /// Their retry states are removed.
    settled: Vec<EntryId>,
    delete: Vec<EntryId>,
    retry_states: Vec<(EntryId, &'a Bytes)>,
    /// Idle time and count of what stays pending.
    kept: Vec<(EntryId, Duration, u64)>,
    longest_delay: Duration,
}

impl<'a> Ends<'a> {
    /// Without a group only deletions have an effect.
    fn add(&mut self, entry: &'a EntrySettlement, in_group: bool) {
        let id = entry.id;
        match &entry.end {
            EntryEnd::Acknowledge {
                delete,
                had_retry_state,
            } => {
                if *delete {
                    self.delete.push(id);
                }
                if in_group {
                    self.acknowledge.push(id);
                }
                if in_group && *had_retry_state {
                    self.settled.push(id);
                }
            }
            EntryEnd::Defer(deferral) if in_group => {
                if !deferral.retry_state.is_empty() {
                    self.retry_states.push((id, &deferral.retry_state));
                    self.longest_delay = self.longest_delay.max(deferral.delay);
                }
                self.kept.push((id, deferral.idle, deferral.count));
            }
            EntryEnd::Release { count } if in_group => self.kept.push((id, RELEASED, *count)),
            EntryEnd::Defer(_) | EntryEnd::Release { .. } | EntryEnd::Forget => {}
        }
    }

    /// One command that does all of it. An `XDEL` in a pipeline would be done although the `XACK` before it was refused.
    fn command(&self, member: Option<&Member>, stream: &StreamName) -> Option<Cmd> {
        let needs_script = !(self.settled.is_empty() && self.kept.is_empty());
        match member {
            Some(Member { group, .. })
                if !needs_script
                    && !self.delete.is_empty()
                    && self.delete == self.acknowledge
                    && self.delete.len() <= MOST_IN_SHORT =>
            {
                let mut command = cmd("EVAL");
                command.arg(&script::ACKNOWLEDGE_AND_DELETE[..]).arg(1);
                command.arg(stream.as_bytes()).arg(group);
                Some(with_ids(command, &self.delete))
            }
            Some(_) if needs_script || !self.delete.is_empty() => Some(self.script(member, stream, None)),
            Some(Member { group, .. }) if !self.acknowledge.is_empty() => Some(xack(stream, group, &self.acknowledge)),
            None if !self.delete.is_empty() => Some(with_ids(on("XDEL", stream), &self.delete)),
            _ => None,
        }
    }

    /// The one for failures that are recorded without details, and whose messages are acknowledged and stay on the stream.
    fn short_script(&self, member: Option<&Member>, stream: &StreamName, failures: &Failures<'_>) -> Option<Cmd> {
        let Member { group, .. } = member?;
        let Failures { details, add, remove } = failures;
        let is_more = !(self.settled.is_empty() && self.kept.is_empty() && self.delete.is_empty());
        let too_much = add.len().max(self.acknowledge.len()) > MOST_IN_SHORT;
        if is_more || too_much || !details.is_empty() || !remove.is_empty() || self.acknowledge.is_empty() {
            return None;
        }
        let size = add.iter().map(|member| member.len()).sum::<usize>() + 16 * self.acknowledge.len();
        let mut command = Cmd::with_capacity(8 + add.len() + self.acknowledge.len(), 512 + size);
        command.arg("EVAL").arg(&script::RECORD_AND_ACKNOWLEDGE[..]).arg(2);
        command.arg(stream.as_bytes()).arg(keys::FAILED);
        command.arg(group).arg(add.len());
        put(&mut command, add);
        Some(with_ids(command, &self.acknowledge))
    }

    fn script(&self, member: Option<&Member>, stream: &StreamName, failures: Option<&Failures<'_>>) -> Cmd {
        let (group, consumer) = member.map_or(("", ""), |member| (&member.group, &member.consumer));
        let mut command = cmd("EVAL");
        command
            .arg(&script::SETTLE[..])
            .arg(if failures.is_some() { 4 } else { 2 });
        command.arg(stream.as_bytes()).arg(keys::retry_states(stream, group));
        if failures.is_some() {
            command.arg(keys::FAILED).arg(keys::FAILED_DETAILS);
        }
        let kept = self.longest_delay.saturating_mul(2).clamp(KEPT, KEPT_AT_MOST);
        command.arg(group).arg(consumer).arg(kept.as_secs());
        match failures {
            Some(failures) => failures.put_lists(&mut command),
            None => _ = command.arg(&[0; 4]),
        }
        for ids in [&self.acknowledge, &self.settled, &self.delete] {
            command.arg(ids.len());
            command = with_ids(command, ids);
        }
        command.arg(self.retry_states.len());
        for (id, state) in &self.retry_states {
            command.arg(id.to_string()).arg(&state[..]);
        }
        let mut kept = self.kept.clone();
        kept.sort_unstable();
        command.arg(kept.len());
        for (id, idle_time, count) in kept {
            command.arg(id.to_string()).arg(idle(idle_time)).arg(signed(count));
        }
        command
    }
}

/// What changes in the failed list.
#[derive(Default)]
struct Failures<'a> {
    details: Vec<Details>,
    add: Vec<&'a Bytes>,
    remove: Vec<&'a Bytes>,
}

struct Details {
    field: Bytes,
    text: Bytes,
    groups: String,
}

impl<'a> Failures<'a> {
    fn add(&mut self, change: &'a FailureChange) {
        for FailureRecord { member, details } in &change.add {
            self.add.push(member);
            self.details
                .extend(details.as_ref().map(|text| Details::new(member, text)));
        }
        self.remove.extend(&change.remove);
    }

    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    fn obsolete_details(&self) -> impl Iterator<Item = Bytes> {
        self.remove.iter().map(|member| keys::details_field(member))
    }

    /// The lists that the script takes.
    fn put_lists(&self, command: &mut Cmd) {
        command.arg(self.details.len());
        self.put_details(command);
        for members in [&self.add, &self.remove] {
            command.arg(members.len());
            put(command, members);
        }
        command.arg(self.remove.len());
        for field in self.obsolete_details() {
            command.arg(&field[..]);
        }
    }

    fn put_details(&self, command: &mut Cmd) {
        for Details { field, text, groups } in &self.details {
            command.arg(&field[..]).arg(&text[..]).arg(groups);
        }
    }

    /// The steps before the acknowledgement, where these keys are elsewhere.
    fn put_waves(&self, waves: &mut VecDeque<Vec<(StreamName, Cmd, Step)>>) {
        if !self.details.is_empty() {
            let mut command = cmd("EVAL");
            command
                .arg(&script::RECORD_DETAILS[..])
                .arg(1)
                .arg(keys::FAILED_DETAILS);
            self.put_details(&mut command);
            waves.push_back(vec![(keys::FAILED_DETAILS.into(), command, Step::Details)]);
        }
        let steps = [
            ("SADD", &self.add, Step::Records),
            ("SREM", &self.remove, Step::ObsoleteRecords),
        ];
        for (name, members, step) in steps {
            if !members.is_empty() {
                let mut command = cmd(name);
                command.arg(keys::FAILED);
                put(&mut command, members);
                waves.push_back(vec![(keys::FAILED.into(), command, step)]);
            }
        }
    }

    fn without_obsolete_details(&self) -> Option<(StreamName, Cmd, Step)> {
        let mut command = cmd("HDEL");
        command.arg(keys::FAILED_DETAILS);
        for field in self.obsolete_details() {
            command.arg(&field[..]);
        }
        (!self.remove.is_empty()).then(|| (keys::FAILED_DETAILS.into(), command, Step::ObsoleteDetails))
    }
}

impl Details {
    /// With `groups` apart, which is united with that of details that are there.
    fn new(member: &Bytes, text: &Bytes) -> Self {
        let field = keys::details_field(member);
        let (text, groups) = without_groups(text);
        Self { field, text, groups }
    }
}

fn put(command: &mut Cmd, members: &[&Bytes]) {
    for member in members {
        command.arg(&member[..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged_and_deleted(count: u64, had_retry_state: bool) -> Vec<u8> {
        let settlement = |number| EntrySettlement {
            id: EntryId::new(1, number),
            end: EntryEnd::Acknowledge {
                delete: true,
                had_retry_state,
            },
            failures: None,
        };
        let entries = (1..=count).map(settlement).collect::<Vec<_>>();
        let member = Member {
            group: "g".to_owned(),
            consumer: "c".to_owned(),
        };
        let mut plan = StreamPlan::new(Some(&member), &"s".into(), &entries, false);
        let mut wave = plan.next_wave();
        let (_, command, step) = wave.remove(0);
        assert!(wave.is_empty() && plan.next_wave().is_empty());
        assert_eq!((step, plan.acknowledges(step)), (Step::Independent, count as usize));
        command.get_packed_command()
    }

    #[test]
    fn what_is_only_acknowledged_and_deleted_takes_the_short_script_unless_it_is_too_much_for_one_call() {
        let takes = |command: &[u8], script: &str| command.windows(script.len()).any(|part| part == script.as_bytes());
        for (count, had_retry_state, is_short) in [
            (1, false, true),
            (2000, false, true),
            (2001, false, false),
            (1, true, false),
        ] {
            let command = acknowledged_and_deleted(count, had_retry_state);
            assert_eq!(takes(&command, &script::ACKNOWLEDGE_AND_DELETE), is_short);
            assert_eq!(takes(&command, &script::SETTLE), !is_short);
        }
    }
}
