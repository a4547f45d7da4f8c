//! No key of ours only grows: each is counted after trimming, destroying, archiving and restoring, on every kind of store.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rusqlite::Connection;
use serde_json::json;
use streamer::{
    DynamicEvent, EmitOptions, EntryId, Listeners, StreamName, Streamer,
    archive::{ArchiveStorage, MemoryArchive, OlderThan, Restore, Sweep},
    engine::{GroupStart, Member},
    failed::{self, Details, FailedFilter, FailedMessage},
};
use streamer_test_servers::{Store, Topology};

/// Runs each case on one server, on a Cluster and on a file.
macro_rules! on_each_store {
    ($($case:ident),* $(,)?) => {
        on_each_store! { redis = Redis: $($case)* }
        on_each_store! { cluster = Cluster: $($case)* }
        on_each_store! { embedded = Embedded: $($case)* }
    };
    ($name:ident = $topology:ident: $($case:ident)*) => {
        mod $name {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Place::new(super::Topology::$topology).await).await;
            })*
        }
    };
}

on_each_store! {
    archiving_and_restoring_over_and_over_grows_no_key,
    a_message_remembers_its_first_and_its_latest_ids,
    restored_messages_that_are_gone_are_forgotten,
    what_an_archive_still_has_is_not_forgotten,
    what_an_earlier_version_kept_is_followed_and_shrinks,
    what_is_kept_of_a_group_goes_when_the_group_is_gone,
    what_is_kept_of_trimmed_messages_goes,
    details_go_when_their_record_was_removed_alone,
    retry_states_of_an_earlier_version_are_moved,
    a_failure_of_an_earlier_version_is_retried_and_acknowledged,
}

const EVENT: &str = "{user}.changed";
const NOW: Duration = Duration::ZERO;

struct Place {
    store: Store,
    streamer: Streamer,
    archive: Arc<dyn ArchiveStorage>,
}

impl Place {
    async fn new(topology: Topology) -> Self {
        let store = Store::new(topology);
        Self {
            streamer: Streamer::connect(store.url()).await.unwrap(),
            store,
            archive: Arc::new(MemoryArchive::default()),
        }
    }

    async fn emit(&self, identifier: &str) -> EntryId {
        let event = DynamicEvent::new(EVENT, json!({"name": identifier}));
        let options = EmitOptions::new().identifier(identifier);
        self.streamer.emit_with(&event, options).await.unwrap()
    }

    async fn archive_all(&self) -> u64 {
        let sweep = Sweep::archive(&self.streamer, self.archive.clone());
        sweep.run(&EVENT.into(), OlderThan::now()).await.unwrap().removed
    }

    fn restore(&self) -> Restore {
        Restore::new(&self.streamer, self.archive.clone()).forget_after(NOW)
    }

    async fn restore_all(&self) -> u64 {
        let summary = self.restore().run(None).await.unwrap();
        assert_eq!(summary.failed, 0);
        summary.restored
    }

    async fn replayed(&self, identifier: &str) -> Option<bool> {
        let replay = self.streamer.replay(EVENT, identifier).archive(&*self.archive);
        let replayed = replay.run().await.unwrap()?;
        Some(replayed.is_whole() && replayed.data["name"] == json!(identifier))
    }

