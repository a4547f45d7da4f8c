//! An engine that operations are applied to, and its answers as text that can be compared.
//!
//! Left out are idle times, which are the clock's. IDs that the engine took from its clock are told by their place
//! among all that were given.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use streamer::{
    Entry, EntryId, NewId, RangeBound, StreamName, Trim, TrimLimit,
    engine::{
        Append, AppendOptions, ConsumerInfo, Deferral, DueEntries, Engine, EngineResult, EntryEnd, EntrySettlement,
        FailureChange, FailureRecord, GroupInfo, GroupStart, Member, PendingEntry, PendingFilter, ReadMode, Reader,
        Redelivery, Scan, StreamEntries, TakeRequest, Taken, TakenEntry,
    },
};

use crate::{
    compared::Compared,
    operation::{Addition, Bound, Cut, End, Failure, Id, New, Operation, Stream, Which},
};

pub(crate) const STREAMS: [&str; 2] = ["orders", "users"];
pub(crate) const GROUPS: [&str; 2] = ["workers", "audit"];
/// The last one is a name as a listening of the first group generates them.
pub(crate) const CONSUMERS: [&str; 4] = ["anna", "ben", "carl", "workers-Abcdefghijklmn01"];
/// Longer than the test takes.
const LONG: Duration = Duration::from_secs(3600);
/// IDs with more milliseconds than this come from a clock.
const CLOCK: u64 = 1_000_000_000;

pub(crate) struct Subject {
    engine: Arc<dyn Engine>,
    streams: Vec<StreamName>,
    prefix: String,
    compared: Compared,
    /// All members that were ever added to the failed list.
    recorded: BTreeSet<Bytes>,
    /// All IDs that were given, by stream, in their order.
    given: Vec<Vec<EntryId>>,
    plain: Option<Box<dyn Reader>>,
    consumers: HashMap<String, Box<dyn Reader>>,
}

impl Subject {
    /// An engine whose streams are seen under names that begin with `prefix`.
    pub(crate) fn new(engine: Arc<dyn Engine>, prefix: &str, compared: Compared) -> Self {
        Self {
            engine,
            streams: STREAMS
                .iter()
                .map(|name| StreamName::from(format!("{prefix}{name}")))
                .collect(),
            prefix: prefix.to_owned(),
            compared,
            recorded: BTreeSet::new(),
            given: vec![Vec::new(); STREAMS.len()],
            plain: None,
            consumers: HashMap::new(),
        }
    }

    /// Applies an operation and tells the answer, and what the groups then look like.
    pub(crate) async fn apply(&mut self, operation: &Operation) -> String {
        let answer = self.answer(operation).await;
        let mut groups = String::new();
        for stream in 0..STREAMS.len() {
            let listed = self.engine.groups(&self.streams[stream]).await;
            groups += &told(listed, |listed| self.groups(stream, listed));
        }
        format!("{answer}\n    groups: {groups}")
    }

