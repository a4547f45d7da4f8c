//! No secret is printed, wherever it stands and whatever the URL looks like.

use crate::bench::{Bench, Ended};

const SECRET: &str = "Hunter2";

fn hidden(bench: &Bench, arguments: &[&str]) -> Ended {
    let ended = bench.run(arguments);
    let all = format!("{}{}", ended.stdout, ended.stderr);
    for part in [SECRET, "Hunt", "er2", "unter"] {
        assert!(!all.contains(part), "{arguments:?} shows {part:?}: {all}");
    }
    ended
}

#[test]
fn a_url_shows_no_secret_in_any_command() {
    let bench = Bench::new();
    for url in [
        "redis://bob:Hunter2@127.0.0.1:1",
        "redis://:Hunter2@127.0.0.1:1/2",
        "redis://Hunter2@127.0.0.1:1",
        "redis-sentinel://127.0.0.1:1/main?sentinel_user=bob&sentinel_password=Hunter2",
        "unix:///nowhere.sock?pass=Hunter2",
        // They cannot be read.
        "redis://bob:Hunt?er2@127.0.0.1:1",
        "redis://bob:Hunt#er2@127.0.0.1:1",
        "redis://bob:Hunt/er2@127.0.0.1:1",
        "redis://bob:Hunt@er2@127.0.0.1:1",
        "redis://bob:Hunter2",
        "redis://127.0.0.1:Hunter2",
        "redis://127.0.0.1:1/Hunter2",
        "redis://127.0.0.1:1?Hunter2",
        "bob:Hunter2@127.0.0.1",
        "Hunter2",
        "Hunter2://127.0.0.1",
        "http://bob:Hunter2@example.com",
        "sqlite:///nowhere/x.db?key=Hunter2",
    ] {
        for command in [&["config"][..], &["config", "--json"], &["emit", "t", "{}", "-vv"]] {
            hidden(&bench, &[command, &["--url", url]].concat());
        }
        if url.contains("Hunt?") || url.contains("Hunt#") || url.contains("Hunt/") || url.starts_with("bob:") {
            let ended = hidden(&bench, &["emit", "t", "{}", "--url", url]);
            assert!(ended.stderr.contains("percent-encoded"), "{url}: {ended:?}");
        }
    }
}

#[test]
fn no_command_shows_the_password_of_a_store_that_cannot_be_reached() {
    let bench = Bench::new();
    for command in [
        &["tail", "t"][..],
        &["failed", "list", "--json"],
        &["purge", "--streams", "t", "--older-than", "0s", "--yes"],
        &["group", "list", "t"],
        &["replay", "t", "7"],
        &["demo"],
    ] {
        let url = "redis://bob:Hunter2@127.0.0.1:1";
        let ended = hidden(&bench, &[command, &["--url", url]].concat());
        assert_eq!(ended.code, Some(3), "{ended:?}");
    }
}

#[test]
fn an_archive_and_a_webhook_show_no_secret() {
    let bench = Bench::new();
    bench.emit("a", "{}");
    bench.script("ok.sh", "while read -r line; do echo '{\"ok\":true}'; done");
    for (driver, url) in [
        ("sqlite", "postgres://bob:Hunter2@127.0.0.1:1/db"),
        ("sqlite", "postgres://bob:Hunt?er2@127.0.0.1:1/db"),
        ("tape", "postgres://bob:Hunter2@127.0.0.1:1/db"),
    ] {
        bench.write(
            "streamer.toml",
            &format!("archive_driver = '{driver}'\narchive_url = '{url}'\n"),
        );
        for command in [
            &["config"][..],
            &["archive", "list"],
            &["archive", "migrate"],
            &["archive", "--streams", "a", "--older-than", "0s"],
        ] {
            let ended = hidden(&bench, command);
            assert_eq!(ended.code == Some(0), command == ["config"], "{ended:?}");
        }
    }
    for hook in [
        "http://127.0.0.1:1/?api_key=Hunter2",
        "http://127.0.0.1:1/T00/B00/Hunter2",
        "http://bob:Hunter2@127.0.0.1:1/hook",
        "http://Hunter2@127.0.0.1:1/hook#Hunter2",
    ] {
        bench.write(
            "streamer.toml",
            &format!(
                "[listen_and_fire]\na = ['hook']\n[listeners.hook]\nwebhook = '{hook}'\n\
                 headers = {{ Authorization = 'Hunter2', X-Other = {{ env = 'OTHER' }} }}\n"
            ),
        );
        hidden(&bench, &["config"]);
        hidden(&bench, &["config", "--json"]);
        let mut command = bench.command(&["listen", "a", "--last-id", "0", "--listen-timeout", "300", "-vv"]);
        let output = command.env("OTHER", SECRET).output().unwrap();
        let all = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(all.contains("could not be reached") && !all.contains(SECRET), "{all}");
        assert!(!bench.ok(&["failed", "list", "--json"]).contains(SECRET));
        bench.ok(&["failed", "flush", "-y"]);
    }
    // Also where the URL itself makes no sense, and where a secret stands in the place of a name.
    for listener in [
        "webhook = 'https:Hunter2@host'",
        "webhook = 'ftp://bob:Hunter2@host'",
        "webhook = 'http://x'\nsecret_env = 'Hunter2'",
        "webhook = 'http://x'\nsecret_env = 'Hunter2!'",
        "webhook = 'http://x'\nheaders = { A = ['Hunter2'] }",
        "webhook = 'http://x'\nheaders = { A = { env = 'Hunter2' } }",
        "program = ['x', '--password', 'Hunter2', '--token=Hunter2', 'redis://:Hunter2@h']",
    ] {
        bench.write(
            "streamer.toml",
            &format!("[listen_and_fire]\na = ['it']\n[listeners.it]\n{listener}\n"),
        );
        hidden(&bench, &["config"]);
        hidden(&bench, &["listen", "a", "--listen-timeout", "100"]);
    }
}

#[test]
fn where_others_see_a_url_the_help_says_so() {
    let bench = Bench::new();
    let help = bench
        .ok(&["listen", "--help"])
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(help.contains("in the process list"), "{help}");
    let ended = bench.run(&["listen", "a", "--exec", "true", "--url", "redis://:Hunter2@127.0.0.1:1"]);
    assert!(
        ended.stderr.contains("process list") && !ended.stderr.contains(SECRET),
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(3));
}
