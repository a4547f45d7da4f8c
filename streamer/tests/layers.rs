//! What is around listeners.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use streamer::{
    CircuitBreaker, ConcurrencyLimit, DynamicEvent, Event, Layer, ListenerContext, ListenerError, Listeners,
    NamedEvent as _, Next, Payload, RateLimit, ReceivedMessage, RetryPolicy, StartAt, Streamer, Workers, async_trait,
    extract::State, failed::FailedFilter,
};
use tokio::sync::Barrier;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed")]
struct OrderPlaced {
    id: u64,
}

async fn with_orders(count: u64) -> Streamer {
    let streamer = Streamer::connect("memory:").await.unwrap();
    streamer
        .emit_all((1..=count).map(|id| OrderPlaced { id }))
        .await
        .unwrap();
    streamer
}

/// Listens until everything is handled.
async fn drain(streamer: &Streamer, listeners: Listeners, workers: Workers) -> streamer::Summary {
    let listening = streamer.listen(listeners).group("g").start(StartAt::Beginning);
    let listening = listening.workers(workers).listen_timeout(Duration::from_millis(200));
    listening.run().await.unwrap()
}

async fn errors(streamer: &Streamer) -> Vec<(String, String)> {
    let mut listing = streamer.failed().list(FailedFilter::all());
    let mut errors = Vec::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        errors.extend(page.into_iter().map(|listed| {
            let record = listed.record.unwrap();
            (record.receiver, record.error)
        }));
    }
    errors.sort();
    errors
}

/// Notes who was asked, and what came of it.
#[derive(Clone)]
struct Notes(&'static str, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Layer for Notes {
    async fn handle(
        &self,
        message: &ReceivedMessage,
        context: &ListenerContext,
        next: Next<'_>,
    ) -> Result<(), ListenerError> {
        let name = next.name().to_owned();
        self.1.lock().unwrap().push(format!("{} before {name}", self.0));
        let outcome = next.run(message, context).await;
        let said = match &outcome {
            Ok(()) => "handled".to_owned(),
            Err(error) => error.to_string(),
        };
        self.1.lock().unwrap().push(format!("{} after {name}: {said}", self.0));
        outcome
    }
}

#[tokio::test]
async fn layers_run_around_each_attempt_of_the_listeners_that_were_there_the_last_one_first() {
    let streamer = with_orders(1).await;
    let noted = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let fails_first = move |Payload(_): Payload<OrderPlaced>| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        std::future::ready(if first { Err("not yet") } else { Ok(()) })
    };
    let listeners = Listeners::new()
        .on_event("receipt", fails_first)
        .layer(Notes("inner", Arc::clone(&noted)))
        .layer(Notes("outer", Arc::clone(&noted)))
        .on_event("audit", |_: Payload<OrderPlaced>| std::future::ready(()))
        .retry(&RetryPolicy::fixed(2, Duration::from_millis(1)));
    let summary = drain(&streamer, listeners, Workers::InOrder).await;
    // Of its two attempts one failed.
    assert_eq!((summary.messages, summary.failed), (2, 1));
    assert_eq!(errors(&streamer).await, []);
    assert_eq!(
        *noted.lock().unwrap(),
        [
            "outer before receipt",
            "inner before receipt",
            "inner after receipt: not yet",
            "outer after receipt: not yet",
            "outer before receipt",
            "inner before receipt",
            "inner after receipt: handled",
            "outer after receipt: handled",
        ]
    );
}

/// Refuses odd orders, and panics at the second.
struct Doorkeeper;

#[async_trait]
impl Layer for Doorkeeper {
    async fn handle(
        &self,
        message: &ReceivedMessage,
        context: &ListenerContext,
        next: Next<'_>,
    ) -> Result<(), ListenerError> {
        let order: OrderPlaced = message.payload()?;
        assert!(order.id != 2, "who is that?");
        match order.id % 2 {
            1 => Err(ListenerError::permanent(format!("order {} is refused", order.id))),
            _ => next.run(message, context).await,
        }
    }
}

#[tokio::test]
async fn what_a_layer_says_is_the_outcome_and_its_panic_is_the_listeners_failure() {
    let streamer = with_orders(4).await;
    // It is no order, which the layer is the first to find out.
    let broken = DynamicEvent::new(OrderPlaced::NAME, serde_json::json!({"id": "no"}));
    streamer.emit(&broken).await.unwrap();
    let handled = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&handled);
    let receipt = move |Payload(order): Payload<OrderPlaced>| {
        seen.lock().unwrap().push(order.id);
        std::future::ready(())
    };
    let listeners = Listeners::new().on_event("receipt", receipt).layer(Doorkeeper);
    let summary = drain(&streamer, listeners, Workers::InOrder).await;
    assert_eq!((summary.messages, summary.failed), (5, 4));
    assert_eq!(*handled.lock().unwrap(), [4]);
    let errors = errors(&streamer).await;
    let said = |text: &str| {
        errors
            .iter()
            .any(|(receiver, error)| receiver == "receipt" && error.contains(text))
    };
    for text in [
        "order 1 is refused",
        "order 3 is refused",
        "panicked: who is that?",
        "invalid type: string",
    ] {
        assert!(said(text), "{errors:?}");
    }
}

