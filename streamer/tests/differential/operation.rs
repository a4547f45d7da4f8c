//! What is done to the engines: operations, and how they are drawn.

use proptest::{collection::vec, option, prelude::*};

/// One of the streams, by its place in [`crate::subject::STREAMS`].
pub(crate) type Stream = usize;
/// One of the groups, by its place in [`crate::subject::GROUPS`].
pub(crate) type Group = usize;
/// One of the consumers, by its place in [`crate::subject::CONSUMERS`].
pub(crate) type Consumer = usize;

/// An ID that means the same on every engine, though the engines' clocks do not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Id {
    /// A small one, which may have been given or not.
    Small(u64, u64),
    /// That of the n-th entry ever appended to the stream, counted round and round; `0-0` when there was none.
    Given(usize),
    /// Greater than the last given one by so many milliseconds, or by so much in the sequence.
    Beyond(u64, u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum New {
    Auto,
    Sequence(u64),
    Explicit(Id),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Open,
    Including(Id),
    Excluding(Id),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Newest(u64),
    From(Id),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Own,
    Idle,
    All,
}

/// How a delivery ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// Whether the entry is deleted, and whether its retry state is.
    Acknowledge(bool, bool),
    /// With a retry state or none, idle for long or not at all, and with a count.
    Defer(Option<u8>, bool, u64),
    Release(u64),
    Forget,
}

/// Members of the failed list by their numbers: one to add, with groups in its details, and one to remove.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) add: Option<(u8, Option<Vec<u8>>)>,
    pub(crate) remove: Option<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Addition {
    pub(crate) stream: Stream,
    pub(crate) id: New,
    pub(crate) fields: usize,
    pub(crate) trim: Option<Cut>,
    pub(crate) create_stream: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Append(Addition),
    AppendMany(Vec<Addition>),
    Delete(Stream, Vec<Id>),
    Trim(Stream, Cut),
    Range(Stream, Bound, Bound, Option<usize>, bool),
    LastId(Stream),
    FullInfo(Stream, usize),
    Consumers(Stream, Group),
    ReadPlain(usize),
    ReadGroup(Vec<Stream>, Group, Consumer, usize),
    ReadPending(Stream, Group, Consumer, Id, usize),
    /// From an ID, or from now; with the stream made when it is missing, or not.
    CreateGroup(Stream, Group, Option<Id>, bool),
    SetPosition(Stream, Group, Option<Id>),
    Destroy(Stream, Group),
    Acknowledge(Stream, Group, Vec<Id>),
    Summary(Stream, Group),
    Pending(Stream, Group, Bound, Bound, usize, Option<Consumer>, bool),
    /// With `true`, only what is idle for long, which is what `End::Defer` and `End::Release` made so.
    Claim(Stream, Group, Consumer, bool, Vec<Id>),
    AutoClaim(Stream, Group, Consumer, bool, Id, usize),
    AddHandled(Stream, Vec<u8>),
    RemoveHandled(Stream, Vec<u8>),
    /// Of an entry, where it is the first of these, or there is none, to the second, or to none.
    ReplaceRetryState(Stream, Group, u8, Option<u8>, Option<u8>),
    AcknowledgeRetried(Stream, Group, Id, u8),
    Join(Stream, Group, Consumer, Option<Id>),
    /// The consumer's own, or those that are idle for long, or all.
    Take(Stream, Group, Consumer, Which, Id, usize),
    TakeDue(Stream, Group, Consumer, Vec<Id>),
    Renew(Stream, Group, Consumer, Vec<Id>),
    Adopt(Stream, Group, Consumer, Vec<(Id, u64)>),
    Begin(Stream, Group, Consumer, Id, u64),
    /// Of both streams; without a consumer, not in a group.
    Settle(Option<(Group, Consumer)>, [Vec<(Id, End, Option<Failure>)>; 2]),
    /// Those that were idle for long, which are none, or all.
    Sweep(Stream, Group, Consumer, bool),
    Heartbeat(Stream, Group, Consumer),
    Leave(Stream, Group, Consumer),
}

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![
        2 => (0..12_u64, 0..3_u64).prop_map(|(ms, seq)| Id::Small(ms, seq)),
        8 => (0..60_usize).prop_map(Id::Given),
        1 => (0..3_u64, 0..3_u64).prop_map(|(ms, seq)| Id::Beyond(ms, seq)),
    ]
}

