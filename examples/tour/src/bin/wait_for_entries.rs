//! Waiting for the next entry, plainly and as a consumer of a group, and acknowledging it.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use std::time::Duration;

use streamer::{EntryId, engine::GroupStart};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let streamer = tour::connect().await?;
    let stream = streamer.stream("bell");
    let ring = || stream.add(vec![("ring".into(), "once".into())]);

    // Nothing comes, and the time is over.
    println!("at first: {}", stream.wait_after(EntryId::MIN, 10, SHORT).await?.len());

    // "Now" is looked up once; what comes after it is never missed.
    ring().await?;
    let mut following = streamer.streams(["bell"]).follow().await?;
    let (read, rung) = tokio::join!(following.next(10, Some(LONG)), ring());
    rung?;
    println!(
        "from now on: {}",
        read?.iter().map(|of| of.entries.len()).sum::<usize>()
    );

    // In a group: what is read is pending with its consumer until it is acknowledged.
    stream
        .create_group("house", GroupStart::After(EntryId::MIN), true)
        .await?;
    let door = stream.consumer("house", "door");
    let entries = door.read_new(10, Some(LONG)).await?;
    let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
    println!("in the group: {}", ids.len());
    println!("acknowledged: {}", door.acknowledge(&ids[..1]).await?);
    // A consumer that starts again finds what it had not acknowledged.
    let again = door.own_pending(EntryId::MIN, 10).await?;
    println!(
        "still pending: {}, delivered {} times",
        again.entries.len(),
        again.entries[0].deliveries
    );
    println!("acknowledged: {}", door.acknowledge(&ids).await?);
    Ok(())
}
