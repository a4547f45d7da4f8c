//! What follows from the ledger: what was lost, what was handled twice and why, and for how long nothing went on.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use crate::{
    child::{GROUPS, RECLAIM, fails_always},
    clock,
    faults::{Cost, Happened, Touched},
    ledger::{Handled, Written},
    place::Topology,
    say,
};

/// A fault that was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) name: &'static str,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) happened: Happened,
}

/// What was where at the end.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// The numbers on streams and in the archive.
    pub(crate) kept: HashSet<u64>,
    pub(crate) archived: u64,
    /// How many failures are listed.
    pub(crate) failed: u64,
    /// How many entries are pending; the greatest number when it is not known.
    pub(crate) pending: u64,
    /// How long it took after the last fault.
    pub(crate) settled_after: Duration,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    emitted: usize,
    handled: usize,
    attempts: usize,
    restored: usize,
    lost: Vec<String>,
    taken: usize,
    twice: usize,
    unexplained: Vec<String>,
    emitted_twice: Vec<u64>,
    stalls: BTreeMap<usize, Duration>,
    /// The message that waited longest.
    longest: (Duration, String),
    faults: Vec<(&'static str, f64)>,
    misbehaviour: Vec<String>,
    end: End,
}

impl Made {
    pub(crate) fn line(&self, begin: u64) -> String {
        let (from, took) = (clock::seconds(begin, self.from), clock::seconds(self.from, self.to));
        format!("{from:7.1} s  {:<20} {} ({took:.1} s)", self.name, self.happened.detail)
    }

    /// Whether it may have taken away what was acknowledged at this time, in an emit that began then.
    fn may_cost(&self, stream: &str, begin: u64, at: u64, safe: bool) -> bool {
        match &self.happened.cost {
            Cost::Nothing => false,
            // A replica had it, and that is the one that took the master's place.
            Cost::Latest(_) if safe => false,
            Cost::Latest(time) => at + time.as_micros() as u64 >= self.from && begin <= self.to,
            Cost::Everything => begin <= self.to,
            Cost::Stream(name) => name == stream && begin <= self.to,
        }
    }
}

/// A message that each group must handle.
struct Due<'a> {
    number: u64,
    stream: &'a str,
    /// When the emit, or the restore, began and ended.
    begin: u64,
    at: u64,
    /// The ID, where it must be handled under that one: it was restored.
    id: Option<&'a str>,
    /// Replicas had it by then.
    safe: bool,
}

impl Due<'_> {
    fn may_be_taken(&self, made: &[Made]) -> bool {
        made.iter()
            .any(|made| made.may_cost(self.stream, self.begin, self.at, self.safe))
    }
}

fn due(written: &Written) -> impl Iterator<Item = Due<'_>> {
    let emitted = written.acknowledged.iter().map(|(number, one)| Due {
        number: *number,
        stream: &one.stream,
        begin: one.begin,
        at: one.at,
        id: None,
        safe: one.safe,
    });
    let restored = written.restored.iter().map(|one| Due {
        number: one.number,
        stream: &one.stream,
        begin: one.at,
        at: one.at,
        id: Some(&one.id),
        safe: false,
    });
    emitted.chain(restored)
}

impl Verdict {
    /// Whether nothing is missing that may not be.
    pub(crate) fn is_handled(written: &Written, made: &[Made]) -> bool {
        missing(written).all(|(due, _)| due.may_be_taken(made))
    }

