//! Sends by the client that webhooks use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use streamer::async_trait;
use tokio::runtime::Handle;

use super::Signal;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends one signal.
#[derive(Debug)]
pub(super) struct Client {
    signal: Signal,
    client: reqwest::Client,
    runtime: Handle,
    /// Whether it was said that the collector does not take it.
    said: Arc<AtomicBool>,
}

impl Client {
    pub(super) fn new(signal: Signal) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(crate::webhook::trust()?)
            .connect_timeout(CONNECT_TIMEOUT)
            // The exporter bounds only its further attempts by it.
            .timeout(signal.timeout())
            .user_agent(concat!("streamer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.without_url().to_string())?;
        Ok(Self {
            signal,
            client,
            runtime: Handle::try_current().map_err(|error| error.to_string())?,
            said: Arc::default(),
        })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (signal, client, said) = (self.signal, self.client.clone(), Arc::clone(&self.said));
        // The exporter calls this in a thread that has no runtime.
        let sending = self.runtime.spawn(async move {
            let sent = send(&client, request).await;
            let trouble = match &sent {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answers {}", answer.status())),
                // Without its URL, which may hold a secret.
                Err(error) if error.is_timeout() => Some("it did not answer in time".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            match trouble {
                None => said.store(false, Ordering::Relaxed),
                Some(trouble) if !said.swap(true, Ordering::Relaxed) => match signal {
                    Signal::Traces => {
                        tracing::warn!("the OTLP collector does not take spans, which are dropped: {trouble}");
                    }
                    Signal::Metrics => {
                        tracing::warn!(
                            "the OTLP collector does not take metrics, which are sent again with later values: {trouble}"
                        );
                    }
                },
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