fn new() -> impl Strategy<Value = New> {
    prop_oneof![
        1 => Just(New::Auto),
        2 => (0..12_u64).prop_map(New::Sequence),
        1 => id().prop_map(New::Explicit),
        8 => (0..3_u64, 0..3_u64).prop_map(|(ms, seq)| New::Explicit(Id::Beyond(ms, seq))),
    ]
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![
        2 => Just(Bound::Open),
        1 => id().prop_map(Bound::Including),
        1 => id().prop_map(Bound::Excluding),
    ]
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![(0..25_u64).prop_map(Cut::Newest), id().prop_map(Cut::From),]
}

fn addition() -> impl Strategy<Value = Addition> {
    (
        stream(),
        new(),
        0..4_usize,
        option::weighted(0.08, cut()),
        prop::bool::weighted(0.9),
    )
        .prop_map(|(stream, id, fields, trim, create_stream)| Addition {
            stream,
            id,
            fields,
            trim,
            create_stream,
        })
}

fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![4 => Just(0_usize), 1 => Just(1_usize)]
}

fn of_group() -> impl Strategy<Value = (Stream, Group)> {
    (stream(), prop_oneof![3 => Just(0_usize), 2 => Just(1_usize)])
}

fn of_consumer() -> impl Strategy<Value = (Stream, Group, Consumer)> {
    (of_group(), 0..4_usize).prop_map(|((stream, group), consumer)| (stream, group, consumer))
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => (prop::bool::weighted(0.3), any::<bool>()).prop_map(|(delete, state)| End::Acknowledge(delete, state)),
        3 => (option::weighted(0.8, any::<u8>()), any::<bool>(), 0..5_u64)
            .prop_map(|(state, idle, count)| End::Defer(state, idle, count)),
        2 => (0..5_u64).prop_map(End::Release),
        1 => Just(End::Forget),
    ]
}

fn failure() -> impl Strategy<Value = Failure> {
    let groups = option::of(vec(0..4_u8, 1..3));
    (option::weighted(0.8, (0..6_u8, groups)), option::weighted(0.3, 0..6_u8))
        .prop_map(|(add, remove)| Failure { add, remove })
}

