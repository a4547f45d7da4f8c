//! Reading what is there.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use futures_util::TryStreamExt as _;
use streamer::{Entry, EntryId, stream::Range};

fn show(what: &str, entries: &[Entry]) {
    let values: Vec<_> = entries
        .iter()
        .flat_map(|entry| &entry.fields)
        .map(|(_, value)| String::from_utf8_lossy(value))
        .collect();
    println!("{what}: {}", values.join(" "));
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let streamer = tour::connect().await?;
    let stream = streamer.stream("numbers");
    let mut ids = Vec::new();
    for number in 1..=5 {
        ids.push(stream.add(vec![("n".into(), number.to_string().into())]).await?);
    }

    show("from the beginning", &stream.read(EntryId::MIN, 100).await?);
    show("two after the first", &stream.read(ids[0], 2).await?);

    // Ranges come in pages, so that memory does not grow with the stream.
    let middle = Range::all().from(ids[1]).to(ids[3]);
    show("a range", &stream.range(middle).next_page().await?);
    let newest = Range::all().newest_first().limit(3);
    show(
        "newest first",
        &stream
            .range(newest)
            .page_size(2)
            .entries()
            .try_collect::<Vec<_>>()
            .await?,
    );

    // Many streams at once, each after an ID.
    streamer.stream("letters").add(vec![("l".into(), "a".into())]).await?;
    let read = streamer
        .streams(["numbers", "letters"])
        .read(EntryId::MIN, 2, None)
        .await?;
    for of_stream in read {
        show(&of_stream.stream.to_string(), &of_stream.entries);
    }
    Ok(())
}
