//! The files that the browser gets. They are compiled in; there is no build step, and nothing comes from elsewhere.

use axum::{
    extract::OriginalUri,
    http::{Uri, header},
    response::{Html, IntoResponse as _, Response},
};

use crate::problem::Problem;

const PAGE: &str = include_str!("../assets/index.html");
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($kind:ident $name:literal,)*) => {
        &[$(($name, $kind, include_str!(concat!("../assets/", $name)))),*]
    };
}

const FILES: &[(&str, &str, &str)] = files! {
    CSS "dashboard.css",
    SCRIPT "main.js",
    SCRIPT "api.js",
    SCRIPT "dom.js",
    SCRIPT "format.js",
    SCRIPT "chart.js",
    SCRIPT "dialog.js",
    SCRIPT "json.js",
    SCRIPT "overview.js",
    SCRIPT "stream.js",
    SCRIPT "entry.js",
    SCRIPT "group.js",
    SCRIPT "failed.js",
    SCRIPT "archive.js",
    SCRIPT "replay.js",
    SCRIPT "outbox.js",
    SCRIPT "doctor.js",
    SCRIPT "login.js",
};

/// The page. Its files are beside it where its address ends with a slash, else below its last part: so it works under any
/// path, also behind a proxy that takes a part of the path away.
pub(crate) async fn page(OriginalUri(uri): OriginalUri) -> Html<String> {
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    let base = match last {
        "" => "./".to_owned(),
        last => format!(
            "{}/",
            last.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
        ),
    };
    Html(PAGE.replace("{base}", &base))
}

/// A file of the page. Its name is the last part of the address: an application may have parameters in the path before it.
pub(crate) async fn file(uri: Uri) -> Response {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => ([(header::CONTENT_TYPE, *kind)], *text).into_response(),
        None => Problem::not_found("the dashboard has no such file").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_from_elsewhere_and_no_text_becomes_markup() {
        for (name, _, text) in FILES.iter().chain([&("index.html", "", PAGE)]) {
            for sign in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                // The namespace of SVG is a name, not an address.
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(sign), "{name} has {sign}");
            }
        }
        assert!(!PAGE.contains("style=") && !PAGE.contains(" onclick") && !PAGE.contains("<style"));
    }
}