    pub(crate) fn of(written: &Written, made: &[Made], end: End, misbehaviour: Vec<String>) -> Self {
        let mut verdict = Self {
            emitted: written.acknowledged.len(),
            attempts: written.handled.len(),
            restored: written.restored.len(),
            misbehaviour,
            faults: made
                .iter()
                .map(|made| (made.name, clock::seconds(0, made.from)))
                .collect(),
            ..Self::default()
        };
        let done = written.done();
        let handled = |number: &&u64| {
            GROUPS
                .iter()
                .all(|group| done.get(group).is_some_and(|done| done.numbers.contains(*number)))
        };
        verdict.handled = written.acknowledged.keys().filter(handled).count();
        for (due, group) in missing(written) {
            if due.may_be_taken(made) || lost_its_failure(&due, group, written, made) {
                verdict.taken += 1;
                continue;
            }
            let of_number = written
                .handled
                .iter()
                .filter(|one| one.number == due.number && one.group == group);
            let attempts = of_number.map(|one| format!("{} {} {}", one.who, one.id, one.succeeded));
            verdict.lost.push(format!(
                "number {} of {} for {group}, acknowledged at {} s, restored as {:?}; attempts: [{}]; kept: {}",
                due.number,
                due.stream,
                clock::seconds(0, due.at),
                due.id,
                attempts.collect::<Vec<_>>().join(", "),
                end.kept.contains(&due.number)
            ));
        }
        for (number, one) in &written.acknowledged {
            // Whatever takes messages away takes those that were handled, too.
            let taken = |made: &Made| match &made.happened.cost {
                Cost::Nothing => false,
                Cost::Stream(name) => *name == one.stream && one.begin <= made.to,
                Cost::Latest(_) | Cost::Everything => one.begin <= made.to,
            };
            if !end.kept.contains(number) && !made.iter().any(taken) {
                verdict.lost.push(format!(
                    "number {number} of {} is neither on its stream nor in the archive",
                    one.stream
                ));
            }
        }
        verdict.doubles(written, made);
        verdict.stalls(written, made);
        // A store that has lost its data gives IDs again that the archive has: then both messages are kept.
        let began_anew = made.iter().any(|made| made.happened.cost != Cost::Nothing);
        let expected = |at: u64, text: &str| {
            ["LEASE", "SKIPPED", "GONE"].iter().any(|kind| text.starts_with(kind))
                || began_anew && text.starts_with("CONFLICT")
                || text.starts_with("POISON") && was_cut_off(text, at, written, made)
        };
        let remarks = written.remarks.iter().filter(|(at, text)| !expected(*at, text));
        verdict.misbehaviour.extend(remarks.map(|(_, text)| text.clone()));
        verdict.end = end;
        verdict
    }

    /// Counts what was handled more than once, and what nobody interrupted.
    fn doubles(&mut self, written: &Written, made: &[Made]) {
        let mut of_entry = HashMap::<(&str, &str, &str), Vec<&Handled>>::new();
        let mut entries = HashMap::<u64, HashSet<(&str, &str)>>::new();
        for one in &written.handled {
            if one.succeeded {
                of_entry
                    .entry((&one.group, &one.stream, &one.id))
                    .or_default()
                    .push(one);
            }
            if !one.restored {
                entries.entry(one.number).or_default().insert((&one.stream, &one.id));
            }
        }
        // Who stood still for longer than the reclaim time, and found out when. What was just handled then is not named, but others
        // may have claimed it too.
        let leases = written
            .remarks
            .iter()
            .filter_map(|(at, text)| Some((*at, text.strip_prefix("LEASE ")?.split(' ').next()?)));
        let leases = leases.collect::<Vec<_>>();
        let slack = RECLAIM.as_micros() as u64 * 2;
        for ((group, stream, id), mut handlings) in of_entry {
            handlings.sort_unstable_by_key(|one| one.at);
            for pair in handlings.windows(2) {
                self.twice += 1;
                let interrupted = made.iter().any(|made| {
                    let whose = match &made.happened.touched {
                        Touched::All => true,
                        Touched::Process(who) => *who == pair[0].who || *who == pair[1].who,
                    };
                    whose && made.from <= pair[1].at && made.to + slack >= pair[0].at
                });
                let stood_still = leases.iter().any(|(at, who)| {
                    pair.iter().any(|one| one.who == *who) && *at + slack >= pair[0].at && *at <= pair[1].at + slack
                });
                if !interrupted && !stood_still && !listed_by_both(written, made, (group, stream, id)) {
                    self.unexplained.push(format!(
                        "{id} of {stream} for {group}: number {}, {} at {:.3} s and {} at {:.3} s",
                        pair[0].number,
                        pair[0].who,
                        clock::seconds(0, pair[0].at),
                        pair[1].who,
                        clock::seconds(0, pair[1].at)
                    ));
                }
            }
        }
        if made.iter().all(|made| made.happened.cost == Cost::Nothing) {
            let twice = entries
                .iter()
                .filter(|(_, ids)| ids.len() > 1)
                .map(|(number, _)| *number);
            self.emitted_twice = twice.collect();
        }
    }

