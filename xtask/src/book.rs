//! The guides as a book: `mdbook` makes it, and every link in its pages leads somewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::tools;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Where the book is, as `docs/book.toml` says. What its pages link to outside of `docs` is copied into the folder above, so that
/// these links lead somewhere, too.
const BOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/book/docs");

/// Makes the book, and fails when a link of a page leads nowhere.
pub(crate) fn build() -> Result<()> {
    let Some(mdbook) = tools::MDBOOK.find()? else {
        return Ok(());
    };
    let beside = Path::new(BOOK).join("..");
    if beside.exists() {
        fs::remove_dir_all(&beside).context("could not remove the book that was there")?;
    }
    crate::print("$ mdbook build docs\n");
    let status = Command::new(&mdbook)
        .args(["build", "docs"])
        .current_dir(ROOT)
        .status()
        .with_context(|| format!("could not start {}", mdbook.display()))?;
    ensure!(status.success(), "`mdbook build docs` failed ({status})");
    let pages = pages()?;
    let ids: BTreeMap<&String, BTreeSet<&str>> = pages
        .iter()
        .map(|(name, html)| (name, attributes(html, "id").collect()))
        .collect();
    let (mut broken, mut seen) = (Vec::new(), 0);
    for (name, html) in &pages {
        for link in links(html) {
            seen += 1;
            if let Err(error) = follow(name, &link, &ids) {
                broken.push(format!("{name}: {link}: {error:#}"));
            }
        }
    }
    ensure!(
        broken.is_empty(),
        "links of the book lead nowhere:\n{}",
        broken.join("\n")
    );
    ensure!(
        seen > 200,
        "only {seen} links were found in the book: are they read at all?"
    );
    crate::print(&format!(
        "The book of {} pages is in target/book/docs; its {seen} links lead somewhere.\n",
        pages.len()
    ));
    Ok(())
}

/// The pages of guides, by their names.
fn pages() -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    for file in fs::read_dir(BOOK).with_context(|| format!("could not read {BOOK}"))? {
        let file = file?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Parts of other pages, and all of them in one.
        if name.ends_with(".html") && !["404.html", "print.html", "toc.html"].contains(&name.as_str()) {
            pages.insert(name, fs::read_to_string(&file)?);
        }
    }
    ensure!(pages.len() > 20, "the book has only {} pages", pages.len());
    Ok(pages)
}

/// Where the text of a page leads to in the project; not its navigation, which `mdbook` writes.
fn links(html: &str) -> Vec<String> {
    let text = html.split_once("<main>").map_or("", |(_, rest)| rest);
    let text = text.split_once("</main>").map_or("", |(text, _)| text);
    let all = attributes(text, "href").chain(attributes(text, "src"));
    all.filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
        .map(|link| link.replace("&amp;", "&"))
        .collect()
}

/// The values of an attribute.
fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!(" {name}=\"");
    let mut rest = html;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&begin)?;
        let (value, after) = after.split_once('"')?;
        rest = after;
        Some(value)
    })
}

fn follow(page: &str, link: &str, ids: &BTreeMap<&String, BTreeSet<&str>>) -> Result<()> {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { page } else { path };
    if let Some(ids) = ids.get(&target.to_owned()) {
        ensure!(
            heading.is_empty() || ids.contains(heading),
            "the page has no such heading"
        );
        return Ok(());
    }
    let file = Path::new(BOOK).join(target);
    if file.exists() {
        return Ok(());
    }
    let Some(outside) = outside(target) else {
        bail!("there is no such file in the book");
    };
    let from = Path::new(ROOT).join(&outside);
    ensure!(from.is_file(), "there is no such file in the project");
    let to = Path::new(BOOK).join("..").join(&outside);
    fs::create_dir_all(to.parent().unwrap_or(&to))?;
    fs::copy(&from, &to).with_context(|| format!("could not copy {}", from.display()))?;
    Ok(())
}

/// The path of a link from `docs` to a file beside it.
fn outside(target: &str) -> Option<PathBuf> {
    let rest = Path::new(target).strip_prefix("..").ok()?;
    let stays = rest.components().all(|part| matches!(part, Component::Normal(_)));
    stays.then(|| rest.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may
mod tests {
    use super::*;

    #[test]
    fn links_and_headings_are_read_from_a_page() {
        let html = "<a href=\"x.html\">nav</a><main><h1 id=\"one\">One</h1><a class=\"y\" href=\"b.html#two&amp;three\">b</a>\
                    <a href=\"https://example.com\">c</a><img src=\"d.svg\"></main><script src=\"e.js\"></script>";
        assert_eq!(links(html), ["b.html#two&three", "d.svg"]);
        assert_eq!(attributes(html, "id").collect::<Vec<_>>(), ["one"]);
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        let page = "a.html".to_owned();
        let ids = BTreeMap::from([(&page, BTreeSet::from(["one"]))]);
        let follow = |link: &str| follow("a.html", link, &ids).map_err(|error| error.to_string());
        assert_eq!(follow("#one"), Ok(()));
        assert_eq!(follow("a.html"), Ok(()));
        assert!(follow("#two").unwrap_err().contains("heading"));
        assert!(follow("b.html").unwrap_err().contains("in the book"));
        assert!(follow("../no/such/file.rs").unwrap_err().contains("in the project"));
        assert!(follow("../../outside").unwrap_err().contains("in the book"));
    }
}
