//! What this user may do with a SQLite file, and why one cannot be opened: SQLite says "unable to open database file" to
//! nearly everything.
//!
//! Nothing here opens the file: a process that closes any descriptor of a file loses all locks that it holds on it, also
//! those of SQLite's connections.

use std::{
    fs,
    io::ErrorKind,
    path::{self, Path},
};

#[cfg(target_os = "linux")]
use rustix::fs::{Access, access};

/// Whether this user may read the file.
#[cfg(target_os = "linux")]
pub(crate) fn may_read(path: &Path) -> bool {
    access(path, Access::READ_OK).is_ok()
}

/// Whether this user may write the file.
#[cfg(all(target_os = "linux", feature = "archive-sqlite"))]
pub(crate) fn may_write(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

/// Elsewhere it is not known before it is tried.
#[cfg(not(target_os = "linux"))]
pub(crate) fn may_read(_: &Path) -> bool {
    true
}

/// Whether anybody may write the file.
#[cfg(all(not(target_os = "linux"), feature = "archive-sqlite"))]
pub(crate) fn may_write(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.permissions().readonly())
}

/// What is in the way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// `IsADirectory`, `NotADirectory` or `PermissionDenied`; `NotFound` for a directory or a file that is missing.
    pub(crate) kind: ErrorKind,
    /// What it is, and what to do about it.
    pub(crate) reason: String,
}

/// What is in the way of a file at this path, where the file system shows it. A file that is missing is none: it could be made.
pub(crate) fn obstacle(path: &Path) -> Option<Obstacle> {
    let found = |kind, reason| Some(Obstacle { kind, reason });
    // A relative path says nothing about where the program looked.
    let path = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let shown = path.display();
    let denied = || {
        let reason = format!("this user may not read {shown}: give it the right to");
        found(ErrorKind::PermissionDenied, reason)
    };
    match fs::metadata(&path).map_err(|error| error.kind()) {
        Ok(metadata) if metadata.is_dir() => found(
            ErrorKind::IsADirectory,
            format!("{shown} is a directory: name a file in it"),
        ),
        Ok(_) if !may_read(&path) => denied(),
        Ok(_) => None,
        Err(ErrorKind::PermissionDenied) => denied(),
        Err(kind @ (ErrorKind::NotFound | ErrorKind::NotADirectory)) => {
            let parent = path.parent()?;
            let (name, is_missing) = (parent.display(), fs::metadata(parent).is_err());
            match kind {
                ErrorKind::NotADirectory => found(kind, format!("{name} is no directory: name another file")),
                _ if is_missing => found(kind, format!("the directory {name} is missing: create it")),
                _ => None,
            }
        }
        Err(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_of_a_file_is_told_and_how_to_clear_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        let kind = |name: &str| obstacle(&at(name)).map(|obstacle| obstacle.kind);
        for (name, expected) in [
            ("file", None),
            ("new", None),
            ("", Some(ErrorKind::IsADirectory)),
            ("none/new", Some(ErrorKind::NotFound)),
            ("file/new", Some(ErrorKind::NotADirectory)),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
        let reason = obstacle(&at("none/new")).unwrap().reason;
        assert_eq!(
            reason,
            format!("the directory {} is missing: create it", at("none").display())
        );
        assert!(obstacle(Path::new("none/new")).unwrap().reason.contains("directory /"));
    }
}
