//! `[listeners.NAME] webhook`: a URL that gets messages.

use std::path::PathBuf;

use super::{
    definitions::{What, folder_of},
    file::Table,
};
use crate::exit::Failure;

/// Where the value of a header is.
#[derive(Clone, Debug)]
pub(crate) enum HeaderValue {
    Text(String),
    /// In this environment variable.
    Env(String),
    /// In this file, without the line break at its end.
    File(PathBuf),
}

/// Which redirects a webhook may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirects {
    None,
    /// To the same scheme, host and port.
    SameHost,
    Any,
}

/// A URL and no more. The error does not quote it.
pub(crate) fn plain(url: &str) -> Result<What, String> {
    if !is_web(url) {
        return Err(format!(
            "--webhook must be an http:// or https:// URL{}",
            encoding_hint(url)
        ));
    }
    Ok(What::Webhook {
        url: url.to_owned(),
        secret_env: None,
        headers: Vec::new(),
        redirects: Redirects::None,
    })
}

fn is_web(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

fn encoding_hint(url: &str) -> &'static str {
    match url.contains('@') {
        true => "; in a user name or password, write '/', '?', '#', '@' and ':' percent-encoded",
        false => "",
    }
}

/// Reads the table of a listener that is a webhook.
pub(super) fn read(table: &Table<'_>, url: String) -> Result<What, Failure> {
    if !is_web(&url) {
        let span = table.find("webhook").map_or(0..0, |(span, _)| span);
        // The URL is not quoted: it may hold a password.
        let hint = encoding_hint(&url);
        let text = format!("`{}` must be an http:// or https:// URL{hint}", table.full("webhook"));
        return Err(table.file.complain(span, &text));
    }
    let secret_env = table.get::<String>("secret_env")?.map(|(name, _)| name);
    if let Some(name) = &secret_env
        && !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        let span = table.find("secret_env").map_or(0..0, |(span, _)| span);
        let text = format!(
            "`{}` must be the name of an environment variable",
            table.full("secret_env")
        );
        return Err(table.file.complain(span, &text));
    }
    let redirects = match table.get::<String>("redirects")? {
        None => Redirects::None,
        Some((redirects, _)) => match redirects.as_str() {
            "none" => Redirects::None,
            "same-host" => Redirects::SameHost,
            "any" => Redirects::Any,
            other => {
                let span = table.find("redirects").map_or(0..0, |(span, _)| span);
                let text = format!(
                    "`{}` must be \"none\", \"same-host\" or \"any\", not {other:?}",
                    table.full("redirects")
                );
                return Err(table.file.complain(span, &text));
            }
        },
    };
    Ok(What::Webhook {
        url,
        secret_env,
        headers: headers(table)?,
        redirects,
    })
}

/// `headers = { Name = "text", Authorization = { env = "TOKEN" }, X-Key = { file = "key.txt" } }`
fn headers(table: &Table<'_>) -> Result<Vec<(String, HeaderValue)>, Failure> {
    let Some(headers) = table.table("headers")? else {
        return Ok(Vec::new());
    };
    let full = table.full("headers");
    let headers = headers.called(&full);
    let mut found = Vec::new();
    for (name, span) in headers.keys() {
        if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
            let text = format!("`{}` is no name of a header", headers.full(name));
            return Err(table.file.complain(span, &text));
        }
        let value = match headers.find(name) {
            Some((_, value)) if value.as_table().is_some() => {
                let Some(place) = headers.table(name)? else { continue };
                let full = headers.full(name);
                let place = place.called(&full);
                place.only(&["env", "file"])?;
                match (place.get::<String>("env")?, place.get::<String>("file")?) {
                    (Some((variable, _)), None) => HeaderValue::Env(variable),
                    (None, Some((file, _))) => HeaderValue::File(folder_of(table).join(file)),
                    _ => {
                        let text = format!("`{full}` needs one of `env` and `file`");
                        return Err(table.file.complain(span, &text));
                    }
                }
            }
            _ => match headers.get::<String>(name)? {
                Some((text, _)) => HeaderValue::Text(text),
                None => continue,
            },
        };
        found.push((name.to_owned(), value));
    }
    Ok(found)
}