fn ends() -> impl Strategy<Value = Vec<(Id, End, Option<Failure>)>> {
    vec((id(), end(), option::weighted(0.4, failure())), 0..6)
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let ids = || vec(id(), 1..5);
    prop_oneof![
        24 => addition().prop_map(Op::Append),
        3 => vec(addition(), 1..6).prop_map(Op::AppendMany),
        4 => (stream(), ids()).prop_map(|(stream, ids)| Op::Delete(stream, ids)),
        1 => (stream(), cut()).prop_map(|(stream, cut)| Op::Trim(stream, cut)),
        3 => (stream(), bound(), bound(), option::of(0..9_usize), any::<bool>())
            .prop_map(|(stream, start, end, count, reverse)| Op::Range(stream, start, end, count, reverse)),
        1 => stream().prop_map(Op::LastId),
        1 => (stream(), 0..9_usize).prop_map(|(stream, count)| Op::FullInfo(stream, count)),
        2 => of_group().prop_map(|(stream, group)| Op::Consumers(stream, group)),
        2 => (0..9_usize).prop_map(Op::ReadPlain),
        14 => (of_consumer(), 0..9_usize, prop::bool::weighted(0.15)).prop_map(|((stream, group, consumer), count, both)| {
            let streams = if both { vec![stream, 1 - stream] } else { vec![stream] };
            Op::ReadGroup(streams, group, consumer, count)
        }),
        4 => (of_consumer(), id(), 0..9_usize)
            .prop_map(|((stream, group, consumer), id, count)| Op::ReadPending(stream, group, consumer, id, count)),
        6 => (of_group(), option::of(id()), any::<bool>())
            .prop_map(|((stream, group), start, create)| Op::CreateGroup(stream, group, start, create)),
        3 => (of_group(), option::of(id())).prop_map(|((stream, group), start)| Op::SetPosition(stream, group, start)),
        1 => of_group().prop_map(|(stream, group)| Op::Destroy(stream, group)),
        6 => (of_group(), ids()).prop_map(|((stream, group), ids)| Op::Acknowledge(stream, group, ids)),
        3 => of_group().prop_map(|(stream, group)| Op::Summary(stream, group)),
        4 => (of_group(), bound(), bound(), 0..9_usize, option::of(0..4_usize), any::<bool>()).prop_map(
            |((stream, group), start, end, count, consumer, idle)| {
                Op::Pending(stream, group, start, end, count, consumer, idle)
            }
        ),
        5 => (of_consumer(), prop::bool::weighted(0.3), ids()).prop_map(
            |((stream, group, consumer), idle, ids)| Op::Claim(stream, group, consumer, idle, ids)
        ),
        5 => (of_consumer(), prop::bool::weighted(0.3), id(), 0..6_usize).prop_map(
            |((stream, group, consumer), idle, from, count)| Op::AutoClaim(stream, group, consumer, idle, from, count)
        ),
        1 => (stream(), vec(0..9_u8, 0..4)).prop_map(|(stream, ids)| Op::AddHandled(stream, ids)),
        1 => (stream(), vec(0..9_u8, 0..4)).prop_map(|(stream, ids)| Op::RemoveHandled(stream, ids)),
        2 => (of_group(), 0..3_u8, option::of(0..3_u8), option::weighted(0.8, 0..3_u8)).prop_map(
            |((stream, group), id, known, new)| Op::ReplaceRetryState(stream, group, id, known, new)
        ),
        1 => (of_group(), id(), 0..3_u8)
            .prop_map(|((stream, group), id, known)| Op::AcknowledgeRetried(stream, group, id, known)),
        2 => (of_consumer(), option::of(id()))
            .prop_map(|((stream, group, consumer), start)| Op::Join(stream, group, consumer, start)),
        6 => (of_consumer(), prop_oneof![Just(Which::Own), Just(Which::Idle), Just(Which::All)], id(), 0..6_usize)
            .prop_map(|((stream, group, consumer), which, id, count)| Op::Take(stream, group, consumer, which, id, count)),
        4 => (of_consumer(), ids()).prop_map(|((stream, group, consumer), ids)| Op::TakeDue(stream, group, consumer, ids)),
        4 => (of_consumer(), ids()).prop_map(|((stream, group, consumer), ids)| Op::Renew(stream, group, consumer, ids)),
        4 => (of_consumer(), vec((id(), 0..4_u64), 1..5))
            .prop_map(|((stream, group, consumer), ids)| Op::Adopt(stream, group, consumer, ids)),
        2 => (of_consumer(), id(), 0..5_u64)
            .prop_map(|((stream, group, consumer), id, count)| Op::Begin(stream, group, consumer, id, count)),
        13 => (option::weighted(0.9, of_consumer()), ends(), ends()).prop_map(|(who, one, other)| {
            Op::Settle(who.map(|(_, group, consumer)| (group, consumer)), [one, other])
        }),
        1 => (of_consumer(), any::<bool>())
            .prop_map(|((stream, group, consumer), idle)| Op::Sweep(stream, group, consumer, idle)),
        1 => of_consumer().prop_map(|(stream, group, consumer)| Op::Heartbeat(stream, group, consumer)),
        1 => of_consumer().prop_map(|(stream, group, consumer)| Op::Leave(stream, group, consumer)),
    ]
}
