//! What is known about a stream: its length, groups, consumers and pending entries; and claiming these.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use std::time::Duration;

use streamer::{
    EntryId,
    engine::{GroupStart, PendingFilter},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let streamer = tour::connect().await?;
    let stream = streamer.stream("mail");
    for subject in ["hello", "invoice", "bye"] {
        stream.add(vec![("subject".into(), subject.into())]).await?;
    }

    // A group from the beginning; with `true` it makes the stream, were it missing.
    stream
        .create_group("office", GroupStart::After(EntryId::MIN), true)
        .await?;
    println!("there is a group: {}", stream.group_exists("office").await?);

    // A consumer reads two and goes away.
    stream.consumer("office", "ann").read_new(2, None).await?;

    if let Some(info) = stream.info().await? {
        println!("{} entries, {} groups", info.length, info.groups);
    }
    for group in stream.groups().await? {
        println!(
            "group {}: {} consumers, {} pending",
            group.name, group.consumers, group.pending
        );
    }
    for consumer in stream.consumers("office").await? {
        println!("consumer {}: {} pending", consumer.name, consumer.pending);
    }

    // What is pending, of all or of one consumer.
    let pending = stream.pending("office", PendingFilter::default()).await?;
    for entry in &pending {
        println!("pending with {}, delivered {} times", entry.consumer, entry.deliveries);
    }

    // Another consumer takes over what was idle for long enough (here: at all). Its entries come with the claim.
    let ids: Vec<_> = pending.iter().map(|entry| entry.id).collect();
    let bob = stream.consumer("office", "bob");
    let claimed = bob.claim(Duration::ZERO, &ids[..1]).await?;
    for redelivered in &claimed.entries {
        let (_, subject) = &redelivered.entry.fields[0];
        println!("bob has '{}' now", String::from_utf8_lossy(subject));
    }
    println!("bob: {} pending", bob.pending(PendingFilter::default()).await?.len());
    Ok(())
}