    /// How long a message waited for its first attempt, without the time of faults; by the fault that came first.
    fn stalls(&mut self, written: &Written, made: &[Made]) {
        let mut first = HashMap::<(&str, u64), u64>::new();
        for one in written.handled.iter().filter(|one| !one.restored) {
            let at = first.entry((&one.group, one.number)).or_insert(one.at);
            *at = one.at.min(*at);
        }
        for ((group, number), at) in first {
            let Some(acknowledged) = written.acknowledged.get(&number) else {
                continue;
            };
            let during = |made: &Made| made.to.min(at).saturating_sub(made.from.max(acknowledged.at));
            let waited = at.saturating_sub(acknowledged.at);
            let waited = Duration::from_micros(waited.saturating_sub(made.iter().map(during).sum()));
            if waited > self.longest.0 {
                let (from, to) = (clock::seconds(0, acknowledged.at), clock::seconds(0, at));
                let text = format!(
                    "number {number} of {} for {group}, acknowledged at {from:.3} s, begun at {to:.3} s",
                    acknowledged.stream
                );
                self.longest = (waited, text);
            }
            if let Some(fault) = made.iter().position(|made| made.to >= acknowledged.at)
                && made[fault].from <= at
            {
                let longest = self.stalls.entry(fault).or_default();
                *longest = (*longest).max(waited);
            }
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.lost.is_empty()
            && self.unexplained.is_empty()
            && self.emitted_twice.is_empty()
            && self.misbehaviour.is_empty()
            && self.end.pending == 0
    }

    /// Whether somebody should read the logs.
    pub(crate) fn is_worth_a_look(&self) -> bool {
        !self.is_good() || self.longest.0 > RECLAIM + Duration::from_secs(1)
    }

    pub(crate) fn print(&self, topology: Topology, begin: u64) {
        let begin = clock::seconds(0, begin);
        say!("  longest stall after each kind of fault, in seconds:");
        let mut by_name = BTreeMap::<&str, (usize, Duration)>::new();
        for (index, (name, _)) in self.faults.iter().enumerate() {
            let stall = self.stalls.get(&index).copied().unwrap_or_default();
            let entry = by_name.entry(name).or_default();
            *entry = (entry.0 + 1, entry.1.max(stall));
        }
        for (name, (count, longest)) in by_name {
            say!("    {name:<20} {:6.2}  ({count} ×)", longest.as_secs_f64());
        }
        say!(
            "{topology:?}: {} faults; emitted {}, handled by both groups {}, attempts {}, restored {}, archived {}, handled \
             twice {} (of those unexplained {}), emitted twice {}, taken by operators or by what the store may lose {}, lost {}",
            self.faults.len(),
            self.emitted,
            self.handled,
            self.attempts,
            self.restored,
            self.end.archived,
            self.twice,
            self.unexplained.len(),
            self.emitted_twice.len(),
            self.taken,
            self.lost.len(),
        );
        say!(
            "{topology:?}: settled {:.1} s after the last fault; failures still listed {}; still pending {}",
            self.end.settled_after.as_secs_f64(),
            self.end.failed,
            match self.end.pending {
                u64::MAX => "unknown".to_owned(),
                pending => pending.to_string(),
            }
        );
        let lists = [
            ("LOST", &self.lost),
            ("TWICE", &self.unexplained),
            ("MISBEHAVIOUR", &self.misbehaviour),
        ];
        for (what, list) in lists {
            for text in list.iter().take(12) {
                say!("  {what}: {text}");
            }
        }
        say!("  longest: {:.2} s, {}", self.longest.0.as_secs_f64(), self.longest.1);
        if self.is_worth_a_look() {
            say!("  (times in these lines are the clock's; the run began at {begin:.1} s)");
        }
    }
}

/// What some group has not handled.
fn missing(written: &Written) -> impl Iterator<Item = (Due<'_>, &'static str)> {
    let done = written.done();
    due(written).flat_map(move |one| {
        let lacks = |group: &&'static str| {
            done.get(*group).is_none_or(|done| match one.id {
                None => !done.numbers.contains(&one.number),
                Some(id) => !done.entries.contains(&(one.stream, id)),
            })
        };
        let groups = GROUPS.into_iter().filter(|group| lacks(group)).collect::<Vec<_>>();
        let (number, stream, begin, at, id, safe) = (one.number, one.stream, one.begin, one.at, one.id, one.safe);
        groups.into_iter().map(move |group| {
            let due = Due {
                number,
                stream,
                begin,
                at,
                id,
                safe,
            };
            (due, group)
        })
    })
}

