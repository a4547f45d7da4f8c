//! Marks of processes that use a consumer's name.

use std::{sync::Arc, time::Duration};

use streamer::{
    StreamName,
    engine::{Engine, Member, NameUse, NameUser},
};

use crate::{deliveries::only, given::a_stream};

const LONG: Duration = Duration::from_secs(600);

fn member(group: &str, consumer: &str) -> Member {
    Member {
        group: group.to_owned(),
        consumer: consumer.to_owned(),
    }
}

fn user(token: &str) -> NameUser {
    NameUser {
        since_ms: 0,
        token: token.to_owned(),
    }
}

async fn mark(
    engine: &Arc<dyn Engine>,
    member: &Member,
    user: &NameUser,
    stream: &StreamName,
    lease: Duration,
) -> NameUse {
    only(engine.use_name(member, user, std::slice::from_ref(stream), lease).await).unwrap()
}

pub(crate) async fn two_that_use_a_name_see_each_other_and_who_came_first(engine: Arc<dyn Engine>) {
    let (stream, me) = (a_stream(), member("g", "c"));
    let first = mark(&engine, &me, &user("one"), &stream, LONG).await;
    assert!(first.since_ms > 0);
    assert_eq!(first.others, []);
    let second = mark(&engine, &me, &user("two"), &stream, LONG).await;
    let [(other, until)] = &second.others[..] else {
        panic!("{second:?}")
    };
    assert_eq!((other.since_ms, other.token.as_str()), (first.since_ms, "one"));
    assert!(second.since_ms >= first.since_ms && *until > first.since_ms);
    // A mark that is renewed keeps its date, and expires later. The clock has milliseconds.
    loop {
        let renewed = mark(&engine, &me, other, &stream, LONG).await;
        assert_eq!(renewed.since_ms, first.since_ms);
        let seen = mark(&engine, &me, &user("two"), &stream, LONG).await;
        assert_eq!(seen.others.len(), 1);
        assert_eq!(seen.others[0].0, *other);
        if seen.others[0].1 > *until {
            break;
        }
    }
}

pub(crate) async fn other_names_groups_and_streams_have_marks_of_their_own(engine: Arc<dyn Engine>) {
    let (stream, other) = (a_stream(), a_stream());
    mark(&engine, &member("a:b", "c"), &user("one"), &stream, LONG).await;
    for (member, stream) in [
        (member("a:b", "d"), &stream),
        (member("a", "c"), &stream),
        (member("a", "b:c"), &stream),
        (member("a%3Ab", "c"), &stream),
        (member("a:b", "c one"), &stream),
        (member("a:b", "c"), &other),
    ] {
        assert_eq!(
            mark(&engine, &member, &user("two"), stream, LONG).await.others,
            [],
            "{member:?}"
        );
    }
    // Several streams are marked at once.
    let both = [stream, other];
    let found = engine.use_name(&member("a:b", "c"), &user("three"), &both, LONG).await;
    let tokens = found.into_iter().map(|found| {
        let others = found.unwrap().others.into_iter();
        others.map(|(user, _)| user.token).collect::<Vec<_>>()
    });
    assert_eq!(tokens.collect::<Vec<_>>(), [["one"], ["two"]]);
}

pub(crate) async fn a_mark_goes_when_it_is_given_up_or_expires(engine: Arc<dyn Engine>) {
    let (stream, me) = (a_stream(), member("g", "c"));
    mark(&engine, &me, &user("one"), &stream, LONG).await;
    mark(&engine, &me, &user("one"), &stream, Duration::ZERO).await;
    assert_eq!(mark(&engine, &me, &user("two"), &stream, LONG).await.others, []);
    mark(&engine, &me, &user("brief"), &stream, Duration::from_millis(50)).await;
    while !mark(&engine, &me, &user("two"), &stream, LONG).await.others.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn hundreds_may_have_one_name(engine: Arc<dyn Engine>) {
    let (stream, me) = (a_stream(), member("g", "c"));
    for number in 0..600 {
        mark(&engine, &me, &user(&format!("n{number:03}")), &stream, LONG).await;
    }
    let others = mark(&engine, &me, &user("last"), &stream, LONG).await.others;
    let mut tokens = others.into_iter().map(|(user, _)| user.token).collect::<Vec<_>>();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 600);
}
