//! The same metrics that Prometheus is served, with their values, while a listener works and at its end.

use std::{collections::BTreeSet, net::TcpListener, process::Command};

use streamer::metrics::{ALL, DURATION_BOUNDARIES};

use crate::{
    bench::{Bench, Running, wait_until},
    receiver::{Measured, Receiver},
};

fn sending(bench: &Bench, receiver: &Receiver, service: &str, arguments: &[&str]) -> Command {
    let mut command = bench.command(arguments);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "50")
        .env("OTEL_SERVICE_NAME", service);
    command
}

/// A gate at which the listener waits, and a failure for one message of three.
const LISTENER: &str =
    "read -r message; until [ -e go ]; do sleep 0.02; done; case \"$message\" in *bad*) exit 1;; esac";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_metrics_of_a_listener_arrive_while_it_works_and_at_its_end_beside_prometheus() {
    for bench in [Bench::new(), Bench::on_redis()] {
        let receiver = Receiver::start().await;
        tokio::task::spawn_blocking(move || check_a_listener(&bench, &receiver))
            .await
            .unwrap();
    }
}

fn check_a_listener(bench: &Bench, receiver: &Receiver) {
    bench.script("it.sh", LISTENER);
    bench.write(
        "streamer.toml",
        "[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./it.sh']\nmode = 'message'\n",
    );
    for payload in ["{\"n\":1}", "{\"bad\":2}", "{\"n\":3}"] {
        let output = sending(bench, receiver, "shop", &["emit", "a", payload])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let sent = receiver.points("shop");
    let instances = sent.iter().map(|point| &point.instance).collect::<BTreeSet<_>>();
    assert_eq!(instances.len(), 3, "a process is told from the others: {sent:#?}");
    assert_eq!(
        receiver
            .last("shop", "messaging.client.sent.messages", &["a"])
            .unwrap()
            .value,
        Measured::Counter(1)
    );

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port_text = port.to_string();
    let arguments = ["listen", "a", "--group", "g", "--workers", "1", "--metrics", &port_text];
    let worker = Running::start(sending(bench, receiver, "worker", &arguments));
    let gauge = |name: &str| match receiver.last("worker", name, &["g"])?.value {
        Measured::Gauge(value) => Some(value),
        other => panic!("{other:?}"),
    };
    // One message waits at the gate, two behind it.
    wait_until(|| (gauge("streamer.in_flight")? == 3.0).then_some(()));
    wait_until(|| (gauge("streamer.prefetched")? == 2.0).then_some(()));
    assert_eq!(gauge("streamer.retries.waiting"), Some(0.0));
    // Prometheus is served the same.
    let scraped = wait_until(|| crate::receiver::get(port));
    assert!(
        scraped.contains("streamer_in_flight{messaging_consumer_group_name=\"g\"} 3"),
        "{scraped}"
    );
    bench.write("go", "");
    let counter = |name: &str, labels: &[&str]| match receiver.last("worker", name, labels)?.value {
        Measured::Counter(value) => Some(value),
        other => panic!("{other:?}"),
    };
    wait_until(|| (gauge("streamer.in_flight")? == 0.0).then_some(()));
    worker.signal(rustix::process::Signal::TERM);
    let ended = worker.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let (stream, listener) = (["g", "a"], ["g", "a", "it"]);
    for (name, labels, expected) in [
        ("messaging.client.consumed.messages", &stream[..], 3),
        ("streamer.listener.handled", &listener[..], 2),
        ("streamer.listener.failed", &listener[..], 1),
        ("streamer.listener.retried", &listener[..], 0),
        ("streamer.listener.dead_lettered", &listener[..], 1),
        ("streamer.messages.reclaimed", &stream[..], 0),
        ("streamer.leases.lost", &stream[..], 0),
        ("streamer.messages.duplicates", &stream[..], 0),
    ] {
        assert_eq!(counter(name, labels), Some(expected), "{name}: {ended:?}");
    }
    for (name, labels) in [
        ("messaging.process.duration", &listener[..]),
        ("streamer.queue.wait.duration", &stream[..]),
        ("streamer.delivery.duration", &stream[..]),
    ] {
        let last = receiver.last("worker", name, labels).unwrap();
        let Measured::Histogram {
            count,
            sum,
            bounds,
            counts,
        } = last.value
        else {
            panic!("{last:?}");
        };
        assert_eq!((count, counts.iter().sum::<u64>()), (3, 3), "{name}");
        assert_eq!(bounds, DURATION_BOUNDARIES, "{name}");
        assert!(sum > 0.0, "{name}: {sum}");
    }
    for name in ["streamer.in_flight", "streamer.prefetched", "streamer.retries.waiting"] {
        assert_eq!(gauge(name), Some(0.0), "{name}");
    }
    // Names, units, descriptions and labels are those of the list, and each process is one source.
    let all = [receiver.points("shop"), receiver.points("worker")].concat();
    for point in &all {
        let listed = ALL.iter().find(|metric| metric.name == point.metric).unwrap();
        assert_eq!((point.unit.as_str(), point.help.as_str()), (listed.unit, listed.help));
        let unlisted = point.labels.keys().find(|name| !listed.labels.contains(&name.as_str()));
        assert_eq!(unlisted, None, "{point:?}");
    }
    let names = all.iter().map(|point| point.metric.as_str()).collect::<BTreeSet<_>>();
    let missing = ALL.iter().filter(|metric| !names.contains(metric.name));
    let missing = missing.map(|metric| metric.name).collect::<Vec<_>>();
    // Nothing broke.
    assert_eq!(missing, ["streamer.reconnects"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_is_switched_off_sends_nothing_and_the_other_one_sends() {
    let bench = Bench::new();
    let receiver = Receiver::start().await;
    let run = async |switch: &'static str| {
        let mut command = sending(&bench, &receiver, switch, &["emit", "a", "{}"]);
        command.env(switch, "none");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        assert!(output.await.unwrap().status.success());
        let spans = receiver.spans().iter().filter(|span| span.service == switch).count();
        (spans, receiver.points(switch).len())
    };
    let (spans, points) = run("OTEL_METRICS_EXPORTER").await;
    assert_eq!((spans, points), (1, 0));
    let (spans, points) = run("OTEL_TRACES_EXPORTER").await;
    assert_eq!((spans, points > 0), (0, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_and_the_instance_that_the_environment_gives_stay() {
    let bench = Bench::new();
    let receiver = Receiver::start().await;
    let mut command = sending(&bench, &receiver, "", &["emit", "a", "{}"]);
    command.env(
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=billing,service.instance.id=pod-7",
    );
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    assert!(output.await.unwrap().status.success());
    let points = receiver.points("billing");
    assert!(
        !points.is_empty() && points.iter().all(|point| point.instance == "pod-7"),
        "{points:?}"
    );
    assert!(receiver.spans().iter().all(|span| span.service == "billing"));
}
