//! What every request has to pass, and what every answer carries.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{problem::Problem, site::Site};

/// The header that every change must carry. A page of another origin cannot send it without being asked first, and the
/// answer to that question is no.
pub(crate) const CHANGE_HEADER: &str = "x-streamer-dashboard";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Which hosts a request may name.
#[derive(Debug)]
pub(crate) enum Hosts {
    Any,
    /// These names, `localhost`, and every IP address.
    Only(Vec<String>),
}

impl Hosts {
    fn allow(&self, host: &str) -> bool {
        let Self::Only(names) = self else { return true };
        let name = without_port(host).to_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || address.parse::<IpAddr>().is_ok() || names.contains(&name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // In `::1` without brackets the last part is no port, but nobody sends that.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The host that a request names.
pub(crate) fn host(request: &Request) -> Option<&str> {
    let of_uri = request.uri().authority().map(axum::http::uri::Authority::as_str);
    of_uri.or_else(|| text(request.headers(), header::HOST.as_str()))
}

/// Lets a request in, or not; and adds what keeps the answer harmless in a browser.
pub(crate) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = match check(&site, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn check(site: &Site, request: &Request) -> Result<(), Problem> {
    let host = host(request);
    if !host.is_some_and(|host| site.hosts.allow(host)) && !matches!(site.hosts, Hosts::Any) {
        let name = host.map_or("", without_port).escape_debug().to_string();
        return Err(Problem::forbidden(format!(
            "this dashboard does not answer for the host '{name}'; start it with --allow-host {name} if that is its name"
        )));
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let headers = request.headers();
    if !headers.contains_key(CHANGE_HEADER) {
        return Err(Problem::forbidden(format!(
            "a request that changes something must have the header {CHANGE_HEADER}: 1"
        )));
    }
    if text(headers, "sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(Problem::forbidden("the request comes from a page of another site"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if origin.is_none_or(|(_, authority)| !host.is_some_and(|host| authority.eq_ignore_ascii_case(host))) {
            return Err(Problem::forbidden(
                "the request comes from a page of another origin; a proxy in front must pass the Host header on",
            ));
        }
    }
    Ok(())
}

/// Lets no change through where the dashboard is read-only.
pub(crate) async fn read_only(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    match site.read_only && changes {
        true => Problem::forbidden("this dashboard is read-only").into_response(),
        false => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_made_to_point_here_is_refused() {
        let hosts = Hosts::Only(vec!["ops.example.com".to_owned()]);
        for host in [
            "localhost:7878",
            "127.0.0.1:7878",
            "[::1]:7878",
            "10.0.0.7",
            "OPS.example.com",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7878",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }
}
