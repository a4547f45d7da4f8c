//! URLs as they may be printed: what is not known to be harmless is masked.

/// What stands for a part that is not shown.
const MASK: &str = "***";

/// Query parameters whose values say nothing that is worth hiding. The values of all others are masked.
const HARMLESS: [&str; 12] = [
    "db",
    "user",
    "ca",
    "cert",
    "insecure",
    "sentinel_user",
    "synchronous",
    "busy_timeout",
    "max_size",
    "mode",
    "sslmode",
    "ssl-mode",
];

/// A URL that may be printed, logged or sent to a colleague.
///
/// A part is shown only where it is known to be harmless: the scheme, a user name that comes with a password or is that of
/// PostgreSQL or MySQL, hosts, a database or a file, and a few query parameters. Everything else, and every URL that can be read in two ways, is
/// `***`. It need not be a URL that can be parsed: then nearly nothing of it is shown.
///
/// ```
/// use streamer::shown_url;
///
/// assert_eq!(shown_url("redis://bob:secret@host:6379/2"), "redis://bob:***@host:6379/2");
/// assert_eq!(shown_url("https://example.com/hook?api_key=secret"), "https://example.com/hook?api_key=***");
/// assert_eq!(shown_url("redis://bob:se?cr@et@host"), "redis://***");
/// ```
#[must_use]
pub fn shown_url(url: &str) -> String {
    if url == "memory:" || url == "memory://" {
        return url.to_owned();
    }
    let Some((scheme, rest)) = url.split_once(':') else {
        return if is_path(url) { url.to_owned() } else { MASK.to_owned() };
    };
    if !is_scheme(scheme) {
        return MASK.to_owned();
    }
    // `unix:/run/redis.sock` needs no slashes.
    let (slashes, rest) = match rest.strip_prefix("//") {
        Some(rest) => ("//", rest),
        None if is_file(scheme) => ("", rest),
        None => return format!("{scheme}:{MASK}"),
    };
    let hidden = || format!("{scheme}:{slashes}{MASK}");
    let (place, fragment) = rest
        .split_once('#')
        .map_or((rest, None), |(place, fragment)| (place, Some(fragment)));
    let (place, query) = place
        .split_once('?')
        .map_or((place, None), |(place, query)| (place, Some(query)));
    // A password with a raw `?` or `#`: what looks like the query is a part of it.
    if [query, fragment].iter().flatten().any(|part| part.contains('@')) {
        return hidden();
    }
    let place = match is_file(scheme) {
        true => Some(shown_file(place)),
        false => shown_place(scheme, place),
    };
    let Some(place) = place else { return hidden() };
    let mut shown = format!("{scheme}:{slashes}{place}");
    if let Some(query) = query {
        let pairs = query.split('&').map(shown_pair).collect::<Vec<_>>();
        shown = format!("{shown}?{}", pairs.join("&"));
    }
    match fragment {
        Some("insecure") => shown + "#insecure",
        Some(_) => shown + "#" + MASK,
        None => shown,
    }
}

/// A path. A login before it, and parameters without a `?`, are mistakes, and secrets all the same.
fn shown_file(place: &str) -> String {
    let (login, path) = match place.rsplit_once('@') {
        Some((login, path)) if login.contains(':') => (format!("{MASK}@"), path),
        _ => (String::new(), place),
    };
    match path.find('=') {
        Some(equals) => {
            let name = path[..equals].rfind(['/', '&', ';', ',']).map_or(0, |at| at + 1);
            format!("{login}{}{MASK}", &path[..name])
        }
        None => login + path,
    }
}

/// Login, hosts and path; `None` where they cannot be told apart.
fn shown_place(scheme: &str, place: &str) -> Option<String> {
    // A password may hold `/` and `@` unescaped, so everything before the last `@` is taken for the login.
    let (login, hosts) = match place.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, place),
    };
    let (hosts, path) = match hosts.find('/') {
        Some(at) => hosts.split_at(at),
        None => (hosts, ""),
    };
    if !hosts
        .split(',')
        .all(|host| is_host(host) || host.is_empty() && login.is_none())
    {
        return None;
    }
    let login = match login.map(|login| (login, login.split_once(':'))) {
        None => String::new(),
        // Elsewhere a name without a password is often a token.
        Some((user, None)) if is_database(scheme) && is_word(user) => format!("{user}@"),
        Some((_, Some((user, password)))) if !password.is_empty() && (user.is_empty() || is_word(user)) => {
            format!("{user}:{MASK}@")
        }
        Some(_) => format!("{MASK}@"),
    };
    let path = path
        .split('/')
        .map(|part| match part.is_empty() || is_plain_part(part, scheme) {
            true => part,
            false => MASK,
        });
    Some(format!("{login}{hosts}{}", path.collect::<Vec<_>>().join("/")))
}

