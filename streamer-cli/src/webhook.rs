//! Listeners that are webhooks: each message is POSTed, and a 2xx answer means that it is handled.

use std::{io::Read as _, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use streamer::{Context, Listener, ListenerError, ReceivedMessage, async_trait};
use ureq::Agent;

use crate::{config::without_password, output};

/// How much of an answer that is not 2xx goes into the error.
const QUOTED: usize = 500;

/// A URL that gets messages.
pub(crate) struct Webhook {
    agent: Agent,
    url: String,
    secret: Option<String>,
    timeout: Option<Duration>,
}

impl Webhook {
    /// `secret` signs the body: `X-Streamer-Signature: sha256=` and the HMAC-SHA256 in hex.
    pub(crate) fn new(url: String, secret: Option<String>, timeout: Option<Duration>) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(timeout)
            .http_status_as_error(false)
            // A redirect would send the body, and its signature, to somebody else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("streamer/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self {
            agent,
            url,
            secret,
            timeout,
        }
    }
}

#[async_trait]
impl Listener for Webhook {
    async fn handle(&self, message: &ReceivedMessage, _: &Context) -> Result<(), ListenerError> {
        let body = message.to_json();
        let mut request = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("X-Streamer-Event", header(&message.name()))
            .header("X-Streamer-Id", message.id().to_string());
        if let Some(secret) = &self.secret {
            request = request.header("X-Streamer-Signature", signature(secret, &body)?);
        }
        let answered = tokio::task::spawn_blocking(move || -> Result<_, ureq::Error> {
            let mut answer = request.send(body)?;
            let mut beginning = Vec::new();
            if !answer.status().is_success() {
                // The status says enough when the body cannot be read.
                let _ = answer
                    .body_mut()
                    .as_reader()
                    .take(4 * QUOTED as u64)
                    .read_to_end(&mut beginning);
            }
            Ok((answer.status(), beginning))
        });
        match answered.await? {
            Ok((status, _)) if status.is_success() => Ok(()),
            Ok((status, body)) => {
                let mut text = format!("the webhook answered {status}");
                if status.is_redirection() {
                    text.push_str(", and redirects are not followed");
                }
                let body = output::beginning(&body, QUOTED);
                if !body.is_empty() {
                    text = format!("{text}: {body}");
                }
                Err(ListenerError::new(text))
            }
            Err(error) => {
                let url = without_password(&self.url);
                Err(ListenerError::new(match (error, self.timeout) {
                    (ureq::Error::Timeout(_), Some(limit)) => format!(
                        "the webhook {url} did not answer within {} (`timeout` says how long it may take)",
                        humantime::format_duration(limit)
                    ),
                    (error, _) => format!("the webhook {url} could not be reached: {error}"),
                }))
            }
        }
    }
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
    use super::signature;

    #[test]
    fn the_signature_is_the_one_of_rfc_4231() {
        // Test case 2.
        let signed = signature("Jefe", "what do ya want for nothing?").map_err(|error| error.to_string());
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed.as_deref(), Ok(expected));
    }
}
