//! One trace from an emit to a listener, in processes of their own, and through retries.

use crate::{bench::Bench, receiver::Receiver};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_goes_from_an_emit_to_a_listener_in_another_process_and_through_retries() {
    for bench in [Bench::new(), Bench::on_redis()] {
        let receiver = Receiver::start().await;
        bench.script(
            "it.sh",
            "cat > /dev/null; [ -e paper ] || { echo 'no paper' >&2; exit 1; }",
        );
        bench.write(
            "streamer.toml",
            "[listen_and_fire]\na = ['it']\n\
             [listeners.it]\nprogram = ['./it.sh']\nmode = 'message'\nretry = { attempts = 2, delay = '50ms' }\n",
        );
        let run = async |service: &str, arguments: &[&str]| {
            let mut command = bench.command(arguments);
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint)
                .env("OTEL_SERVICE_NAME", service);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap())
                .await
                .unwrap();
            let shown = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{service}: {shown}");
        };
        run("shop", &["emit", "a", "{\"n\":1}"]).await;
        // Two attempts fail, and the message is listed.
        run("worker", &["listen", "a", "--group", "g", "--listen-timeout", "500"]).await;
        bench.write("paper", "");
        // An operator's third attempt handles it.
        run("operator", &["failed", "retry", "--all"]).await;

        let spans = receiver.spans();
        let ours = |service: &str, name: &str| {
            let ours = spans.iter().filter(|span| span.service == service && span.name == name);
            ours.cloned().collect::<Vec<_>>()
        };
        let emitted = ours("shop", "emit");
        assert_eq!(emitted.len(), 1, "{spans:#?}");
        let emitted = &emitted[0];
        // PRODUCER, CONSUMER
        assert_eq!(
            (emitted.kind, emitted.fields["messaging.destination.name"].as_str()),
            (4, "a")
        );
        let attempts = ours("worker", "handle");
        let numbers = attempts.iter().map(|span| span.fields["streamer.attempt"].as_str());
        assert_eq!(numbers.collect::<Vec<_>>(), ["1", "2"], "{spans:#?}");
        assert!(
            attempts
                .iter()
                .all(|span| span.fields["error.message"].contains("no paper")),
            "{attempts:#?}"
        );
        let retried = ours("operator", "handle");
        assert_eq!(retried.len(), 1, "{spans:#?}");
        assert!(!retried[0].fields.contains_key("error.message"), "{retried:#?}");
        for handled in attempts.iter().chain(&retried) {
            assert_eq!(handled.trace, emitted.trace, "{handled:#?}");
            assert_eq!(handled.parent, emitted.id, "{handled:#?}");
            assert_eq!(handled.kind, 5, "{handled:#?}");
            assert_eq!(
                handled.fields["messaging.message.id"],
                emitted.fields["messaging.message.id"]
            );
        }
    }
}
