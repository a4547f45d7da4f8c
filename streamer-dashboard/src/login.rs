//! The token, and the cookie of a browser that gave it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{AUDIT_TARGET, Actor, guard, params::Body, problem::Problem, site::Site};

/// How long a browser stays logged in.
const STAYS: Duration = Duration::from_secs(12 * 3600);
/// How many browsers are logged in at once; the one that logged in first leaves.
const MOST: usize = 1_000;
/// The time until a wrong token is refused, which limits guesses to two a second.
const DELAY: Duration = Duration::from_millis(500);
/// The fewest characters of a token.
const SHORTEST: usize = 16;
const COOKIE: &str = "streamer_dashboard";

/// The secret that lets a browser in. Only its hash is kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

/// A text that cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidToken(usize);

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the token of the dashboard has {} characters and needs at least {SHORTEST}: make one with `openssl rand -hex 32`",
            self.0
        )
    }
}

impl std::error::Error for InvalidToken {}

impl Token {
    /// A token; space around it does not count.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`] when it is shorter than 16 characters.
    pub fn new(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        match text.chars().count() {
            count @ 0..SHORTEST => Err(InvalidToken(count)),
            _ => Ok(Self(hash(text))),
        }
    }

    fn is(&self, text: &str) -> bool {
        self.0.ct_eq(&hash(text.trim())).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Who is logged in.
#[derive(Debug)]
pub(crate) struct Login {
    token: Token,
    /// The hash of each cookie's value, and when it was given.
    sessions: Mutex<HashMap<[u8; 32], Instant>>,
    /// Held while a wrong token is being refused.
    refusing: tokio::sync::Mutex<()>,
}

impl Login {
    pub(crate) fn new(token: Token) -> Self {
        Self {
            token,
            sessions: Mutex::default(),
            refusing: tokio::sync::Mutex::default(),
        }
    }

    /// Whether a request comes from somebody who gave the token.
    pub(crate) fn knows(&self, request: &Request) -> bool {
        let bearer = request.headers().get(header::AUTHORIZATION);
        let bearer = bearer.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if bearer.is_some_and(|token| self.token.is(token)) {
            return true;
        }
        let name = cookie_name(guard::host(request));
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        cookies(request.headers(), &name)
            .any(|value| sessions.get(&hash(value)).is_some_and(|since| since.elapsed() < STAYS))
    }

    fn begin_session(&self) -> String {
        let value = hex::encode(rand::random::<[u8; 32]>());
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, since| since.elapsed() < STAYS);
        if sessions.len() >= MOST
            && let Some(oldest) = sessions.iter().min_by_key(|(_, since)| **since).map(|(key, _)| *key)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(hash(&value), Instant::now());
        value
    }

    fn end_session(&self, headers: &HeaderMap, name: &str) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for value in cookies(headers, name) {
            sessions.remove(&hash(value));
        }
    }
}

/// Cookies do not tell ports apart, so the name does: two dashboards on one machine are two logins.
fn cookie_name(host: Option<&str>) -> String {
    let port = host.and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
    match port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(port) => format!("{COOKIE}_{port}"),
        None => COOKIE.to_owned(),
    }
}

fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs.filter_map(move |pair| match pair.trim().split_once('=') {
        Some((key, value)) if key == name => Some(value),
        _ => None,
    })
}

/// Lets through who is logged in.
pub(crate) async fn require(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    match &site.login {
        Some(login) if !login.knows(&request) => {
            Problem::new(StatusCode::UNAUTHORIZED, "log in with the token of the dashboard first").into_response()
        }
        _ => next.run(request).await,
    }
}

#[derive(Deserialize)]
pub(crate) struct Given {
    token: String,
}

/// `POST api/login`
pub(crate) async fn login(
    State(site): State<Arc<Site>>,
    actor: Actor,
    headers: HeaderMap,
    Body(given): Body<Given>,
) -> Result<Response, Problem> {
    let Some(login) = &site.login else {
        return Ok(Json(json!({"logged_in": true})).into_response());
    };
    if !login.token.is(&given.token) {
        // One after the other, so that many connections do not try more than one.
        let turn = login.refusing.lock().await;
        tokio::time::sleep(DELAY).await;
        drop(turn);
        tracing::warn!(target: AUDIT_TARGET, action = "login", actor = actor.0, "Dashboard: a wrong token was refused.");
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "that is not the token"));
    }
    let value = login.begin_session();
    tracing::info!(target: AUDIT_TARGET, action = "login", actor = actor.0, "Dashboard: logged in.");
    Ok(with_cookie(
        &headers,
        &value,
        STAYS.as_secs(),
        &json!({"logged_in": true}),
    ))
}

/// `POST api/logout`
pub(crate) async fn logout(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if let Some(login) = &site.login {
        login.end_session(&headers, &cookie_name(host));
    }
    with_cookie(&headers, "", 0, &json!({"logged_in": false}))
}

fn with_cookie(headers: &HeaderMap, value: &str, seconds: u64, body: &serde_json::Value) -> Response {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let name = cookie_name(text(header::HOST));
    // A browser that came by TLS says so in its origin, also where a proxy ends the TLS.
    let secure = match text(header::ORIGIN).is_some_and(|origin| origin.starts_with("https://")) {
        true => "; Secure",
        false => "",
    };
    let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut response = Json(body).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_never_shown() {
        assert_eq!(Token::new(" short ").map(|_| ()), Err(InvalidToken(5)));
        let token = Token::new("0123456789abcdef\n").expect("long enough");
        assert!(token.is("0123456789abcdef") && !token.is("0123456789abcdeF"));
        assert_eq!(format!("{token:?}"), "Token(***)");
    }
}