    /// Every key that is there, with the number of what it holds.
    fn keys(&self) -> BTreeMap<String, u64> {
        let Some(file) = self.store.file() else {
            let names = self.store.servers().into_iter().flat_map(|server| {
                let names = server.command(&["KEYS", "*"]);
                names.lines().map(str::to_owned).collect::<Vec<_>>()
            });
            let names = names.filter(|name| !name.is_empty()).collect::<Vec<_>>();
            let size = |name: &String| {
                let count = match self.store.command(&["TYPE", name]).trim() {
                    "stream" => "XLEN",
                    "set" => "SCARD",
                    "hash" => "HLEN",
                    "list" => "LLEN",
                    other => panic!("{name} is a {other}"),
                };
                self.store.command(&[count, name]).trim().parse::<u64>().unwrap()
            };
            return names.iter().map(|name| (name.clone(), size(name))).collect();
        };
        let sql = Connection::open(file).unwrap();
        let mut statement = sql
            .prepare(
                "SELECT CAST(name AS TEXT), CASE kind
                     WHEN 0 THEN (SELECT length FROM streamer_streams WHERE stream = streamer_keys.id)
                     WHEN 1 THEN (SELECT count(*) FROM streamer_members WHERE key = streamer_keys.id)
                     WHEN 2 THEN (SELECT count(*) FROM streamer_hash_fields WHERE key = streamer_keys.id)
                     ELSE (SELECT count(*) FROM streamer_elements WHERE key = streamer_keys.id) END
                 FROM streamer_keys",
            )
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)));
        let rows = rows.unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Writes a field as another version or program does.
    fn put_field(&self, hash: &str, field: &str, value: &str) {
        let Some(file) = self.store.file() else {
            let put = self.store.command(&["HSET", hash, field, value]);
            assert_eq!(put.trim(), "1");
            return;
        };
        let sql = Connection::open(file).unwrap();
        sql.busy_timeout(Duration::from_secs(20)).unwrap();
        sql.execute(
            "INSERT OR IGNORE INTO streamer_keys (name, kind) VALUES (?, 2)",
            [hash.as_bytes()],
        )
        .unwrap();
        let put = sql.execute(
            "INSERT INTO streamer_hash_fields (key, name, value) SELECT id, ?, ? FROM streamer_keys WHERE name = ?",
            [field.as_bytes(), value.as_bytes(), hash.as_bytes()],
        );
        assert_eq!(put.unwrap(), 1);
    }

    /// Removes a member of the failed list alone, as PHP does.
    fn remove_record(&self, member: &str) {
        let Some(file) = self.store.file() else {
            let removed = self.store.command(&["SREM", "failed_stream", member]);
            assert_eq!(removed.trim(), "1");
            return;
        };
        let sql = Connection::open(file).unwrap();
        sql.busy_timeout(Duration::from_secs(20)).unwrap();
        let removed = sql.execute("DELETE FROM streamer_members WHERE member = ?", [member.as_bytes()]);
        assert_eq!(removed.unwrap(), 1);
    }

    /// In how many seconds a key expires; the embedded engine has no expiry.
    fn seconds_left(&self, key: &str) -> Option<i64> {
        match self.store.topology() {
            Topology::Embedded => None,
            _ => Some(self.store.command(&["TTL", key]).trim().parse().unwrap()),
        }
    }

    async fn sweep(&self, consumer: &str) {
        let member = Member {
            group: "g".to_owned(),
            consumer: consumer.to_owned(),
        };
        let (streams, hour) = ([EVENT.into()], Duration::from_secs(3600));
        let mut swept = self.streamer.engine().sweep(&member, &streams, hour).await;
        swept.remove(0).unwrap();
    }
}

fn sizes<const N: usize>(keys: [(&str, u64); N]) -> BTreeMap<String, u64> {
    keys.into_iter().map(|(key, size)| (key.to_owned(), size)).collect()
}

/// It grew by a field for each time that a message was restored: 77,279 fields after 14 minutes.
async fn archiving_and_restoring_over_and_over_grows_no_key(place: Place) {
    const USERS: u64 = 20;
    let users = (0..USERS).map(|user| user.to_string()).collect::<Vec<_>>();
    for user in &users {
        place.emit(user).await;
    }
    let mut after_the_first = BTreeMap::new();
    for round in 0..12 {
        assert_eq!(place.archive_all().await, USERS);
        let archived = place.keys();
        assert_eq!(
            archived.get("{user}.changed:original_ids"),
            None,
            "it is in the archive, with the message"
        );
        assert_eq!(place.restore_all().await, USERS);
        let mut restored = place.keys();
        assert_eq!(restored["{user}.changed:restored"], USERS);
        // Only what was restored more than once has more than its entry says.
        let earlier = restored.remove("{user}.changed:original_ids");
        assert_eq!(earlier, (round > 0).then_some(USERS));
        if round == 0 {
            after_the_first = restored;
        } else {
            assert_eq!(restored, after_the_first);
        }
    }
    let lists = users.iter().map(|user| (format!("{EVENT}-{user}"), 1));
    let expected = lists.chain([(EVENT.to_owned(), USERS), ("{user}.changed:restored".to_owned(), USERS)]);
    assert_eq!(after_the_first, expected.collect());
    for user in &users {
        assert_eq!(place.replayed(user).await, Some(true));
    }
}

async fn a_message_remembers_its_first_and_its_latest_ids(place: Place) {
    let first = place.emit("7").await;
    let mut all = vec![first];
    for _ in 0..105 {
        assert_eq!(place.archive_all().await, 1);
        let id = *all.last().unwrap();
        all.push(place.restore().one(&EVENT.into(), id).await.unwrap().unwrap());
    }
    assert_eq!(place.archive_all().await, 1);
    let archived = place.archive.page(None, None, 10).await.unwrap().remove(0);
    let ids = archived.original_ids;
    assert_eq!((ids.len(), ids[0]), (100, first));
    assert_eq!(ids[1..], all[all.len() - 1 - 99..all.len() - 1]);
    assert_eq!(
        place.keys(),
        sizes([(EVENT, 0), ("{user}.changed-7", 1), ("{user}.changed:restored", 1)])
    );
}

