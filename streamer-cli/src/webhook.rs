//! Listeners that are webhooks: each message is POSTed, and a 2xx answer means that it is handled.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{
    Client, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use sha2::Sha256;
use streamer::{Listener, ListenerContext, ListenerError, ReceivedMessage, async_trait};

use crate::{config::Redirects, terminal};

/// How much of an answer that is not 2xx goes into the error.
const QUOTED: usize = 500;
/// How much of an answer is read at most. The connection of a longer one is given up.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How long the answer's body may take after its beginning. The status has come by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// A URL that gets messages.
pub(crate) struct Webhook {
    client: Client,
    url: Url,
    headers: HeaderMap,
    secret: Option<String>,
    redirects: Redirects,
    timeout: Option<Duration>,
}

impl Webhook {
    /// `secret` signs the body: `X-Streamer-Signature: sha256=` and the HMAC-SHA256 in hex. The error completes "cannot
    /// work: …" and holds no secret.
    pub(crate) fn new(
        url: &str,
        secret: Option<String>,
        headers: Vec<(String, String)>,
        redirects: Redirects,
        timeout: Option<Duration>,
    ) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("its URL makes no sense: {error}"))?;
        let mut more = HeaderMap::new();
        for (name, value) in headers {
            let header =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| format!("the value of its header `{name}` has characters that a header cannot have"))?;
            value.set_sensitive(true);
            more.insert(header, value);
        }
        let policy = match redirects {
            Redirects::None => Policy::none(),
            Redirects::Any => Policy::limited(MOST_REDIRECTS),
            Redirects::SameHost => Policy::custom(|attempt| {
                let same = attempt
                    .previous()
                    .first()
                    .is_some_and(|first| same_host(first, attempt.url()));
                match same && attempt.previous().len() <= MOST_REDIRECTS {
                    true => attempt.follow(),
                    false => attempt.stop(),
                }
            }),
        };
        let client = Client::builder()
            .tls_backend_preconfigured(trust()?)
            .redirect(policy)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("streamer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("no client for it could be made: {error}"))?;
        Ok(Self {
            client,
            url,
            headers: more,
            secret,
            redirects,
            timeout,
        })
    }

    async fn post(&self, message: &ReceivedMessage) -> Result<(), ListenerError> {
        let body = message.to_json();
        let mut request = self
            .client
            .post(self.url.clone())
            .header("Content-Type", "application/json")
            .header("X-Streamer-Event", header(&message.name()))
            .header("X-Streamer-Id", message.id().to_string());
        if let Some(secret) = &self.secret {
            request = request.header("X-Streamer-Signature", signature(secret, &body)?);
        }
        // After the usual ones, so that they may replace them.
        let request = request.headers(self.headers.clone()).body(body);
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let wait = retry_after(status, answer.headers());
        let mut text = format!("the webhook answered {status}");
        if status.is_redirection() {
            text.push_str(match self.redirects {
                Redirects::None => ", and redirects are not followed",
                Redirects::SameHost => ", and redirects to another host are not followed",
                Redirects::Any => ", after too many redirects",
            });
        }
        let body = tokio::time::timeout(BODY_TIMEOUT, beginning(answer)).await;
        let body = terminal::beginning(&body.unwrap_or_default(), QUOTED);
        if !body.is_empty() {
            text = format!("{text}: {body}");
        }
        let error = ListenerError::new(text);
        Err(match wait {
            Some(wait) => error.retry_after(wait),
            None => error,
        })
    }

    fn unreachable(&self, error: reqwest::Error) -> ListenerError {
        // Without its URL, which may hold a secret.
        let error = error.without_url();
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        let reason = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        let url = streamer::shown_url(self.url.as_str());
        ListenerError::new(format!("the webhook {url} could not be reached: {reason}"))
    }
}

#[async_trait]
impl Listener for Webhook {
    async fn handle(&self, message: &ReceivedMessage, _: &ListenerContext) -> Result<(), ListenerError> {
        let Some(limit) = self.timeout else {
            return self.post(message).await;
        };
        tokio::time::timeout(limit, self.post(message))
            .await
            .unwrap_or_else(|_| {
                Err(ListenerError::new(format!(
                    "the webhook {} did not answer within {} (`timeout` says how long it may take)",
                    streamer::shown_url(self.url.as_str()),
                    humantime::format_duration(limit)
                )))
            })
    }
}

/// The beginning of an answer's body. What cannot be read is not missed: the status says enough.
async fn beginning(mut answer: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < LONGEST_ANSWER
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(LONGEST_ANSWER - body.len())]);
    }
    body
}

/// What an overloaded server says about the next attempt: seconds, or a date.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let until = SystemTime::try_from(date.timestamp()).ok()?;
    until.duration_since(SystemTime::now()).ok()
}

fn same_host(one: &Url, other: &Url) -> bool {
    (one.scheme(), one.host(), one.port_or_known_default())
        == (other.scheme(), other.host(), other.port_or_known_default())
}

/// Which certificates are trusted: the roots that come with the program.
pub(crate) fn trust() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| format!("TLS cannot be used: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// `sha256=` and the HMAC-SHA256 of `body` in lower-case hex.
fn signature(secret: &str, body: &str) -> Result<String, ListenerError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(body.as_bytes());
    Ok(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

/// An event's name as the value of a header, which holds visible ASCII only.
fn header(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_rfc_4231() {
        // Test case 2.
        let signed = signature("Jefe", "what do ya want for nothing?").map_err(|error| error.to_string());
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed.as_deref(), Ok(expected));
    }

    #[test]
    fn an_overloaded_server_says_when_to_come_again() {
        let wait = |status, text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(status, &headers)
        };
        assert_eq!(wait(StatusCode::TOO_MANY_REQUESTS, "3"), Some(Duration::from_secs(3)));
        assert_eq!(
            wait(StatusCode::SERVICE_UNAVAILABLE, " 120 "),
            Some(Duration::from_secs(120))
        );
        let far = wait(StatusCode::SERVICE_UNAVAILABLE, "Fri, 31 Dec 2100 23:59:59 GMT");
        assert!(far.is_some_and(|wait| wait > Duration::from_secs(86_400)));
        for text in ["Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-3"] {
            assert_eq!(wait(StatusCode::TOO_MANY_REQUESTS, text), None, "{text}");
        }
        assert_eq!(wait(StatusCode::INTERNAL_SERVER_ERROR, "3"), None);
    }

    #[test]
    fn a_host_is_its_scheme_name_and_port() {
        let url = |text| Url::parse(text).expect("a URL");
        assert!(same_host(&url("https://a.example/x"), &url("https://a.example:443/y")));
        for other in ["http://a.example/", "https://b.example/", "https://a.example:8443/"] {
            assert!(!same_host(&url("https://a.example/"), &url(other)), "{other}");
        }
    }
}
