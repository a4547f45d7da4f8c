//! What some group still needs stays, unless it is forced.

use streamer::{
    archive::{OlderThan, Sweep},
    engine::GroupStart,
};

use crate::{Place, name, on_each_engine};

on_each_engine! {
    what_a_group_has_not_been_delivered_stays,
    what_a_group_has_not_acknowledged_stays,
    every_group_counts,
    force_removes_it_all_the_same,
    when_all_have_acknowledged_it_goes,
}

async fn what_a_group_has_not_been_delivered_stays(place: Place) {
    let ids = place.emit("e", 5).await;
    let stream = place.streamer.stream("e");
    stream
        .create_group("g", GroupStart::After(ids[1]), false)
        .await
        .unwrap();
    let summary = Sweep::purge(&place.streamer)
        .run(&name("e"), OlderThan::now())
        .await
        .unwrap();
    assert_eq!((summary.removed, summary.undelivered), (2, 3));
    assert_eq!(place.ids_on_stream("e").await, ids[2..]);
}

async fn what_a_group_has_not_acknowledged_stays(place: Place) {
    // More than one page of the pending entries list.
    let ids = place.emit("e", 3_000).await;
    let stream = place.streamer.stream("e");
    stream
        .create_group("g", GroupStart::After(Default::default()), false)
        .await
        .unwrap();
    let consumer = stream.consumer("g", "c");
    assert_eq!(consumer.read_new(3_000, None).await.unwrap().len(), 3_000);
    let settled = ids.iter().copied().step_by(3).collect::<Vec<_>>();
    consumer.acknowledge(&settled).await.unwrap();
    let sweep = Sweep::archive(&place.streamer, place.archive.clone());
    let summary = sweep.run(&name("e"), OlderThan::now()).await.unwrap();
    assert_eq!((summary.removed, summary.pending), (1_000, 2_000));
    assert_eq!(place.ids_in_archive().await, settled);
    assert_eq!(place.ids_on_stream("e").await.len(), 2_000);
}

async fn every_group_counts(place: Place) {
    let ids = place.emit("e", 4).await;
    let stream = place.streamer.stream("e");
    for (group, after) in [("far", ids[3]), ("near", ids[2])] {
        stream
            .create_group(group, GroupStart::After(after), false)
            .await
            .unwrap();
    }
    stream
        .create_group("pending", GroupStart::After(ids[0]), false)
        .await
        .unwrap();
    let consumer = stream.consumer("pending", "c");
    consumer.read_new(10, None).await.unwrap();
    consumer.acknowledge(&[ids[2], ids[3]]).await.unwrap();
    let summary = Sweep::purge(&place.streamer)
        .run(&name("e"), OlderThan::now())
        .await
        .unwrap();
    assert_eq!((summary.removed, summary.pending, summary.undelivered), (2, 1, 1));
    assert_eq!(place.ids_on_stream("e").await, [ids[1], ids[3]]);
}

async fn force_removes_it_all_the_same(place: Place) {
    let ids = place.emit("e", 3).await;
    let stream = place.streamer.stream("e");
    stream
        .create_group("g", GroupStart::After(Default::default()), false)
        .await
        .unwrap();
    stream.consumer("g", "c").read_new(1, None).await.unwrap();
    let sweep = Sweep::archive(&place.streamer, place.archive.clone()).force(true);
    assert_eq!(sweep.run(&name("e"), OlderThan::now()).await.unwrap().removed, 3);
    assert_eq!(place.ids_in_archive().await, ids);
}

async fn when_all_have_acknowledged_it_goes(place: Place) {
    let ids = place.emit("e", 3).await;
    let stream = place.streamer.stream("e");
    for group in ["a", "b"] {
        stream
            .create_group(group, GroupStart::After(Default::default()), false)
            .await
            .unwrap();
        let consumer = stream.consumer(group, "c");
        consumer.read_new(10, None).await.unwrap();
        consumer.acknowledge(&ids).await.unwrap();
    }
    let summary = Sweep::purge(&place.streamer)
        .run(&name("e"), OlderThan::now())
        .await
        .unwrap();
    assert_eq!((summary.removed, summary.kept()), (3, 0));
}