fn shown_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, value)) if HARMLESS.contains(&name) && value.chars().all(is_plain) => pair.to_owned(),
        Some((name, _)) if is_name(name) => format!("{name}={MASK}"),
        None if HARMLESS.contains(&pair) => pair.to_owned(),
        _ => MASK.to_owned(),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 20
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}

/// Schemes whose rest is the path of a file.
fn is_file(scheme: &str) -> bool {
    ["sqlite", "file", "unix", "redis+unix"].contains(&scheme)
}

/// Schemes of databases, whose users may need no password.
fn is_database(scheme: &str) -> bool {
    ["postgres", "postgresql", "mysql", "mariadb"].contains(&scheme)
}

/// A file without a scheme, as an archive may be named.
fn is_path(text: &str) -> bool {
    let name = text.rsplit('/').next().unwrap_or_default();
    !text.contains(['@', '?', '#', '=']) && (text.contains('/') || name.ends_with(".db") || name.ends_with(".sqlite"))
}

/// A name or an address, perhaps with a port.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    };
    name && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

/// A part of a path. On the web a part is often a secret, unless it is an ordinary word; on Redis it is a number.
fn is_plain_part(part: &str, scheme: &str) -> bool {
    match scheme {
        "http" | "https" => part.len() <= 24 && part.chars().all(|c| c.is_ascii_lowercase() || "-_".contains(c)),
        "redis" | "rediss" | "redis-cluster" | "rediss-cluster" => part.chars().all(|c| c.is_ascii_digit()),
        _ => is_word(part),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 30 && text.chars().all(|c| c.is_ascii_alphabetic() || "-_".contains(c))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._/%~".contains(c)
}

/// What to say about a URL that cannot be read: nothing, unless there is a login in it.
pub(crate) fn encoding_hint(url: &str) -> &'static str {
    match url.contains('@') {
        true => {
            " (in a user name or password, write '/', '?', '#', '@', ':' and '%' percent-encoded: %2F, %3F, %23, %40, \
             %3A and %25)"
        }
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::shown_url;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379/2", "redis://127.0.0.1:6379/2"),
            ("redis://:se/cr@et@host:1", "redis://:***@host:1"),
            ("rediss://bob:secret@host", "rediss://bob:***@host"),
            (
                "redis-sentinel://u:p@a:1,b:2/main/0",
                "redis-sentinel://u:***@a:1,b:2/main/0",
            ),
            (
                "redis-sentinel://127.0.0.1:1/main?sentinel_user=bob&sentinel_password=Hunter2",
                "redis-sentinel://127.0.0.1:1/main?sentinel_user=bob&sentinel_password=***",
            ),
            (
                "unix:///run/redis.sock?db=1&user=u&pass=secret",
                "unix:///run/redis.sock?db=1&user=u&pass=***",
            ),
            ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
            (
                "rediss://host?ca=/etc/ca.pem&insecure",
                "rediss://host?ca=/etc/ca.pem&insecure",
            ),
            ("rediss://host#insecure", "rediss://host#insecure"),
            ("sqlite://shop.db", "sqlite://shop.db"),
            (
                "sqlite:///a@b/x.db?synchronous=full",
                "sqlite:///a@b/x.db?synchronous=full",
            ),
            ("unix://bob:secret@/run/redis.sock", "unix://***@/run/redis.sock"),
            ("unix:///run/redis.sock&pass=secret", "unix:///run/redis.sock&***"),
            ("archive.db", "archive.db"),
            ("memory:", "memory:"),
            (
                "https://example.com/hook?api_key=secret&to=me",
                "https://example.com/hook?api_key=***&to=***",
            ),
            (
                "https://hooks.slack.com/services/T00/B00/xYz",
                "https://hooks.slack.com/services/***/***/***",
            ),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
            (
                "postgres://u:secret@host/db?sslmode=require",
                "postgres://u:***@host/db?sslmode=require",
            ),
            ("postgres://shop@host/db", "postgres://shop@host/db"),
            ("mysql://sec+ret@host/db", "mysql://***@host/db"),
            ("mariadb://:secret@host/db", "mariadb://:***@host/db"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }

    #[test]
    fn whatever_cannot_be_read_in_one_way_hides_all_of_it() {
        for url in [
            "redis://:Hunt?er2@host",
            "redis://:Hunt#er2@host",
            "redis://:Hunter2#@host/0",
            "redis://bob:Hunter2",
            "redis://Hunter2@host",
            "redis://Hunter2:@host",
            "redis:Hunter2@host",
            "bob:Hunter2@host",
            "Hunter2@host",
            "Hunter2",
            "redis-sentinel://h:1/main?sentinel_password=a@Hunter2",
            "https://example.com/Hunter2",
            "https://example.com/?Hunter2",
            "https://example.com/#Hunter2",
            "redis://host?db=Hunter2@",
            "redis://bob:p@host:Hunter2/",
        ] {
            let shown = shown_url(url);
            assert!(
                !shown.contains("unt") && !shown.contains("er2"),
                "{url} is shown as {shown}"
            );
            assert!(shown.contains("***"), "{shown}");
        }
    }
}