async fn restored_messages_that_are_gone_are_forgotten(place: Place) {
    for user in ["1", "2", "3", "4"] {
        place.emit(user).await;
    }
    // Twice, so that there is something in both hashes.
    for _ in 0..2 {
        assert_eq!(place.archive_all().await, 4);
        assert_eq!(place.restore_all().await, 4);
    }
    let left = |restored| {
        let mut left = place.keys();
        assert_eq!(left.remove("{user}.changed:restored").unwrap_or_default(), restored);
        assert_eq!(left.remove("{user}.changed:original_ids").unwrap_or_default(), restored);
    };
    left(4);
    let stream = place.streamer.stream(EVENT);
    let ids = stream.read(EntryId::MIN, 10).await.unwrap();
    stream.delete(&[ids[0].id]).await.unwrap();
    let purge = Sweep::purge(&place.streamer);
    assert!(purge.one(&EVENT.into(), ids[1].id).await.unwrap().is_some());
    // Whoever restores at the same time may still need them.
    let patient = Restore::new(&place.streamer, place.archive.clone());
    assert_eq!(patient.tidy(&EVENT.into()).await.unwrap(), 0);
    left(4);
    assert_eq!(place.restore().tidy(&EVENT.into()).await.unwrap(), 2);
    left(2);
    place.store.trim(EVENT);
    // Whoever restores tidies up; here there is nothing to restore but another message.
    place.emit("5").await;
    assert_eq!(place.archive_all().await, 1);
    assert_eq!(place.restore_all().await, 1);
    let keys = place.keys();
    assert_eq!(keys["{user}.changed:restored"], 1);
    assert_eq!(keys.get("{user}.changed:original_ids"), None);
    // And what is recorded for replays goes with `history trim`.
    for user in ["1", "2", "3", "4", "5"] {
        let trimmed = place
            .streamer
            .trim_history(EVENT, user, Some(&*place.archive))
            .await
            .unwrap();
        assert_eq!(trimmed.removed, u64::from(user != "5"));
    }
    let expected = [(EVENT, 1), ("{user}.changed-5", 1), ("{user}.changed:restored", 1)];
    assert_eq!(place.keys(), sizes(expected));
}

/// Else it would be restored a second time.
async fn what_an_archive_still_has_is_not_forgotten(place: Place) {
    let first = place.emit("1").await;
    assert_eq!(place.archive_all().await, 1);
    let archived = place.archive.find(&EVENT.into(), first).await.unwrap().unwrap();
    assert_eq!(place.restore_all().await, 1);
    // As a crash leaves it, between the append and the removal from the archive; and then it is purged.
    place.archive.create(&[archived]).await.unwrap();
    let purge = Sweep::purge(&place.streamer);
    assert_eq!(purge.run(&EVENT.into(), OlderThan::now()).await.unwrap().removed, 1);
    assert_eq!(place.restore().tidy(&EVENT.into()).await.unwrap(), 0);
    place.restore_all().await;
    assert_eq!(place.keys()[EVENT], 0, "it was restored already");
    assert_eq!(place.archive.page(None, None, 10).await.unwrap(), []);
    assert_eq!(
        place.restore().tidy(&EVENT.into()).await.unwrap(),
        0,
        "that restore has tidied up"
    );
    assert_eq!(place.keys(), sizes([(EVENT, 0), ("{user}.changed-1", 1)]));
}

/// One field for each time that a message was restored, each of which leads to the next ID.
async fn what_an_earlier_version_kept_is_followed_and_shrinks(place: Place) {
    let first = place.emit("1").await;
    assert_eq!(place.archive_all().await, 1);
    assert_eq!(place.restore_all().await, 1);
    assert_eq!(place.archive_all().await, 1);
    let archived = place.archive.page(None, None, 10).await.unwrap().remove(0);
    assert_eq!(archived.original_ids, [first]);
    let between = archived.id;
    let ids = (0..3)
        .map(|seq| EntryId::new(between.ms, between.seq + 1 + seq))
        .collect::<Vec<_>>();
    for (one, next) in std::iter::once(&between).chain(&ids).zip(&ids) {
        place.put_field("{user}.changed:restored", &one.to_string(), &next.to_string());
    }
    place.archive.delete(&EVENT.into(), between).await.unwrap();
    let mut moved = archived.clone();
    moved.id = ids[2];
    moved.original_ids = vec![first, between, ids[0], ids[1]];
    place.archive.create(&[moved.clone()]).await.unwrap();
    assert_eq!(place.replayed("1").await, Some(true));
    assert_eq!(place.restore().tidy(&EVENT.into()).await.unwrap(), 0);
    // What was restored then is not restored again.
    place.archive.create(&[archived]).await.unwrap();
    assert_eq!(place.restore().one(&EVENT.into(), between).await.unwrap(), Some(ids[0]));
    assert_eq!(place.keys()[EVENT], 0);
    assert!(place.restore().one(&EVENT.into(), ids[2]).await.unwrap().is_some());
    assert_eq!(place.replayed("1").await, Some(true));
    let keys = place.keys();
    assert_eq!((keys[EVENT], keys["{user}.changed:restored"]), (1, 1));
}

