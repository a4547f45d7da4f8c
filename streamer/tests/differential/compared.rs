//! What is compared. The embedded engine answers as Redis 7.0 does; older and newer servers differ in what is named here,
//! and in nothing else.

use streamer::{
    EntryId, NewId, StreamName,
    engine::{Append, AppendOptions, Engine, GroupStart, ReadMode},
};

/// What a server tells as Redis 7.0 does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    /// Entries added and the greatest deleted ID; and IDs that are numbered within a given millisecond.
    /// Redis 6.2 has none of them.
    pub(crate) counters: bool,
    /// The entries that a group read, and its lag. Redis 6.2 has neither; from 7.2 on both are told in more cases in which
    /// entries were deleted or trimmed.
    pub(crate) group_counters: bool,
    /// Which consumers exist that have nothing pending. From 7.2 on a consumer is made by any read or claim, until then by
    /// what it gets.
    pub(crate) idle_consumers: bool,
}

impl Compared {
    /// What can be compared with this server.
    pub(crate) async fn with(engine: &dyn Engine) -> Self {
        let stream = StreamName::from("which version is this");
        let append = Append {
            stream: stream.clone(),
            id: NewId::Explicit(EntryId::new(1, 0)),
            fields: vec![("name".into(), "value".into())],
            options: AppendOptions::default(),
        };
        engine.append(append).await.unwrap();
        let counters = engine.info(&stream).await.unwrap().unwrap().entries_added.is_some();
        let start = GroupStart::After(EntryId::MIN);
        engine.create_group(&stream, "group", start, false).await.unwrap();
        let mode = ReadMode::Group {
            group: "group".to_owned(),
            consumer: "consumer".to_owned(),
            streams: vec![stream.clone()],
        };
        engine.reader(mode).await.unwrap().next(1, None).await.unwrap();
        // 7.2 tells two times of a consumer, and this is why.
        let told = &engine.consumers(&stream, "group").await.unwrap()[0];
        let idle_consumers = told.inactive.is_none();
        engine.remove_stream(&stream).await.unwrap();
        Self {
            counters,
            group_counters: counters && idle_consumers,
            idle_consumers,
        }
    }
}
