//! `range`, `len`.

use std::sync::Arc;

use streamer::{
    EntryId, RangeBound,
    RangeBound::{Exclusive, Inclusive, Unbounded},
    StreamName,
    engine::Engine,
};

use crate::given::{a_stream, all, entries, ids_of, numbered_entries};

async fn range(
    engine: &Arc<dyn Engine>,
    stream: &StreamName,
    start: RangeBound,
    end: RangeBound,
    count: Option<usize>,
    reverse: bool,
) -> Vec<u64> {
    let found = engine.range(stream, start, end, count, reverse).await.unwrap();
    ids_of(&found).iter().map(|id| id.ms).collect()
}

fn id(ms: u64) -> EntryId {
    EntryId::new(ms, 0)
}

pub(crate) async fn all_entries_oldest_first(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 20).await;
    assert_eq!(ids_of(&all(&engine, &stream).await), ids);
    assert_eq!(engine.len(&stream).await.unwrap(), 20);
}

pub(crate) async fn reverse_gives_the_newest_first(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    numbered_entries(&engine, &stream, 5).await;
    assert_eq!(
        range(&engine, &stream, Unbounded, Unbounded, None, true).await,
        [5, 4, 3, 2, 1]
    );
    assert_eq!(
        range(&engine, &stream, Inclusive(id(2)), Exclusive(id(5)), None, true).await,
        [4, 3, 2]
    );
}

pub(crate) async fn bounds_are_inclusive_or_exclusive(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    numbered_entries(&engine, &stream, 5).await;
    for (start, end, expected) in [
        (Inclusive(id(2)), Inclusive(id(4)), &[2, 3, 4][..]),
        (Exclusive(id(2)), Inclusive(id(4)), &[3, 4]),
        (Inclusive(id(2)), Exclusive(id(4)), &[2, 3]),
        (Exclusive(id(2)), Exclusive(id(4)), &[3]),
        (Exclusive(id(4)), Unbounded, &[5]),
        (Unbounded, Exclusive(id(2)), &[1]),
    ] {
        assert_eq!(
            range(&engine, &stream, start, end, None, false).await,
            expected,
            "{start:?} {end:?}"
        );
        let mut reversed = range(&engine, &stream, start, end, None, true).await;
        reversed.reverse();
        assert_eq!(reversed, expected, "{start:?} {end:?} reversed");
    }
}

pub(crate) async fn count_limits_both_ways(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    numbered_entries(&engine, &stream, 5).await;
    assert_eq!(
        range(&engine, &stream, Unbounded, Unbounded, Some(2), false).await,
        [1, 2]
    );
    assert_eq!(
        range(&engine, &stream, Unbounded, Unbounded, Some(2), true).await,
        [5, 4]
    );
    assert_eq!(
        range(&engine, &stream, Unbounded, Unbounded, Some(9), false)
            .await
            .len(),
        5
    );
    assert_eq!(
        range(&engine, &stream, Unbounded, Unbounded, Some(0), false).await,
        [0; 0]
    );
}

pub(crate) async fn a_missing_stream_is_empty(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    assert_eq!(all(&engine, &stream).await, []);
    assert_eq!(engine.len(&stream).await.unwrap(), 0);
    assert_eq!(engine.last_id(&stream).await.unwrap(), EntryId::MIN);
}

pub(crate) async fn bounds_that_leave_nothing_give_nothing(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    numbered_entries(&engine, &stream, 3).await;
    for (start, end) in [
        (Inclusive(id(3)), Inclusive(id(2))),
        (Exclusive(id(2)), Exclusive(id(2))),
        (Exclusive(EntryId::MAX), Unbounded),
        (Unbounded, Exclusive(EntryId::MIN)),
        (Inclusive(id(9)), Unbounded),
    ] {
        for reverse in [false, true] {
            assert_eq!(
                range(&engine, &stream, start, end, None, reverse).await,
                [0; 0],
                "{start:?} {end:?}"
            );
        }
    }
}