/// A retry state and a mark of group `g`, for a message that is pending in it.
async fn a_group_with_keys(place: &Place) -> EntryId {
    let engine = place.streamer.engine();
    let id = place.emit("1").await;
    let stream = StreamName::from(EVENT);
    engine
        .create_group(&stream, "g", GroupStart::After(EntryId::MIN), false)
        .await
        .unwrap();
    place
        .streamer
        .stream(EVENT)
        .consumer("g", "c")
        .read_new(1, None)
        .await
        .unwrap();
    let state = "{}".into();
    let written = engine.replace_retry_state(&stream, "g", id, None, Some(&state)).await;
    assert!(written.unwrap());
    engine.add_handled(&stream, Some("g"), &[id]).await.unwrap();
    id
}

async fn what_is_kept_of_a_group_goes_when_the_group_is_gone(place: Place) {
    a_group_with_keys(&place).await;
    let all = [
        (EVENT, 1),
        ("{user}.changed-1", 1),
        ("{user}.changed:handled:g", 1),
        ("{user}.changed:retry:g", 1),
    ];
    assert_eq!(place.keys(), sizes(all));
    for key in ["{user}.changed:handled:g", "{user}.changed:retry:g"] {
        // Redis forgets them by itself.
        let month = 30 * 24 * 60 * 60;
        assert!(
            place
                .seconds_left(key)
                .is_none_or(|left| (month - 600..=month).contains(&left))
        );
    }
    place.store.destroy_group(EVENT, "g");
    if place.store.topology() == Topology::Embedded {
        // Whoever listens in another group sweeps them away.
        let engine = place.streamer.engine();
        let start = GroupStart::After(EntryId::MIN);
        engine.create_group(&EVENT.into(), "other", start, false).await.unwrap();
        engine
            .add_handled(&EVENT.into(), Some("other"), &[EntryId::new(1, 0)])
            .await
            .unwrap();
        let member = Member {
            group: "other".to_owned(),
            consumer: "c".to_owned(),
        };
        let hour = Duration::from_secs(3600);
        engine.sweep(&member, &[EVENT.into()], hour).await.remove(0).unwrap();
        let left = [(EVENT, 1), ("{user}.changed-1", 1), ("{user}.changed:handled:other", 1)];
        assert_eq!(place.keys(), sizes(left));
    }
    // And with their stream all that its groups had goes at once.
    let place = Place::new(place.store.topology()).await;
    a_group_with_keys(&place).await;
    place.streamer.engine().remove_stream(&EVENT.into()).await.unwrap();
    assert_eq!(place.keys(), sizes([("{user}.changed-1", 1)]));
}

async fn what_is_kept_of_trimmed_messages_goes(place: Place) {
    let id = a_group_with_keys(&place).await;
    place.store.trim(EVENT);
    let engine = place.streamer.engine();
    // Whoever takes it up next learns that it is gone; the state goes with the acknowledgement, or with a sweep.
    engine.acknowledge(&EVENT.into(), "g", &[id]).await.unwrap();
    place.sweep("c").await;
    assert_eq!(engine.retry_state(&EVENT.into(), "g", id).await.unwrap(), None);
    assert_eq!(place.keys().get("{user}.changed:retry:g"), None);
}

