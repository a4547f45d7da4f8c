//! The guides are a book: each has a place in its contents, and every link between documents leads somewhere.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The documents of the project, each with its text without blocks of code.
fn documents() -> BTreeMap<PathBuf, String> {
    let folder = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = folder(root()).chain(folder(root().join("docs")));
    let documents = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    documents
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let prose = text.split("```").step_by(2).collect::<String>();
            (file.canonicalize().unwrap(), prose)
        })
        .collect()
}

/// The targets of the links in a document, and of its pictures.
fn links(prose: &str) -> impl Iterator<Item = &str> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
}

/// What a heading is called in a link, as GitHub and mdBook have it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let documents = documents();
    let anchors = |file: &Path| -> Option<BTreeSet<String>> {
        let prose = documents.get(file)?;
        Some(prose.lines().filter(|line| line.starts_with('#')).map(anchor).collect())
    };
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (file, prose) in &documents {
        for link in links(prose) {
            seen += 1;
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => file.clone(),
                path => file.parent().unwrap().join(path),
            };
            let Ok(target) = target.canonicalize() else {
                wrong.push(format!("{}: {link} is not there", file.display()));
                continue;
            };
            if !heading.is_empty() && anchors(&target).is_some_and(|anchors| !anchors.contains(heading)) {
                wrong.push(format!("{}: {link} names no heading", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 200, "only {seen} links were found: are they read at all?");
}

#[test]
fn every_guide_is_in_the_contents_of_the_book_and_in_the_list_of_guides() {
    let documents = documents();
    let docs = root().join("docs").canonicalize().unwrap();
    let names = |list: &str| -> BTreeSet<String> {
        let prose = &documents[&docs.join(list)];
        links(prose)
            .map(|link| link.split('#').next().unwrap().to_owned())
            .collect()
    };
    let guides = documents.keys().filter(|file| file.parent() == Some(&*docs));
    let guides = guides.map(|file| file.file_name().unwrap().to_string_lossy().into_owned());
    let guides = guides.filter(|name| name != "SUMMARY.md").collect::<BTreeSet<_>>();
    assert!(guides.len() > 20, "{guides:?}");
    assert_eq!(names("SUMMARY.md"), guides, "docs/SUMMARY.md");
    let listed = names("README.md");
    let missing: Vec<_> = guides
        .iter()
        .filter(|name| *name != "README.md" && !listed.contains(*name))
        .collect();
    assert!(missing.is_empty(), "docs/README.md lacks {missing:?}");
}
