use crate::bench::Bench;

fn in_force(bench: &Bench, arguments: &[&str], environment: &[(&str, &str)]) -> serde_json::Value {
    let mut command = bench.command(&[&["config", "--json"], arguments].concat());
    let output = command.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let bench = Bench::new();
    let of = |value: &serde_json::Value| (value["workers"]["value"].clone(), value["workers"]["source"].clone());
    assert_eq!(of(&in_force(&bench, &[], &[])), (1.into(), "default".into()));
    bench.write("streamer.toml", "# workers\ndomain = 'shop'\nworkers = 2\n");
    assert_eq!(of(&in_force(&bench, &[], &[])), (2.into(), "streamer.toml:3".into()));
    let environment = [("STREAMER_WORKERS", "3")];
    assert_eq!(
        of(&in_force(&bench, &[], &environment)),
        (3.into(), "env STREAMER_WORKERS".into())
    );
    assert_eq!(
        of(&in_force(&bench, &["--workers", "4"], &environment)),
        (4.into(), "flag".into())
    );
}

#[test]
fn the_file_is_the_named_one() {
    let bench = Bench::new();
    bench
        .write("streamer.toml", "domain = 'here'\n")
        .write("other.toml", "domain = 'other'\n");
    assert_eq!(in_force(&bench, &[], &[])["domain"]["value"], "here");
    assert_eq!(
        in_force(&bench, &[], &[("STREAMER_CONFIG", "other.toml")])["domain"]["value"],
        "other"
    );
    let named = in_force(
        &bench,
        &["--config", "streamer.toml"],
        &[("STREAMER_CONFIG", "other.toml")],
    );
    assert_eq!(named["domain"]["value"], "here");
}

#[test]
fn everything_in_force_is_shown_and_secrets_are_not() {
    let bench = Bench::new();
    bench.write(
        "streamer.toml",
        r#"
url = "redis://bob:hunter2@127.0.0.1:6379/2"
reclaim = "5m"
keep_alive = true

[listen_and_fire]
"order.placed" = ["receipt", "audit"]

[listeners.receipt]
program = ["./receipt.sh", "--fast"]
env = { TOKEN = "hunter2" }

[listeners.audit]
webhook = "https://bob:hunter2@example.com/hook"
secret_env = "AUDIT_SECRET"
timeout = 1500
"#,
    );
    let mut shown = String::new();
    for arguments in [&["config"][..], &["config", "--json"]] {
        let mut command = bench.command(arguments);
        command
            .env_remove("STREAMER_URL")
            .env("STREAMER_GROUP", "billing")
            .env("AUDIT_SECRET", "hunter2");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        shown.push_str(&String::from_utf8(output.stdout).unwrap());
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    insta::with_settings!({prepend_module_to_snapshot => false}, { insta::assert_snapshot!("config", shown) });
}

#[test]
fn a_mistake_is_named_with_file_line_key_and_the_nearest_known_key() {
    let mut all = String::new();
    for file in [
        "domian = 'shop'",
        "url = 'memory:'\n\nfrobnicate = 1",
        "workers = 'many'",
        "workers = 0",
        "reclaim = 'soon'",
        "keep_alive = 1",
        "domain = [1]",
        "log_format = 'xml'",
        "domain = 'a\n",
        "listeners = 1",
        "[listeners.a]\nprogam = ['x']",
        "[listeners.a]\nprogram = []",
        "[listeners.a]\nprogram = [1]",
        "[listeners.a]\n\nmode = 'lines'",
        "[listeners.a]\nprogram = ['x']\nwebhook = 'http://x'",
        "[listeners.a]\nprogram = ['x']\nmode = 'line'",
        "[listeners.a]\nprogram = ['x', 'y']\nshell = true",
        "[listeners.a]\nprogram = ['x']\nsecret_env = 'S'",
        "[listeners.a]\nwebhook = 'http://x'\nmode = 'lines'",
        "[listeners.a]\nwebhook = 'ftp://x'",
        "[listeners.a]\nprogram = ['x']\nenv = { A = 1 }",
        "[listen_and_fire]\nplaced = ['reciept']\n[listeners.receipt]\nprogram = ['x']",
        "[listen_and_fire]\nplaced = ['nothing-like-it']\n[listeners.receipt]\nprogram = ['x']",
        "[listen_and_fire]\nplaced = [1]",
    ] {
        let bench = Bench::new();
        let ended = bench.write("streamer.toml", file).run(&["list"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{file}: {ended:?}");
        all.push_str(&format!("{file}\n{}\n", ended.stderr));
    }
    insta::with_settings!({prepend_module_to_snapshot => false}, { insta::assert_snapshot!("mistakes", all) });
}

#[test]
fn a_wrong_environment_is_named_without_its_text() {
    let bench = Bench::new();
    let output = bench
        .command(&["list"])
        .env("STREAMER_WORKERS", "hunter2")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        stderr,
        "error: the environment variable STREAMER_WORKERS must be a whole number from 1 to 10000\n"
    );
}

#[test]
fn a_sentence_about_a_value_says_in_words_where_the_value_is_from() {
    let bench = Bench::new();
    let stderr = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = bench.command(arguments);
        command.env_remove("STREAMER_URL").envs(environment.iter().copied());
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let missing = "sqlite://missing.db";
    let by_flag = stderr(&["status", "--url", missing], &[]);
    assert!(
        by_flag.ends_with("(the store URL is from the flag --url)\n"),
        "{by_flag}"
    );
    let by_environment = stderr(&["status"], &[("STREAMER_URL", missing)]);
    assert!(
        by_environment.ends_with("(the store URL is from the environment variable STREAMER_URL)\n"),
        "{by_environment}"
    );
    bench.write("streamer.toml", "reclaim = 60\nurl = 'sqlite://missing.db'\n");
    let by_file = stderr(&["status"], &[]);
    assert!(
        by_file.ends_with("(the store URL is from streamer.toml, line 2)\n"),
        "{by_file}"
    );
    let away = stderr(&["status", "--url", "redis://127.0.0.1:1"], &[]);
    assert!(
        away.ends_with("(the store is redis://127.0.0.1:1, from the flag --url)\n"),
        "{away}"
    );
    let database = stderr(&["outbox", "status"], &[("STREAMER_OUTBOX_URL", missing)]);
    assert!(
        database.ends_with("(the database URL is from the environment variable STREAMER_OUTBOX_URL)\n"),
        "{database}"
    );
    let listen = ["listen", "a", "--exec", "true", "--url", "redis://127.0.0.1:1"];
    let short = stderr(&listen, &[]);
    assert!(
        short.contains("`reclaim` is 60ms (from streamer.toml, line 1); write reclaim = \"60s\" if you mean seconds"),
        "{short}"
    );
    let short = stderr(&[&listen[..], &["--listen-timeout", "5"]].concat(), &[]);
    assert!(
        short.contains("`listen_timeout` is 5ms (from the flag --listen-timeout); write listen_timeout = \"5s\""),
        "{short}"
    );
}

#[test]
fn a_listener_without_an_event_is_worth_a_warning() {
    let bench = Bench::new();
    bench.write("streamer.toml", "[listeners.idle]\nprogram = ['true']\n");
    let ended = bench.run(&["list"]);
    assert_eq!(ended.code, Some(0));
    assert!(
        ended
            .stderr
            .contains("WARN the listener `idle` is defined, but `listen_and_fire` gives it no event"),
        "{ended:?}"
    );
}
