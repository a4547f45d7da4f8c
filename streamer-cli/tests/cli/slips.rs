//! What a person slips on: values that are empty, ages that are negative, options without effect, names that are not there.

use crate::bench::Bench;

fn benches() -> [Bench; 2] {
    [Bench::new(), Bench::on_servers()]
}

#[test]
fn a_listener_that_runs_nothing_is_refused() {
    for bench in benches() {
        bench.emit("a", "{}");
        // A shell that runs nothing succeeds: every message would count as handled.
        for nothing in ["", "  "] {
            let ended = bench.run(&["listen", "a", "--group", "g", "--exec", nothing]);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(ended.stderr.contains("--exec names no program"), "{ended:?}");
        }
        for definition in ["program = ['']", "program = ' '\nshell = true", "program = []"] {
            bench.write(
                "streamer.toml",
                &format!("[listen_and_fire]\na = ['it']\n[listeners.it]\n{definition}\n"),
            );
            let ended = bench.run(&["listen", "a", "--group", "g"]);
            assert_eq!(ended.code, Some(2), "{definition}: {ended:?}");
            assert!(ended.stderr.contains("names no program"), "{definition}: {ended:?}");
        }
        bench.write(
            "streamer.toml",
            "[listen_and_fire]\na = ['']\n[listeners.'']\nprogram = ['cat']\n",
        );
        let ended = bench.run(&["listen", "a", "--group", "g"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("has an empty name"), "{ended:?}");
    }
}

#[test]
fn an_empty_name_in_the_file_counts_as_not_given() {
    for bench in benches() {
        bench.emit("a", "{}");
        bench.write("streamer.toml", "consumer = ''\nkey = ''\n");
        let listen = ["listen", "a", "--exec", "true", "--listen-timeout", "100", "--json"];
        let told = bench.ok(&[&listen[..], &["--group", "g"]].concat());
        assert!(told.contains("\"consumer\":\"g-"), "{told}");
        bench.write("streamer.toml", "group = ''\n");
        let told = bench.ok(&listen);
        assert!(told.contains("\"group\":null"), "{told}");
        // A number is no name: an empty one is a mistake.
        bench.write("streamer.toml", "max_attempts = ''\n");
        assert_eq!(bench.run(&["config"]).code, Some(2));
    }
}

#[test]
fn a_negative_age_is_called_one_wherever_a_moment_is_read() {
    let bench = Bench::new();
    bench.emit("a", "{}");
    for command in [
        &["purge", "--streams", "a", "--older-than", "-1 day"][..],
        &["archive", "--streams", "a", "--older-than", "-1 day"],
        &["failed", "list", "--since", "-1 day"],
        &["replay", "a", "7", "--until", "-1 day"],
        &["tail", "a", "--last-id", "-1 day"],
        &["listen", "a", "--last-id", "-1 day"],
        &["group", "reset", "a", "g", "--to", "-1 day"],
    ] {
        let ended = bench.run(command);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("'-1 day' is a negative age"), "{ended:?}");
    }
    for later in [["--at", "-1 day"], ["--in", "-1 day"]] {
        let ended = bench.run(&[&["emit", "a", "{}"][..], &later].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("invalid value '-1 day'"), "{ended:?}");
    }
}

#[test]
fn an_option_without_effect_is_worth_a_warning() {
    let bench = Bench::new();
    for (more, without) in [
        (&["--poison", "4"][..], "--group"),
        (&["--group", "g", "--name-in-use", "refuse"], "--consumer"),
        (&["--stalled-after", "5s"], "--health"),
    ] {
        let listen = ["listen", "a", "--exec", "true", "--listen-timeout", "100"];
        let ended = bench.run(&[&listen[..], more].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let warned = format!("has no effect without {without}");
        assert!(ended.stderr.contains(&warned), "{warned}: {ended:?}");
    }
}

#[test]
fn an_empty_payload_on_the_command_line_is_called_empty() {
    let bench = Bench::new();
    let ended = bench.run(&["emit", "a", ""]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("the payload is empty"), "{ended:?}");
    assert_eq!(bench.run(&["listen", " ", "--exec", "true"]).code, Some(2));
}

#[test]
fn a_stream_that_is_not_there_is_reported_with_the_nearest_name_of_the_store() {
    for bench in benches() {
        bench.emit("order.placed", "{}");
        for command in [
            &["status", "order.place"][..],
            &["doctor", "order.place"],
            &["show", "order.place", "1-1"],
            &["group", "list", "order.place"],
            &["group", "reset", "order.place", "g", "--to", "start"],
            &["consumer", "list", "order.place", "g"],
        ] {
            let ended = bench.run(command);
            let told = format!("{}{}", ended.stdout, ended.stderr).to_lowercase();
            assert!(
                told.contains("there is no stream 'order.place' (did you mean 'order.placed'?)"),
                "{command:?}: {told}"
            );
        }
    }
}

#[test]
fn groups_whose_names_are_not_text_hide_no_others() {
    let bench = Bench::on_redis();
    bench.emit("a", "{}");
    let redis = bench.redis.as_ref().unwrap();
    redis.command(&["XGROUP", "CREATE", "a", "billing", "0"]);
    redis.command(&["EVAL", "return redis.call('XGROUP', 'CREATE', 'a', '\\255', '0')", "0"]);
    let listed = bench.ok(&["group", "list", "a"]);
    assert!(listed.contains("billing") && listed.contains('\u{fffd}'), "{listed}");
}

#[test]
fn a_url_that_does_not_parse_says_which_part_is_wrong() {
    let bench = Bench::new();
    for (url, wrong) in [
        (
            "redis://:Hunter2@127.0.0.1:99999",
            "its host, port or login does not parse",
        ),
        ("redis://[::1:6379", "its host, port or login does not parse"),
        ("redis://127.0.0.1:1/zero", "the database after the '/' is not a number"),
    ] {
        let ended = bench.run(&["emit", "a", "{}", "--url", url]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(
            ended.stderr.contains(wrong) && !ended.stderr.contains("Hunter2"),
            "{ended:?}"
        );
    }
}