/// Whether a failure was recorded when a fault took the latest writes of that server: the message is acknowledged at
/// another one.
fn lost_its_failure(due: &Due<'_>, group: &str, written: &Written, made: &[Made]) -> bool {
    fails_always(due.number)
        && written.handled.iter().any(|one| {
            one.number == due.number
                && one.group == group
                && made.iter().any(|made| match &made.happened.cost {
                    Cost::Nothing | Cost::Stream(_) => false,
                    Cost::Latest(time) => one.at + time.as_micros() as u64 >= made.from && one.at <= made.to,
                    Cost::Everything => one.at <= made.to,
                })
        })
}

/// Whether two consumers recorded a failure of this message, because a fault interrupted one of them, or it found its lease lost:
/// the failure is listed for both, and retried for both.
fn listed_by_both(written: &Written, made: &[Made], (group, stream, id): (&str, &str, &str)) -> bool {
    let entry = format!("{stream}@{id}");
    let lost = |text: &str, who: &str| {
        let mut words = text.strip_prefix("LEASE ").into_iter().flat_map(|text| text.split(' '));
        words.next() == Some(who) && words.any(|word| word == entry)
    };
    let failed = written
        .handled
        .iter()
        .filter(|one| one.group == group && one.stream == stream && one.id == id && !one.succeeded);
    let failed = failed.map(|one| (one.who.as_str(), one.at)).collect::<Vec<_>>();
    let times = failed.iter().map(|(_, at)| *at);
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
        return false;
    };
    let was_interrupted = |who: &str| {
        let touches = |made: &Made| matches!(&made.happened.touched, Touched::Process(whom) if whom == who);
        let during = |made: &Made| made.from <= last && made.to >= first;
        made.iter().any(|made| touches(made) && during(made)) || written.remarks.iter().any(|(_, text)| lost(text, who))
    };
    let several = failed.iter().any(|(who, _)| *who != failed[0].0);
    several && failed.iter().any(|(who, _)| was_interrupted(who))
}

