//! The shop's own binary has every command, with the shop's listeners.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{path::Path, process::Command};

use tempfile::TempDir;

const ORDER: &str = r#"{"id":1,"customer":"Ada","items":[{"sku":"tea","quantity":2,"cents":850}]}"#;

fn shop(folder: &Path, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("STREAMER_URL")
        .env_remove("STREAMER_CONFIG");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn an_order_is_emitted_and_handled_and_leads_to_a_receipt() {
    let folder = TempDir::new().unwrap();
    let id = shop(folder.path(), &["emit", "order.placed", ORDER]).0;
    let (printed, log) = shop(
        folder.path(),
        &["listen", "--all", "--group", "shop", "--listen-timeout", "1s"],
    );
    let id = id.trim();
    for listener in ["reserve", "charge"] {
        let line = format!("Processed message [{id}] on 'order.placed' stream by [{listener}] listener.");
        assert!(printed.lines().any(|printed| printed == line), "{printed}");
    }
    assert!(
        printed.contains("on 'receipt.wanted' stream by [receipt] listener."),
        "{printed}"
    );
    assert!(log.contains("receipt for Ada: order 1, 17.00"), "{log}");
}

#[test]
fn the_configuration_can_give_its_listeners_other_events() {
    let folder = TempDir::new().unwrap();
    std::fs::write(
        folder.path().join("streamer.toml"),
        "[listen_and_fire]\n\"order.imported\" = [\"reserve\"]\n",
    )
    .unwrap();
    assert!(
        shop(folder.path(), &["list", "--json"])
            .0
            .contains(r#"{"event":"order.imported","listeners":["reserve"]}"#)
    );
    shop(folder.path(), &["emit", "order.imported", ORDER]);
    shop(
        folder.path(),
        &[
            "emit",
            "order.imported",
            r#"{"id":2,"customer":"Bob","items":[{"sku":"gold","quantity":1,"cents":1}]}"#,
        ],
    );
    let printed = shop(
        folder.path(),
        &["listen", "order.imported", "--group", "shop", "--listen-timeout", "1s"],
    )
    .0;
    let lines: Vec<&str> = printed.lines().collect();
    assert!(
        lines[0].ends_with("on 'order.imported' stream by [reserve] listener."),
        "{printed}"
    );
    assert!(
        lines[1].ends_with("stream by reserve. Error: there is no article 'gold'"),
        "{printed}"
    );
}
