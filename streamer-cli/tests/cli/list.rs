use crate::bench::{Bench, snapshot};

const FILE: &str = r#"
[listen_and_fire]
"order.placed" = ["receipt", "audit"]
"order.paid" = "audit"

[listeners.receipt]
program = ["./receipt.sh"]

[listeners.audit]
webhook = "https://example.com/hook"
"#;

#[test]
fn events_and_their_listeners_are_listed_as_php_lists_them() {
    let bench = Bench::new();
    bench.write("streamer.toml", FILE);
    let all = [
        &["list"][..],
        &["list", "--compact"],
        &["list", "--json"],
        &["list", "--compact", "--json"],
    ]
    .map(|arguments| format!("{arguments:?}\n{}", bench.ok(arguments)))
    .join("\n");
    insta::with_settings!({prepend_module_to_snapshot => false}, { insta::assert_snapshot!("list", all) });
}

#[test]
fn the_names_that_php_uses_are_understood() {
    let bench = Bench::new();
    bench.write("streamer.toml", FILE);
    assert_eq!(bench.ok(&["streamer:list"]), bench.ok(&["list"]));
    assert!(!bench.ok(&["streamer:emit", "a", "{}"]).is_empty());
    assert_eq!(bench.run(&["streamer:listen", "nothing"]).code, Some(1));
}

#[test]
fn without_listeners_it_says_where_to_add_them() {
    let bench = Bench::new();
    snapshot(
        &bench.ok(&["list"]),
        |text| insta::assert_snapshot!(text, @"There are no listeners: add some to `[listen_and_fire]` in streamer.toml."),
    );
    assert_eq!(bench.ok(&["list", "--json"]), "[]\n");
}
