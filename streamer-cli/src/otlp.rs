//! Spans go to a collector of OpenTelemetry, by OTLP over HTTP.
//!
//! The variables of OpenTelemetry say where it is, as for any other program: nothing is sent without `OTEL_EXPORTER_OTLP_ENDPOINT`
//! or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.

use std::{
    env,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use streamer::async_trait;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    registry::LookupSpan,
};

/// How long the end of a command waits until the last spans are sent.
const FLUSH: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What sends spans, once it was set up.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Whether the environment names a collector.
fn is_wanted() -> bool {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|set| set.eq_ignore_ascii_case(value));
    let named = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    named
        .iter()
        .any(|name| env::var(name).is_ok_and(|url| !url.trim().is_empty()))
        && !is("OTEL_SDK_DISABLED", "true")
        && !is("OTEL_TRACES_EXPORTER", "none")
}

/// A layer that gives spans to the exporter; `None` where no collector is named. An error says why they cannot be sent.
pub(crate) fn layer<S>() -> Result<Option<impl Layer<S> + Send + Sync + use<S>>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    if !is_wanted() {
        return Ok(None);
    }
    let failed = |error: &dyn std::fmt::Display| format!("traces are not sent: {error}");
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Client::new().map_err(|error| failed(&error))?)
        .build()
        .map_err(|error| failed(&error))?;
    let mut resource = Resource::builder();
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("streamer");
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer("streamer");
    if PROVIDER.set(provider).is_err() {
        return Ok(None);
    }
    global::set_text_map_propagator(TraceContextPropagator::new());
    streamer::trace::set_propagator(streamer::trace::OpenTelemetry);
    // What the exporter itself does must not become spans that it exports.
    let quiet = [
        "h2",
        "hyper",
        "hyper_util",
        "mio",
        "opentelemetry",
        "opentelemetry_sdk",
        "reqwest",
        "rustls",
    ];
    let targets = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(quiet.map(|target| (target, LevelFilter::OFF)));
    Ok(Some(
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(targets),
    ))
}

/// Sends the spans that are not sent yet.
pub(crate) async fn flush() {
    if let Some(provider) = PROVIDER.get() {
        // It waits for a thread of its own, which waits for this runtime.
        let sent = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(FLUSH)).await;
        if let Ok(Err(error)) = sent {
            tracing::debug!("the last spans may not have been sent: {error}");
        }
    }
}

/// Sends by the client that webhooks use.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
    /// Whether it was said that the collector does not take spans.
    said: Arc<AtomicBool>,
}

impl Client {
    fn new() -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(crate::webhook::trust()?)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("streamer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.without_url().to_string())?;
        Ok(Self {
            client,
            runtime: Handle::try_current().map_err(|error| error.to_string())?,
            said: Arc::default(),
        })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, said) = (self.client.clone(), Arc::clone(&self.said));
        // The exporter calls this in a thread that has no runtime.
        let sending = self.runtime.spawn(async move {
            let sent = send(&client, request).await;
            let trouble = match &sent {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answers {}", answer.status())),
                // Without its URL, which may hold a secret.
                Err(error) => Some(error.to_string()),
            };
            match trouble {
                None => said.store(false, Ordering::Relaxed),
                Some(trouble) if !said.swap(true, Ordering::Relaxed) => {
                    tracing::warn!("the OTLP collector does not take spans, which are dropped: {trouble}");
                }
                Some(_) => {}
            }
            sent
        });
        Ok(sending.await??)
    }
}

async fn send(client: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, reqwest::Error> {
    let request = reqwest::Request::try_from(request).map_err(reqwest::Error::without_url)?;
    let answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut response = Response::builder()
        .status(answer.status())
        .body(Bytes::new())
        .unwrap_or_default();
    response.headers_mut().clone_from(answer.headers());
    *response.body_mut() = answer.bytes().await.map_err(reqwest::Error::without_url)?;
    Ok(response)
}
