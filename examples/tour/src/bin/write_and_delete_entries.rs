//! Entries by hand: no event, any fields.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use streamer::{EntryId, engine::AppendOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let streamer = tour::connect().await?;
    let stream = streamer.stream("sensor");

    // An ID of one's own must be greater than every ID that the stream ever gave; else the store gives one.
    let fields = vec![("celsius".into(), "21.5".into())];
    let fixed = stream
        .add_with(fields.clone(), EntryId::new(1, 0), AppendOptions::default())
        .await?;
    let given = stream.add(fields.clone()).await?;
    println!("{fixed} is before the one that was given: {}", fixed < given);
    if let Err(error) = stream
        .add_with(fields.clone(), EntryId::new(1, 0), AppendOptions::default())
        .await
    {
        println!("again: {:?}", error.kind());
    }

    println!("deleted: {}", stream.delete(&[fixed]).await?);
    println!("deleted again: {}", stream.delete(&[fixed]).await?);
    println!("left: {}", stream.len().await?);

    // The same entry to many streams, in one round trip.
    let streams = streamer.streams(["kitchen", "cellar"]);
    let ids = streams.add(&fields, AppendOptions::default()).await?;
    println!("written: {}", ids.len());
    Ok(())
}
