//! URLs without their passwords.

/// A URL that may be printed. It need not be one that the `url` crate reads: a Sentinel or Cluster URL has many hosts.
pub(crate) fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (front, query) = rest
        .split_once('?')
        .map_or((rest, None), |(front, query)| (front, Some(query)));
    // A password may hold `/` unescaped, so everything before the last `@` is taken for the user.
    let front = match front.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => format!("{user}@{host}"),
        },
        None => front.to_owned(),
    };
    let mut shown = if scheme.is_empty() {
        front
    } else {
        format!("{scheme}://{front}")
    };
    if let Some(query) = query {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if ["pass", "password", "token", "secret", "key"].contains(&name) => format!("{name}=***"),
            _ => pair.to_owned(),
        });
        shown.push('?');
        shown.push_str(&pairs.collect::<Vec<_>>().join("&"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::without_password;

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
                "unix:///run/redis.sock?db=1&user=u&pass=secret",
                "unix:///run/redis.sock?db=1&user=u&pass=***",
            ),
            ("sqlite://shop.db", "sqlite://shop.db"),
            ("memory:", "memory:"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