/// Whether faults cut off as many attempts at a message as make it one that ends its process: two, between its first moment
/// and the remark. A fail-over that takes the record of an attempt's end is one of them: nobody knows how that ended.
fn was_cut_off(text: &str, at: u64, written: &Written, made: &[Made]) -> bool {
    let id = text.split_once("with ID ").and_then(|(_, rest)| rest.split(' ').next());
    let of_message = written.handled.iter().find(|one| Some(one.id.as_str()) == id);
    let emitted = of_message.and_then(|one| written.acknowledged.get(&one.number));
    let Some(emitted) = emitted else {
        return false;
    };
    let interrupts = |made: &&Made| {
        let consumers = match &made.happened.touched {
            Touched::All => true,
            Touched::Process(who) => who.starts_with("consumer"),
        };
        consumers && made.from <= at && made.to >= emitted.begin
    };
    made.iter().filter(interrupts).count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Acknowledged;

    const ID: &str = "17-4";

    fn attempt(who: &str, at: u64, succeeded: bool) -> Handled {
        Handled {
            at,
            who: who.to_owned(),
            group: "search".to_owned(),
            number: 8,
            stream: "audit".to_owned(),
            id: ID.to_owned(),
            succeeded,
            restored: false,
        }
    }

    fn written(handled: Vec<Handled>, remark: &str) -> Written {
        let mut written = Written {
            handled,
            remarks: vec![(20_000_000, remark.to_owned())],
            ..Written::default()
        };
        let one = Acknowledged {
            begin: 1_000_000,
            at: 1_100_000,
            stream: "audit".to_owned(),
            safe: false,
        };
        written.acknowledged.insert(8, one);
        written
    }

    fn fault(from: u64, touched: Touched) -> Made {
        let mut happened = Happened::to_all("");
        happened.touched = touched;
        Made {
            name: "a fault",
            from,
            to: from + 1000,
            happened,
        }
    }

    #[test]
    fn a_failure_is_retried_twice_only_where_a_consumer_lost_it_and_listed_it_too() {
        let of = |other: &str, lease: &str| {
            let handled = vec![
                attempt("consumer-4#5", 2_000_000, false),
                attempt(other, 6_000_000, false),
                attempt("retrier#1", 19_000_000, true),
                attempt("retrier#1", 19_500_000, true),
            ];
            let mut verdict = Verdict::default();
            verdict.doubles(&written(handled, lease), &[]);
            (verdict.twice, verdict.unexplained.len())
        };
        assert_eq!(of("consumer-5#7", "LEASE consumer-4#5 audit@17-3 audit@17-4"), (1, 0));
        assert_eq!(of("consumer-5#7", "LEASE consumer-4#5 audit@17-3"), (1, 1));
        assert_eq!(of("consumer-5#7", "LEASE consumer-1#1 audit@17-4"), (1, 1));
        assert_eq!(of("consumer-4#5", "LEASE consumer-4#5 audit@17-4"), (1, 1));
    }

    #[test]
    fn a_failure_is_retried_twice_only_where_a_fault_interrupted_one_that_listed_it() {
        let of = |fault: Made| {
            let handled = vec![
                attempt("consumer-4#5", 2_000_000, false),
                attempt("consumer-5#7", 6_000_000, false),
                attempt("retrier#1", 19_000_000, true),
                attempt("retrier#1", 19_500_000, true),
            ];
            let mut verdict = Verdict::default();
            verdict.doubles(&written(handled, ""), &[fault]);
            verdict.unexplained.len()
        };
        let frozen = |who: &str, from| fault(from, Touched::Process(who.to_owned()));
        assert_eq!(of(frozen("consumer-4#5", 3_000_000)), 0);
        assert_eq!(of(frozen("consumer-4#5", 7_000_000)), 1);
        assert_eq!(of(frozen("consumer-1#1", 3_000_000)), 1);
    }

    #[test]
    fn what_is_given_up_was_cut_off_as_often_since_it_was_emitted() {
        let text = format!("POISON consumer-1#4 Message with ID {ID} on 'audit' stream is listed as failed");
        let of = |made: &[Made]| {
            let handled = vec![attempt("consumer-1#4", 2_000_000, true)];
            Verdict::of(&written(handled, &text), made, End::default(), Vec::new())
                .misbehaviour
                .len()
        };
        let killed = |from| fault(from, Touched::Process("consumer-1#3".to_owned()));
        assert_eq!(of(&[killed(2_000_000), fault(3_000_000, Touched::All)]), 0);
        assert_eq!(of(&[killed(2_000_000)]), 1);
        assert_eq!(of(&[killed(500_000), killed(2_000_000)]), 1);
        assert_eq!(of(&[killed(2_000_000), killed(21_000_000)]), 1);
        let relay = fault(3_000_000, Touched::Process("relay#1".to_owned()));
        assert_eq!(of(&[killed(2_000_000), relay]), 1);
    }
}
