//! Files that cannot be used, as stores, archives, the outbox's databases and configurations: what is in the way is told,
//! and what to do.

use std::fs;

use crate::bench::{Bench, Ended, end, may};

/// What uses a file, and how it is told which.
const USES: [(&str, &[&str]); 3] = [
    ("STREAMER_URL", &["emit", "a", "{}"]),
    ("STREAMER_ARCHIVE_URL", &["archive", "migrate"]),
    ("STREAMER_OUTBOX_URL", &["outbox", "migrate"]),
];

/// The command fails, and says what is wrong.
fn check(ended: &Ended, expected: &str) {
    assert!(matches!(ended.code, Some(1..)), "{expected}: {ended:?}");
    assert!(ended.stderr.contains(expected), "{expected}: {ended:?}");
}

fn run(bench: &Bench, variable: &str, value: &str, arguments: &[&str]) -> Ended {
    let mut command = bench.command(arguments);
    command.env(variable, value);
    end(command)
}

#[test]
fn what_is_in_the_way_of_a_file_is_told() {
    let bench = Bench::new();
    let notes = "these are notes, not a database\n".repeat(200);
    bench.write("notes", &notes);
    fs::create_dir(bench.path("folder")).unwrap();
    let at = |name: &str| bench.path(name).display().to_string();
    for (variable, arguments) in USES {
        for (name, expected) in [
            (
                "notes",
                format!("{} is not a SQLite database: name another file", at("notes")),
            ),
            ("folder", format!("{} is a directory: name a file in it", at("folder"))),
            (
                "none/new",
                format!("the directory {} is missing: create it", at("none")),
            ),
            (
                "notes/new",
                format!("{} is no directory: name another file", at("notes")),
            ),
        ] {
            let ended = run(&bench, variable, &format!("sqlite://{}", at(name)), arguments);
            check(&ended, &expected);
        }
    }
    assert_eq!(bench.read("notes"), notes);
}

#[test]
fn the_database_of_an_application_is_not_made_by_mistake() {
    let bench = Bench::new();
    let missing = "sqlite://missing.db";
    let expected = format!(
        "{} does not exist: name the application's file, or add",
        bench.path("missing.db").display()
    );
    for arguments in [
        &["outbox", "migrate"][..],
        &["outbox", "status"],
        &["outbox", "retry", "--all"],
        &["outbox", "relay", "--once"],
    ] {
        let ended = run(&bench, "STREAMER_OUTBOX_URL", missing, arguments);
        check(&ended, &expected);
        assert_eq!(ended.code, Some(3), "{ended:?}");
    }
    assert!(!bench.path("missing.db").exists());
    // What the error says makes one, and is no secret.
    let ended = bench.run(&["outbox", "migrate", "--database", "sqlite://missing.db?mode=rwc"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    assert!(run(&bench, "STREAMER_OUTBOX_URL", missing, &["outbox", "status"]).code == Some(0));
}

/// A file that cannot be seen is not one that is missing.
#[test]
fn what_this_user_may_not_read_is_not_called_missing() {
    let bench = Bench::new();
    let closed = bench.path("closed");
    fs::create_dir(&closed).unwrap();
    let url = format!("sqlite://{}/x.db", closed.display());
    let made = run(&bench, "STREAMER_URL", &url, &["emit", "a", "{}"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let expected = format!("this user may not read {}/x.db: give it the right to", closed.display());
    for (variable, arguments) in [
        ("STREAMER_URL", &["status"][..]),
        ("STREAMER_URL", &["emit", "a", "{}"]),
        ("STREAMER_ARCHIVE_URL", &["archive", "list"]),
        ("STREAMER_OUTBOX_URL", &["outbox", "status"]),
    ] {
        let (mut command, _programs) = bench.command_without_the_right_to_write(arguments);
        command.env(variable, &url);
        let ended = end(command);
        bench.give_the_right_to_write();
        check(&ended, &expected);
    }
    may(&closed, 0o755);
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_with_what_names_it() {
    let bench = Bench::new();
    let expected = "could not read the configuration missing.toml, which --config names: ";
    let ended = bench.run(&["config", "--config", "missing.toml"]);
    check(&ended, expected);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let expected = "could not read the configuration missing.toml, which STREAMER_CONFIG names: ";
    check(&run(&bench, "STREAMER_CONFIG", "missing.toml", &["config"]), expected);
}

#[test]
fn the_driver_of_an_archives_url_is_named() {
    let bench = Bench::new();
    for (url, expected) in [
        ("postgres://localhost/a", "driver `postgres`: set `archive_driver`"),
        ("s3://bucket/a", "driver `object`: set `archive_driver`"),
    ] {
        check(
            &run(&bench, "STREAMER_ARCHIVE_URL", url, &["archive", "list"]),
            expected,
        );
    }
}
