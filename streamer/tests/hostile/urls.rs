//! URLs, of which the secrets are never shown.

use streamer::shown_url;

use crate::corpus;

/// Around whatever comes of the mutation: it must not be seen.
const SECRET: &str = "Zq7xW";

#[test]
fn a_secret_is_not_shown_wherever_it_stands_and_whatever_is_in_it() {
    let corpus = corpus("urls.txt").with_tokens(&[
        "SECRET",
        "@",
        "://",
        ":",
        "/",
        "?",
        "#",
        "%40",
        "&password=SECRET",
        "user",
        "redis",
    ]);
    corpus.check(10_000, |text| {
        let text = String::from_utf8_lossy(text);
        // A mutation may have made a host or a file of it; where it still is a password, it stands between these.
        let url = text.replace("SECRET", SECRET);
        let shown = shown_url(&url);
        for mark in [":SECRET@", "password=SECRET", "pass=SECRET", "api_key=SECRET"] {
            let odd = text.matches("SECRET").count() != text.matches(mark).count() || text.is_empty();
            assert!(odd || !shown.contains(SECRET), "{url} is shown as {shown}");
        }
        (
            shown.contains("***"),
            shown.split(':').next().map(str::len),
            shown.matches(['/', '@', '?', '#']).count(),
        )
    });
}
