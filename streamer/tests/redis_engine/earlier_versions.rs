//! What earlier versions wrote is read and tidied up, however much it is.

use streamer::engine::{Origin, Origins, Record};

use super::*;

/// They wrote a field for each time that a message was restored. A script hands at most about 8,000 values to one command.
#[tokio::test]
async fn the_way_of_a_message_that_was_restored_thousands_of_times_becomes_one_field() {
    let server = RedisServer::start();
    let engine = works(&server.url()).await;
    let stream = StreamName::from("events");
    let way: Vec<EntryId> = (1..=9_000).map(|ms| EntryId::new(ms, 0)).collect();
    let as_then = || {
        let mut command = vec!["HSET".to_owned(), "{events}:restored".to_owned()];
        command.extend(way.windows(2).flatten().map(EntryId::to_string));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        assert_eq!(server.command(&command), "8999");
    };
    as_then();
    let record = Record::Restored { ids: way.clone() };
    let restored = engine.append_recorded(an_append("events"), record).await.unwrap();
    assert!(restored.fresh);
    let known = engine.restored_ids(&stream, &way[..1]).await.unwrap();
    assert_eq!(known, [Some(restored.id)]);
    assert_eq!(server.command(&["HLEN", "{events}:restored"]), "1");

    server.command(&["DEL", "{events}:restored"]);
    as_then();
    let gone = Origin {
        first: way[0],
        current: way[8_999],
    };
    assert_eq!(engine.forget_restored(&stream, &[gone]).await.unwrap(), 1);
    assert_eq!(server.command(&["EXISTS", "{events}:restored"]), "0");
}
