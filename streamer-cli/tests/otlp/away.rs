//! A collector that is away, or does not answer.

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_is_told_once_and_holds_nothing_up() {
    let bench = Bench::new();
    // A port that nobody listens at.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = bench.command(&["emit", "a", "{}"]);
    command.env(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        format!("http://user:secret@127.0.0.1:{port}"),
    );
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shown}");
    for signal in ["spans", "metrics"] {
        let told = format!("the OTLP collector does not take {signal}");
        assert_eq!(shown.matches(&told).count(), 1, "{shown}");
    }
    assert!(!shown.contains("secret"), "{shown}");
    // Without one nothing goes with the message.
    let id = bench.emit("a", "{}");
    let life = bench.ok(&["show", "a", &id, "--json"]);
    assert!(!life.contains("traceparent"), "{life}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_is_told_within_the_time_that_the_variable_allows() {
    let bench = Bench::new();
    // It accepts connections, and nobody reads from them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = bench.command(&["emit", "a", "{}"]);
    command
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}", silent.local_addr().unwrap()),
        )
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "100");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shown}");
    for signal in ["spans", "metrics"] {
        assert!(shown.contains(&format!("does not take {signal}")), "{shown}");
    }
    assert!(shown.contains("it did not answer in time"), "{shown}");
}