async fn details_go_when_their_record_was_removed_alone(place: Place) {
    let failed = place.streamer.failed();
    let engine = place.streamer.engine().as_ref();
    let failure = |receiver: &str| {
        let failure = FailedMessage::new(EntryId::new(5, 0), &"e".into(), receiver, "no paper");
        let mut details = Details::default();
        details.attempts = 3;
        (failure, details)
    };
    let failures = [failure("a"), failure("b"), failure("c")];
    failed::record_with(engine, &failures).await.unwrap();
    let member = |place: usize| String::from_utf8(failures[place].0.to_member().to_vec()).unwrap();
    place.remove_record(&member(0));
    // A record may be written after its details: the first look only marks them.
    assert_eq!(failed.tidy(NOW).await.unwrap(), 0);
    assert_eq!(
        place.keys(),
        sizes([("failed_stream", 2), ("failed_stream:details", 4)])
    );
    // It was not gone: the mark is.
    failed::record_with(engine, &failures[..1]).await.unwrap();
    assert_eq!(failed.tidy(NOW).await.unwrap(), 0);
    assert_eq!(
        place.keys(),
        sizes([("failed_stream", 3), ("failed_stream:details", 3)])
    );
    place.remove_record(&member(0));
    place.remove_record(&member(1));
    // Whoever retries or flushes marks them, and removes those that were marked an hour before.
    failed.flush(FailedFilter::all().receiver("nobody")).await.unwrap();
    assert_eq!(place.keys()["failed_stream:details"], 5);
    failed
        .retry(FailedFilter::all().receiver("nobody"), Listeners::new())
        .run()
        .await
        .unwrap();
    assert_eq!(place.keys()["failed_stream:details"], 5);
    assert_eq!(failed.tidy(NOW).await.unwrap(), 2);
    assert_eq!(
        place.keys(),
        sizes([("failed_stream", 1), ("failed_stream:details", 1)])
    );
    let details = failed::details(engine, &failures[2].0).await.unwrap();
    assert_eq!(details.unwrap().attempts, 3);
    failed.flush(FailedFilter::all()).await.unwrap();
    assert_eq!(place.keys(), BTreeMap::new());
}

async fn retry_states_of_an_earlier_version_are_moved(place: Place) {
    let engine = place.streamer.engine();
    let stream = StreamName::from(EVENT);
    let old = format!("streamer:progress:g:{EVENT}");
    let ids = (1..=1200).map(|ms| EntryId::new(ms, 0)).collect::<Vec<_>>();
    for id in &ids[..3] {
        place.put_field(&old, &id.to_string(), "old");
    }
    let newer = "newer".into();
    let written = engine
        .replace_retry_state(&stream, "g", ids[2], None, Some(&newer))
        .await;
    assert!(written.unwrap());
    let member = Member {
        group: "g".to_owned(),
        consumer: "c".to_owned(),
    };
    let streams = [(stream.clone(), GroupStart::Now)];
    let join = || engine.join(&member, &streams);
    join().await.remove(0).unwrap();
    let mut states = BTreeSet::new();
    for id in &ids[..3] {
        states.insert((*id, engine.retry_state(&stream, "g", *id).await.unwrap().unwrap()));
    }
    assert_eq!(
        states.into_iter().map(|(_, state)| state).collect::<Vec<_>>(),
        ["old", "old", "newer"]
    );
    assert_eq!(place.keys(), sizes([(EVENT, 0), ("{user}.changed:retry:g", 3)]));
    assert!(place.seconds_left("{user}.changed:retry:g").is_none_or(|left| left > 0));
    // More than one page; an old process may still write during a deployment.
    for id in &ids {
        place.put_field(&old, &id.to_string(), "again");
    }
    join().await.remove(0).unwrap();
    assert_eq!(place.keys(), sizes([(EVENT, 0), ("{user}.changed:retry:g", 1200)]));
}

async fn a_failure_of_an_earlier_version_is_retried_and_acknowledged(place: Place) {
    async fn works() {}
    let engine = place.streamer.engine();
    let stream = StreamName::from(EVENT);
    let id = place.emit("1").await;
    engine
        .create_group(&stream, "g", GroupStart::After(EntryId::MIN), false)
        .await
        .unwrap();
    place
        .streamer
        .stream(EVENT)
        .consumer("g", "c")
        .read_new(1, None)
        .await
        .unwrap();
    let failure = FailedMessage::new(id, &stream, "r", "no paper");
    let member = String::from_utf8(failure.to_member().to_vec()).unwrap();
    let mut details = Details::default();
    details.groups = vec!["g".to_owned()];
    failed::record_with(engine.as_ref(), &[(failure, details)])
        .await
        .unwrap();
    let state = json!({"succeeded": ["other"], "failed": [member]}).to_string();
    place.put_field(&format!("streamer:progress:g:{EVENT}"), &id.to_string(), &state);
    let listeners = Listeners::new().on(EVENT, "r", works);
    let summary = place
        .streamer
        .failed()
        .retry(FailedFilter::all(), listeners)
        .run()
        .await
        .unwrap();
    assert_eq!(summary.retried, 1);
    assert_eq!(place.store.pending(EVENT, "g"), []);
    assert_eq!(place.keys(), sizes([(EVENT, 1), ("{user}.changed-1", 1)]));
}