    /// All there is.
    pub(crate) async fn everything(&mut self) -> String {
        let mut all = String::new();
        for stream in 0..STREAMS.len() {
            let name = self.streams[stream].clone();
            all += &told(self.engine.info(&name).await, |info| {
                info.map_or("nothing".to_owned(), |info| {
                    let edges =
                        [info.first_entry, info.last_entry].map(|edge| edge.map(|entry| self.entry(stream, &entry)));
                    let counted = self.compared.counters;
                    let deleted = info.max_deleted_id.filter(|_| counted).map(|id| self.id(stream, id));
                    let last = self.id(stream, info.last_id);
                    let (length, groups) = (info.length, info.groups);
                    let added = info.entries_added.filter(|_| counted);
                    format!("{length} {added:?} {groups} {last} {deleted:?} {edges:?}\n")
                })
            });
            all += &self.answer(&Operation::FullInfo(stream, 10_000)).await;
            all += &told(self.engine.len(&name).await, |len| len.to_string());
            for group in 0..GROUPS.len() {
                all += &self.answer(&Operation::Summary(stream, group)).await;
            }
        }
        for stream in self.streams.clone() {
            for group in GROUPS {
                for id in 0..3 {
                    let state = self.engine.retry_state(&stream, group, small(id)).await;
                    all += &told(state, |state| format!("{state:?} "));
                }
            }
            let (mut handled, mut cursor) = (BTreeSet::new(), 0);
            loop {
                let (next, page) = self.engine.page_of_handled(&stream, None, cursor, 3).await.unwrap();
                handled.extend(page);
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
            all += &format!("{handled:?}\n");
        }
        all += &self.failures().await;
        all
    }

    async fn answer(&mut self, operation: &Operation) -> String {
        use Operation as Op;
        let engine = self.engine.clone();
        let name = |stream: &Stream| self.streams[*stream].clone();
        let ids = |stream: &Stream, ids: &[Id]| ids.iter().map(|id| self.resolve(*stream, *id)).collect::<Vec<_>>();
        match operation {
            Op::Append(addition) => {
                let answer = engine.append(self.append(addition)).await;
                self.note(addition.stream, &answer);
                self.appended(addition, answer)
            }
            Op::AppendMany(additions) => {
                let appends = additions.iter().map(|addition| self.append(addition)).collect();
                let results = match engine.append_many(appends).await {
                    Ok(ids) => ids.into_iter().map(Ok).collect(),
                    Err(error) => error.results,
                };
                for (addition, result) in additions.iter().zip(&results) {
                    self.note(addition.stream, result);
                }
                let one = |(addition, result): (&Addition, _)| self.appended(addition, result);
                additions.iter().zip(results).map(one).collect::<Vec<_>>().join(" ")
            }
            Op::Delete(stream, which) => number(engine.delete(&name(stream), &ids(stream, which)).await),
            Op::Trim(stream, cut) => number(engine.trim(&name(stream), self.trim(*stream, *cut)).await),
            Op::Range(stream, start, end, count, reverse) => {
                let (start, end) = (self.bound(*stream, *start), self.bound(*stream, *end));
                let range = engine.range(&name(stream), start, end, *count, *reverse).await;
                told(range, |entries| self.entries(*stream, &entries))
            }
            Op::LastId(stream) => told(engine.last_id(&name(stream)).await, |id| self.id(*stream, id)),
            Op::FullInfo(stream, count) => told(engine.full_info(&name(stream), *count).await, |info| {
                let Some(info) = info else { return "nothing".to_owned() };
                let group = |group: streamer::engine::FullGroupInfo| {
                    let pending = self.pending(*stream, group.pending);
                    let consumers = self.consumers(group.consumers);
                    format!("{} {pending} {consumers}\n", self.groups(*stream, vec![group.group]))
                };
                let groups: Vec<String> = info.groups.into_iter().map(group).collect();
                let (last, entries) = (self.id(*stream, info.last_id), self.entries(*stream, &info.entries));
                format!("{} {last} {entries}\n{}", info.length, groups.concat())
            }),
            Op::Consumers(stream, group) => {
                let listed = engine.consumers(&name(stream), GROUPS[*group]).await;
                told(listed, |listed| self.consumers(listed))
            }
            Op::ReadPlain(count) => self.read_plain(*count).await,
            Op::ReadGroup(streams, group, consumer, count) => self.read_group(streams, *group, *consumer, *count).await,
            Op::ReadPending(stream, group, consumer, after, count) => {
                let (group, consumer) = (GROUPS[*group], CONSUMERS[*consumer]);
                let after = self.resolve(*stream, *after);
                let read = engine.read_pending(&name(stream), group, consumer, after, *count).await;
                told(read, |read| self.redelivery(*stream, &read))
            }
            Op::CreateGroup(stream, group, start, create) => {
                let start = self.start(*stream, *start);
                let created = engine.create_group(&name(stream), GROUPS[*group], start, *create).await;
                told(created, |()| "done".to_owned())
            }
            Op::SetPosition(stream, group, start) => {
                let start = self.start(*stream, *start);
                let moved = engine.set_group_position(&name(stream), GROUPS[*group], start).await;
                told(moved, |()| "done".to_owned())
            }
            Op::Destroy(stream, group) => {
                // What a group leaves behind expires on Redis; the embedded engine removes it when another group is joined.
                self.forget_retry_states(*stream, GROUPS[*group]).await;
                told(engine.destroy_group(&name(stream), GROUPS[*group]).await, |was| {
                    was.to_string()
                })
            }
            Op::Acknowledge(stream, group, which) => {
                let ids = ids(stream, which);
                number(engine.acknowledge(&name(stream), GROUPS[*group], &ids).await)
            }
            Op::Summary(stream, group) => {
                told(engine.pending_summary(&name(stream), GROUPS[*group]).await, |summary| {
                    let range = summary
                        .range
                        .map(|(first, last)| (self.id(*stream, first), self.id(*stream, last)));
                    format!("{} {range:?} {:?}", summary.count, summary.consumers)
                })
            }
            Op::Pending(stream, group, start, end, count, consumer, idle) => {
                let filter = PendingFilter {
                    start: self.bound(*stream, *start),
                    end: self.bound(*stream, *end),
                    count: *count,
                    consumer: consumer.map(|consumer| CONSUMERS[consumer]),
                    min_idle: long_if(*idle),
                };
                let listed = engine.pending(&name(stream), GROUPS[*group], filter).await;
                told(listed, |listed| self.pending(*stream, listed))
            }
            Op::Claim(stream, group, consumer, idle, which) => {
                let (group, consumer, ids) = (GROUPS[*group], CONSUMERS[*consumer], ids(stream, which));
                let claimed = engine.claim(&name(stream), group, consumer, long_if(*idle), &ids).await;
                told(claimed, |claimed| self.redelivery(*stream, &claimed))
            }
            Op::AutoClaim(stream, group, consumer, idle, from, count) => {
                let (group, consumer, from) = (GROUPS[*group], CONSUMERS[*consumer], self.resolve(*stream, *from));
                let min_idle = long_if(*idle);
                let claimed = engine
                    .auto_claim(&name(stream), group, consumer, min_idle, from, *count)
                    .await;
                told(claimed, |claimed| self.redelivery(*stream, &claimed))
            }
            Op::Join(stream, group, consumer, start) => {
                let wanted = [(name(stream), self.start(*stream, *start))];
                let joined = only(engine.join(&member(*group, *consumer), &wanted).await);
                told(joined, |joined| {
                    format!("{} at {}", joined.created, self.id(*stream, joined.last_delivered_id))
                })
            }
            Op::Take(stream, group, consumer, which, from, count) => {
                let scan = match which {
                    Which::Own => Scan::Own,
                    Which::Idle => Scan::Idle(LONG),
                    Which::All => Scan::Idle(Duration::ZERO),
                };
                let request = TakeRequest {
                    stream: name(stream),
                    from: self.resolve(*stream, *from),
                };
                let taken = engine.take(&member(*group, *consumer), scan, &[request], *count).await;
                told(only(taken), |taken| self.taken(*stream, &taken))
            }
            Op::TakeDue(stream, group, consumer, which) => {
                let due = DueEntries {
                    stream: name(stream),
                    ids: sorted(ids(stream, which)),
                };
                let taken = engine.take_due(&member(*group, *consumer), &[due]).await;
                told(only(taken), |taken| self.taken(*stream, &taken))
            }
            Op::Renew(stream, group, consumer, which) => {
                let leases = [(name(stream), sorted(ids(stream, which)))];
                let renewed = only(engine.renew(&member(*group, *consumer), &leases).await);
                told(renewed, |mut renewed| {
                    renewed.missing.sort_by_key(|(id, _)| *id);
                    let missing = renewed.missing.iter();
                    let missing = missing.map(|(id, why)| format!("{} {why:?}", self.id(*stream, *id)));
                    let was_missing = renewed.consumer_was_missing && self.compared.idle_consumers;
                    let last = renewed.last_delivered_id;
                    format!(
                        "missing {:?}, strangers {:?}, at {}, {was_missing}",
                        missing.collect::<Vec<_>>(),
                        self.ids(*stream, &renewed.strangers),
                        self.id(*stream, last)
                    )
                })
            }
            Op::Adopt(stream, group, consumer, which) => {
                let mut entries: Vec<_> = which
                    .iter()
                    .map(|(id, count)| (self.resolve(*stream, *id), *count))
                    .collect();
                entries.sort_unstable();
                entries.dedup_by_key(|(id, _)| *id);
                let adopted = engine
                    .adopt(&member(*group, *consumer), &[(name(stream), entries)])
                    .await;
                told(only(adopted), |()| "done".to_owned())
            }
            Op::Begin(stream, group, consumer, id, count) => {
                let id = self.resolve(*stream, *id);
                let begun = engine
                    .begin(&member(*group, *consumer), &name(stream), id, *count)
                    .await;
                told(begun, |begun| begun.to_string())
            }
            Op::Settle(who, ends) => {
                let who = who.map(|(group, consumer)| member(group, consumer));
                let names = [name(&0), name(&1)];
                let ends = [self.settlements(0, &ends[0]), self.settlements(1, &ends[1])];
                let settlements: Vec<_> = names.into_iter().zip(ends).collect();
                let settled = engine.settle(who.as_ref(), &settlements).await;
                let answers: Vec<String> = settled
                    .into_iter()
                    .map(|settled| told(settled, |unowned| format!("done, {unowned} were pending with nobody")))
                    .collect();
                // After an error any of them may be settled. Once those that need a group are left out, all are.
                for (stream, mut ends) in settlements {
                    for one in &mut ends {
                        if matches!(one.end, EntryEnd::Defer(_) | EntryEnd::Release { .. }) {
                            one.end = EntryEnd::Forget;
                        }
                    }
                    only(engine.settle(who.as_ref(), &[(stream, ends)]).await).unwrap();
                }
                answers.join(", ")
            }
            Op::Sweep(stream, group, consumer, idle) => {
                let who = member(*group, *consumer);
                let swept = engine.sweep(&who, &[name(stream)], long_if(*idle)).await;
                told(only(swept), |swept| match self.compared.idle_consumers {
                    true => format!("{swept:?}"),
                    false => "done".to_owned(),
                })
            }
            Op::Heartbeat(stream, group, consumer) => {
                let who = member(*group, *consumer);
                let shown = engine.heartbeat(&who, &[name(stream)], Duration::ZERO).await;
                told(only(shown), |()| "done".to_owned())
            }
            Op::Leave(stream, group, consumer) => {
                let left = engine.leave(&member(*group, *consumer), &[name(stream)]).await;
                told(only(left), |left| left.to_string())
            }
            Op::AddHandled(stream, ids) => {
                let added = engine.add_handled(&name(stream), None, &all_small(ids)).await;
                told(added, |()| "done".to_owned())
            }
            Op::RemoveHandled(stream, ids) => number(engine.remove_handled(&name(stream), None, &all_small(ids)).await),
            Op::ReplaceRetryState(stream, group, id, known, new) => {
                let there = engine.groups(&name(stream)).await.unwrap();
                if !there.iter().any(|one| one.name == GROUPS[*group]) {
                    return "no group".to_owned();
                }
                let (known, new) = (known.map(one_byte), new.map(one_byte));
                let replaced = engine
                    .replace_retry_state(&name(stream), GROUPS[*group], small(*id), known.as_ref(), new.as_ref())
                    .await;
                told(replaced, |replaced| replaced.to_string())
            }
            Op::AcknowledgeRetried(stream, group, id, known) => {
                let id = self.resolve(*stream, *id);
                let acknowledged = engine
                    .acknowledge_retried(&name(stream), GROUPS[*group], id, &one_byte(*known))
                    .await;
                told(acknowledged, |acknowledged| acknowledged.to_string())
            }
        }
    }

    /// Without two for the same entry.
    fn settlements(&mut self, stream: Stream, ends: &[(Id, End, Option<Failure>)]) -> Vec<EntrySettlement> {
        let mut settlements: Vec<EntrySettlement> = Vec::new();
        for (id, end, failure) in ends {
            let id = self.resolve(stream, *id);
            if settlements.iter().any(|known| known.id == id) {
                continue;
            }
            let end = match *end {
                End::Acknowledge(delete, had_retry_state) => EntryEnd::Acknowledge {
                    delete,
                    had_retry_state,
                },
                End::Defer(state, idle, count) => EntryEnd::Defer(Box::new(Deferral {
                    retry_state: state.map_or(Bytes::new(), one_byte),
                    delay: Duration::ZERO,
                    idle: long_if(idle) * 2,
                    count,
                })),
                End::Release(count) => EntryEnd::Release { count },
                End::Forget => EntryEnd::Forget,
            };
            // A record names its message, and has the prefix of this run, as others share the server.
            let (prefix, place) = (&self.prefix, self.id(stream, id));
            let member = |number: u8| Bytes::from(format!("{prefix}{stream} {place} {number}"));
            let change = |failure: &Failure| FailureChange {
                add: Vec::from_iter(failure.add.as_ref().map(|(number, groups)| FailureRecord {
                    member: member(*number),
                    details: groups.as_ref().map(|groups| {
                        let groups: BTreeSet<String> = groups.iter().map(|group| format!("group{group}")).collect();
                        let groups: Vec<String> = groups.into_iter().collect();
                        format!("{{\"attempts\":{number},\"groups\":{groups:?}}}").into()
                    }),
                })),
                remove: Vec::from_iter(failure.remove.map(member)),
            };
            let change = failure.as_ref().map(|failure| Box::new(change(failure)));
            let added = change
                .iter()
                .flat_map(|change| &change.add)
                .map(|record| record.member.clone());
            self.recorded.extend(added);
            settlements.push(EntrySettlement {
                id,
                end,
                failures: change,
            });
        }
        settlements
    }

    /// The failed list, with details, as far as it is of this run.
    async fn failures(&self) -> String {
        let mut told = Vec::new();
        let (mut cursor, mut listed) = (0, Vec::new());
        loop {
            let (next, page) = self.engine.page_of_failures(cursor, 100).await.unwrap();
            listed.extend(page);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        for member in &self.recorded {
            let details = self.engine.failure_details(std::slice::from_ref(member)).await.unwrap();
            let details = details[0].as_ref().map(|text| {
                let mut details: serde_json::Value = serde_json::from_slice(text).unwrap();
                // In which order they are united is left open.
                if let Some(serde_json::Value::Array(groups)) = details.get_mut("groups") {
                    groups.sort_by_key(ToString::to_string);
                }
                details.to_string()
            });
            told.push(format!("{member:?}: {} {details:?}", listed.contains(member)));
        }
        told.join(", ")
    }

    async fn forget_retry_states(&self, stream: Stream, group: &str) {
        let name = &self.streams[stream];
        for id in self.given[stream].iter().copied().chain((0..3).map(small)) {
            if let Some(state) = self.engine.retry_state(name, group, id).await.unwrap() {
                let forgotten = self.engine.replace_retry_state(name, group, id, Some(&state), None);
                assert!(forgotten.await.unwrap());
            }
        }
    }

    async fn read_plain(&mut self, count: usize) -> String {
        if self.plain.is_none() {
            let positions = self.streams.iter().map(|stream| (stream.clone(), EntryId::MIN));
            self.plain = Some(self.engine.reader(ReadMode::Plain(positions.collect())).await.unwrap());
        }
        let read = self.plain.as_mut().unwrap().next(count, None).await;
        told(read, |read| self.read(&read))
    }

    async fn read_group(&mut self, streams: &[Stream], group: usize, consumer: usize, count: usize) -> String {
        let mode = ReadMode::Group {
            group: GROUPS[group].to_owned(),
            consumer: CONSUMERS[consumer].to_owned(),
            streams: streams.iter().map(|stream| self.streams[*stream].clone()).collect(),
        };
        let who = format!("{mode:?}");
        let mut reader = match self.consumers.remove(&who) {
            Some(reader) => reader,
            None => self.engine.reader(mode).await.unwrap(),
        };
        let read = reader.next(count, None).await;
        // A reader that returned an error is spent.
        if read.is_ok() {
            self.consumers.insert(who, reader);
        }
        told(read, |read| self.read(&read))
    }

    // ----- from what operations say to what engines take --------------------------------------------------------------

    fn resolve(&self, stream: Stream, id: Id) -> EntryId {
        let given = &self.given[stream];
        match id {
            Id::Small(ms, seq) => EntryId::new(ms, seq),
            Id::Given(_) if given.is_empty() => EntryId::MIN,
            Id::Given(n) => given[n % given.len()],
            Id::Beyond(ms, seq) => {
                let last = given.last().copied().unwrap_or_default();
                if last.ms > CLOCK {
                    // Farther than the clocks of the engines are apart, so that it is beyond on each.
                    EntryId::new(last.ms.saturating_add((ms + 1) * CLOCK), seq)
                } else if ms == 0 {
                    EntryId::new(last.ms, last.seq.saturating_add(seq))
                } else {
                    EntryId::new(last.ms + ms, seq)
                }
            }
        }
    }

    fn append(&self, addition: &Addition) -> Append {
        let field = |n: usize| (Bytes::from(format!("field{n}")), Bytes::from(vec![n as u8; n * 7]));
        Append {
            stream: self.streams[addition.stream].clone(),
            id: match addition.id {
                New::Auto => NewId::Auto,
                New::Sequence(ms) if self.compared.counters => NewId::AutoSequence(ms),
                New::Sequence(_) => NewId::Explicit(self.resolve(addition.stream, Id::Beyond(1, 0))),
                New::Explicit(id) => NewId::Explicit(self.resolve(addition.stream, id)),
            },
            fields: (0..addition.fields).map(field).collect(),
            options: AppendOptions {
                trim: addition.trim.map(|cut| self.trim(addition.stream, cut)),
                create_stream: addition.create_stream,
                ..AppendOptions::default()
            },
        }
    }

    fn trim(&self, stream: Stream, cut: Cut) -> Trim {
        match cut {
            Cut::Newest(count) => Trim::max_len(count).exactly(),
            Cut::From(id) => Trim {
                keep: TrimLimit::From(self.resolve(stream, id)),
                exact: true,
            },
        }
    }

    fn bound(&self, stream: Stream, bound: Bound) -> RangeBound {
        match bound {
            Bound::Open => RangeBound::Unbounded,
            Bound::Including(id) => RangeBound::Inclusive(self.resolve(stream, id)),
            Bound::Excluding(id) => RangeBound::Exclusive(self.resolve(stream, id)),
        }
    }

    fn start(&self, stream: Stream, start: Option<Id>) -> GroupStart {
        start.map_or(GroupStart::Now, |id| GroupStart::After(self.resolve(stream, id)))
    }

    fn note(&mut self, stream: Stream, answer: &EngineResult<EntryId>) {
        if let Ok(id) = answer {
            self.given[stream].push(*id);
        }
    }

    // ----- from what engines answer to text ---------------------------------------------------------------------------

    fn id(&self, stream: Stream, id: EntryId) -> String {
        match self.given[stream].binary_search(&id) {
            Ok(place) => format!("#{place}"),
            Err(_) if id.ms > CLOCK => "#beyond".to_owned(),
            Err(_) => id.to_string(),
        }
    }

    fn ids(&self, stream: Stream, ids: &[EntryId]) -> Vec<String> {
        ids.iter().map(|id| self.id(stream, *id)).collect()
    }

    fn entry(&self, stream: Stream, entry: &Entry) -> String {
        format!("{}{:?}", self.id(stream, entry.id), entry.fields)
    }

    fn entries(&self, stream: Stream, entries: &[Entry]) -> String {
        let entries = entries.iter().map(|entry| self.entry(stream, entry));
        entries.collect::<Vec<_>>().join(" ")
    }

    fn read(&self, read: &[StreamEntries]) -> String {
        let one = |read: &StreamEntries| {
            let stream = self.streams.iter().position(|name| *name == read.stream).unwrap();
            format!("{}: {}", STREAMS[stream], self.entries(stream, &read.entries))
        };
        read.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    fn taken(&self, stream: Stream, taken: &Taken) -> String {
        let one = |one: &TakenEntry| {
            format!(
                "{}x{} {:?}",
                self.entry(stream, &one.entry),
                one.count_before,
                one.retry_state
            )
        };
        let (entries, gone) = (taken.entries.iter().map(one), self.ids(stream, &taken.gone));
        let next = taken.next.map(|next| self.id(stream, next));
        format!("{:?} gone {gone:?} next {next:?}", entries.collect::<Vec<_>>())
    }

    fn redelivery(&self, stream: Stream, redelivery: &Redelivery) -> String {
        let entries = redelivery.entries.iter();
        let entries = entries.map(|again| format!("{}x{}", self.entry(stream, &again.entry), again.deliveries));
        let (entries, deleted) = (entries.collect::<Vec<_>>(), self.ids(stream, &redelivery.deleted));
        format!(
            "{entries:?} deleted {deleted:?} next {}",
            self.id(stream, redelivery.next)
        )
    }

    fn pending(&self, stream: Stream, pending: Vec<PendingEntry>) -> String {
        let one = |pending: PendingEntry| {
            let id = self.id(stream, pending.id);
            format!("{id} {} x{}", pending.consumer, pending.deliveries)
        };
        pending.into_iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn groups(&self, stream: Stream, groups: Vec<GroupInfo>) -> String {
        let one = |group: GroupInfo| {
            let last = self.id(stream, group.last_delivered_id);
            let counted = self.compared.group_counters;
            let (read, lag) = (group.entries_read.filter(|_| counted), group.lag.filter(|_| counted));
            let consumers = Some(group.consumers)
                .filter(|_| self.compared.idle_consumers)
                .unwrap_or_default();
            let (name, pending) = (group.name, group.pending);
            format!("{name}: {consumers} consumers, {pending} pending, at {last}, read {read:?}, lag {lag:?}; ")
        };
        groups.into_iter().map(one).collect()
    }

    fn consumers(&self, consumers: Vec<ConsumerInfo>) -> String {
        let is_compared = |consumer: &ConsumerInfo| self.compared.idle_consumers || consumer.pending > 0;
        let one = |consumer: ConsumerInfo| format!("{} has {}; ", consumer.name, consumer.pending);
        consumers.into_iter().filter(is_compared).map(one).collect()
    }

    /// Where a millisecond has no number left, Redis 7.2 refuses with another error than 7.0.
    fn appended(&self, addition: &Addition, answer: EngineResult<EntryId>) -> String {
        match answer {
            Err(_) if matches!(addition.id, New::Sequence(_)) && !self.compared.idle_consumers => "refused".to_owned(),
            answer => told(answer, |id| self.id(addition.stream, id)),
        }
    }
}

fn told<T>(answer: EngineResult<T>, tell: impl FnOnce(T) -> String) -> String {
    match answer {
        Ok(answer) => tell(answer),
        Err(error) => format!("error {:?}", error.kind()),
    }
}

fn only<T>(answers: Vec<EngineResult<T>>) -> EngineResult<T> {
    assert_eq!(answers.len(), 1, "one answer for each stream");
    answers.into_iter().next().unwrap()
}

fn member(group: usize, consumer: usize) -> Member {
    Member {
        group: GROUPS[group].to_owned(),
        consumer: CONSUMERS[consumer].to_owned(),
    }
}

fn sorted(mut ids: Vec<EntryId>) -> Vec<EntryId> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn number(answer: EngineResult<u64>) -> String {
    told(answer, |number| number.to_string())
}

fn long_if(long: bool) -> Duration {
    if long { LONG } else { Duration::ZERO }
}

fn one_byte(byte: u8) -> Bytes {
    Bytes::copy_from_slice(&[byte])
}

/// IDs that need not be those of entries.
fn small(id: u8) -> EntryId {
    EntryId::new(u64::from(id), 1)
}

fn all_small(ids: &[u8]) -> Vec<EntryId> {
    ids.iter().copied().map(small).collect()
}
