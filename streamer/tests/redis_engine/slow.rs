//! Links that are slow, narrow or dead: a time-out counts from the last byte, and neither direction waits for the other.

use streamer::engine::Reader;
use streamer_test_servers::NarrowLink;

use super::*;

const MEGABYTE: usize = 1 << 20;

/// A server, and the way to it through a link that holds next to nothing.
struct Narrow {
    server: RedisServer,
    link: NarrowLink,
    url: String,
}

impl Narrow {
    fn plain() -> Self {
        let server = RedisServer::start();
        let link = NarrowLink::to(server.port());
        let url = format!("redis://127.0.0.1:{}", link.port());
        Self { server, link, url }
    }

    fn tls() -> Self {
        let server = Options::default().tls().start();
        let link = NarrowLink::to(server.tls_port());
        let url = format!(
            "rediss://127.0.0.1:{}?ca={}",
            link.port(),
            server.file("ca.pem").display()
        );
        Self { server, link, url }
    }

    /// An engine that does not need the link.
    async fn beside(&self) -> RedisEngine {
        RedisEngine::connect(&self.server.url()).await.unwrap()
    }
}

fn large(stream: &str, bytes: usize) -> Append {
    let mut append = an_append(stream);
    append.fields[0].1 = Bytes::from(vec![b'x'; bytes]);
    append
}

async fn group_reader(engine: &RedisEngine, streams: Vec<StreamName>) -> Box<dyn Reader> {
    let mode = ReadMode::Group {
        group: "g".into(),
        consumer: "c".into(),
        streams,
    };
    engine.reader(mode).await.unwrap()
}

// ----- a time-out counts from the last byte -----------------------------------------------------------------------------

/// At 450 KB a second the reply takes 13 seconds, which is longer than a server may be silent.
async fn a_reply_may_take_as_long_as_it_takes(narrow: Narrow) {
    let stream = StreamName::from("large");
    let beside = narrow.beside().await;
    beside
        .create_group(&stream, "g", GroupStart::After(EntryId::MIN), true)
        .await
        .unwrap();
    beside.append_many(vec![large("large", 300_000); 20]).await.unwrap();
    let engine = RedisEngine::connect(&narrow.url).await.unwrap();
    narrow.link.set_rate(Some(450_000));
    let mut reader = group_reader(&engine, vec![stream]).await;
    let read = reader.next(100, Some(Duration::from_secs(1))).await.unwrap();
    assert_eq!(read[0].entries.len(), 20);
    let down = narrow.link.bytes_down();
    assert!(down < 7_000_000, "{down} bytes: nothing was sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_may_take_as_long_as_it_takes_plain() {
    a_reply_may_take_as_long_as_it_takes(Narrow::plain()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_may_take_as_long_as_it_takes_tls() {
    a_reply_may_take_as_long_as_it_takes(Narrow::tls()).await;
}

/// The same in the other direction, with one command that takes 13 seconds to leave.
async fn a_large_append_may_take_as_long_as_it_takes(narrow: Narrow) {
    let engine = RedisEngine::connect(&narrow.url).await.unwrap();
    narrow.link.set_rate(Some(450_000));
    let id = engine.append(large("large", 6 * MEGABYTE)).await.unwrap();
    let beside = narrow.beside().await;
    let stream = StreamName::from("large");
    assert_eq!(beside.last_id(&stream).await.unwrap(), id);
    assert_eq!(beside.len(&stream).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_append_may_take_as_long_as_it_takes_plain() {
    a_large_append_may_take_as_long_as_it_takes(Narrow::plain()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_append_may_take_as_long_as_it_takes_tls() {
    a_large_append_may_take_as_long_as_it_takes(Narrow::tls()).await;
}

// ----- both directions are full -----------------------------------------------------------------------------------------

/// Large commands and large replies of many tasks on the shared connection.
async fn both_directions_may_be_full(narrow: Narrow) {
    let beside = narrow.beside().await;
    beside.append(large("read", MEGABYTE)).await.unwrap();
    let engine = RedisEngine::connect(&narrow.url).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let reading = engine.clone();
        tasks.spawn(async move {
            let all = (RangeBound::Unbounded, RangeBound::Unbounded);
            let stream = StreamName::from("read");
            let found = reading.range(&stream, all.0, all.1, None, false);
            assert_eq!(found.await.unwrap().len(), 1);
        });
        let writing = engine.clone();
        tasks.spawn(async move { _ = writing.append(large("written", MEGABYTE / 2)).await.unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(beside.len(&StreamName::from("written")).await.unwrap(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_of_the_shared_connection_may_be_full_plain() {
    both_directions_may_be_full(Narrow::plain()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_of_the_shared_connection_may_be_full_tls() {
    both_directions_may_be_full(Narrow::tls()).await;
}

/// A reader that reads ahead sends a command, here a very long one, while a large reply is on its way to it.
async fn reading_ahead_with_both_directions_full(narrow: Narrow) {
    let beside = narrow.beside().await;
    let long = |number: u32| StreamName::from(format!("{number}{}", "-".repeat(4_000)));
    let streams: Vec<StreamName> = (0..300).map(long).collect();
    for stream in &streams {
        beside
            .create_group(stream, "g", GroupStart::After(EntryId::MIN), true)
            .await
            .unwrap();
    }
    let mut append = large("", 50_000);
    append.stream = streams[0].clone();
    beside.append_many(vec![append; 100]).await.unwrap();
    let engine = RedisEngine::connect(&narrow.url).await.unwrap();
    let mut reader = group_reader(&engine, streams).await;
    reader.read_ahead(true);
    let mut read = 0;
    while read < 100 {
        let found = reader.next(20, None).await.unwrap();
        read += found.iter().map(|stream| stream.entries.len()).sum::<usize>();
    }
    assert_eq!(read, 100);
    assert_eq!(reader.rest().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_ahead_with_both_directions_full_plain() {
    reading_ahead_with_both_directions_full(Narrow::plain()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_ahead_with_both_directions_full_tls() {
    reading_ahead_with_both_directions_full(Narrow::tls()).await;
}
