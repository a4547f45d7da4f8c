//! The work of an overview is bounded.

use crate::{Subject, on_all_stores};

async fn hundreds_of_streams_cost_a_few_round_trips(subject: Subject) {
    for batch in 0..4 {
        let events = (0..100).map(|n| streamer::DynamicEvent::new(format!("s{batch}.{n:03}"), serde_json::json!({})));
        subject.streamer.emit_all(events).await.unwrap();
    }
    let names: Vec<_> = (0..4)
        .flat_map(|batch| (0..100).map(move |n| format!("s{batch}.{n:03}")))
        .collect();
    for name in names.iter().step_by(2) {
        subject.group(name, "g").await;
    }
    let calls = |subject: &Subject| {
        let servers = subject.store.servers();
        let calls = servers.iter().flat_map(|server| {
            let stats = server.command(&["INFO", "commandstats"]);
            let of = |line: &str| {
                let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
                let counted = matches!(
                    name,
                    "xinfo|stream" | "xrange" | "eval" | "xpending" | "xinfo|consumers"
                );
                counted.then(|| rest.split(',').next()?.parse::<u64>().ok())?
            };
            stats.lines().filter_map(of).collect::<Vec<_>>()
        });
        calls.sum::<u64>()
    };
    let before = calls(&subject);
    let overview = subject.streamer.inspect().overview().await.unwrap();
    assert_eq!((overview.streams.len(), overview.totals.groups), (400, 200));
    assert!(overview.groups().all(|(_, group)| group.lag_ms.is_some()));
    if subject.store.file().is_none() {
        // One XINFO for each stream; a script and its XRANGE for each group that is behind.
        assert_eq!(calls(&subject) - before, 400 + 2 * 200);
    }
}

on_all_stores! { hundreds_of_streams_cost_a_few_round_trips }