#[tokio::test]
async fn a_limit_lets_so_many_run_at_once_and_no_more() {
    let streamer = with_orders(30).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // Three must be there at the same time for any to go on: fewer would wait for ever.
    let barrier = Arc::new(Barrier::new(3));
    let highest = Arc::clone(&most);
    let call = move |_: Payload<OrderPlaced>| {
        let (running, most, barrier) = (Arc::clone(&running), Arc::clone(&highest), Arc::clone(&barrier));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            barrier.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let listeners = Listeners::new()
        .on_event("call", call)
        .layer(ConcurrencyLimit::new(3))
        .layer(RateLimit::new(30, Duration::from_millis(30)));
    let summary = drain(&streamer, listeners, Workers::AtOnce(10)).await;
    assert_eq!((summary.processed, summary.failed), (30, 0));
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

/// A service that is down, and counts who asks it.
#[derive(Clone, Default)]
struct Service {
    is_up: Arc<std::sync::atomic::AtomicBool>,
    asked: Arc<AtomicUsize>,
    attempts: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Service {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn listeners(&self, breaker: &CircuitBreaker) -> Listeners {
        async fn ask(message: ReceivedMessage, State(service): State<Service>) -> Result<(), String> {
            service.asked.fetch_add(1, Ordering::SeqCst);
            let order = message.payload::<OrderPlaced>().map_err(|error| error.to_string())?;
            service.attempts.lock().unwrap().push((order.id, message.attempt()));
            match service.is_up.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err("down".to_owned()),
            }
        }
        let listeners = Listeners::with_state(self.clone()).on("order.placed", "ask", ask);
        listeners.layer(breaker.clone()).without_state()
    }
}

async fn until(mut so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.expect("waited in vain");
}

async fn pending(streamer: &Streamer) -> u64 {
    let summary = streamer.engine().pending_summary(&"order.placed".into(), "g").await;
    summary.map_or(0, |summary| summary.count)
}

#[tokio::test]
async fn a_circuit_breaker_pauses_reading_until_a_probe_succeeds() {
    const ORDERS: u64 = 1_000;
    let streamer = with_orders(ORDERS).await;
    let service = Service::default();
    let breaker = CircuitBreaker::after_failures(3, Duration::from_millis(100));
    let listening = streamer
        .listen(service.listeners(&breaker))
        .group("g")
        .batch(10)
        .workers(Workers::AtOnce(4));
    let running = listening.spawn();
    // Those that began before the pause, and three probes.
    until(async || service.asked() >= 3 + 4 + 3).await;
    assert!(pending(&streamer).await <= 60, "reading goes on");
    let while_down = service.asked();
    service.is_up.store(true, Ordering::SeqCst);
    until(async || pending(&streamer).await == 0 && service.asked() as u64 >= ORDERS).await;
    running.stop();
    let summary = running.join().await.unwrap();
    assert!(!breaker.is_open());
    assert_eq!(summary.messages, ORDERS);
    // Between the look and the repair one more probe may have failed.
    let failed = streamer.failed().count().await.unwrap();
    assert!(
        (9..=while_down as u64 + 1).contains(&failed),
        "{failed} of {while_down} failed"
    );
    assert_eq!(summary.failed, failed);
}

#[tokio::test]
async fn what_waits_for_a_circuit_breaker_has_not_begun_and_goes_back_at_the_end() {
    let streamer = with_orders(20).await;
    let service = Service::default();
    let breaker = CircuitBreaker::after_failures(1, Duration::from_secs(3600));
    let listening = || streamer.listen(service.listeners(&breaker)).group("g");
    let running = listening().spawn();
    until(async || service.asked() == 1 && pending(&streamer).await == 19).await;
    running.stop();
    let summary = running.join().await.unwrap();
    assert_eq!((summary.messages, summary.failed), (1, 1));
    service.is_up.store(true, Ordering::SeqCst);
    let working = CircuitBreaker::after_failures(1, Duration::from_secs(3600));
    let listening = streamer.listen(service.listeners(&working)).group("g");
    let summary = listening.stop_after(19).run().await.unwrap();
    assert_eq!(summary.processed, 19);
    let attempts = service.attempts.lock().unwrap().clone();
    assert!(attempts.iter().copied().eq((1..=20).map(|id| (id, 1))), "{attempts:?}");
}

#[tokio::test]
async fn time_outs_and_panics_open_a_circuit_breaker_and_the_messages_own_faults_do_not() {
    async fn hangs() {
        std::future::pending::<()>().await;
    }
    async fn panics() {
        panic!("no paper");
    }
    async fn refuses() -> Result<(), ListenerError> {
        Err(ListenerError::permanent("no such customer"))
    }
    let streamer = with_orders(4).await;
    for (name, opens) in [("hangs", true), ("panics", true), ("refuses", false)] {
        let breaker = CircuitBreaker::after_failures(2, Duration::from_secs(3600));
        let listeners = Listeners::new();
        let listeners = match name {
            "hangs" => listeners.on("order.placed", name, hangs),
            "panics" => listeners.on("order.placed", name, panics),
            _ => listeners.on("order.placed", name, refuses),
        };
        let listeners = listeners.layer(breaker.clone());
        let listeners = listeners.timeout(Duration::from_millis(20));
        let running = streamer.listen(listeners).group(name).spawn();
        let ended = async || breaker.is_open() || streamer.failed().count().await.unwrap() >= 8;
        until(ended).await;
        assert_eq!(breaker.is_open(), opens, "{name}");
        running.stop();
        let summary = running.join().await.unwrap();
        assert_eq!(summary.failed, if opens { 2 } else { 4 }, "{name}");
    }
}
