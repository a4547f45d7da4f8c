//! The console lines that the documents list are what the program prints.

use crate::bench::Bench;

/// What changes, replaced by the words that the documents use.
fn general(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split(' ') {
        let id = |c: char| c.is_ascii_digit() || c == '-';
        let mut general = String::new();
        let mut rest = word;
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let end = rest[at..].find(|c| !id(c)).map_or(rest.len(), |end| at + end);
            general.push_str(&rest[..at]);
            general.push_str(if end - at > 12 { "ID" } else { &rest[at..end] });
            rest = &rest[end..];
        }
        general.push_str(rest);
        words.push(general);
    }
    let line = words.join(" ");
    let line = line
        .replace("'order.placed'", "'STREAM'")
        .replace("'nothing'", "'STREAM'");
    let line = line
        .replace("on order.placed stream", "on STREAM stream")
        .replace("[order.placed]", "[STREAM]");
    let line = line.replace("[it]", "[LISTENER]").replace("by it.", "by LISTENER.");
    let line = line.replace("no paper (exit status: 1)", "ERROR");
    for (many, any) in [("Total of 3 ", "Total of N "), ("Flushed 3 ", "Flushed N ")] {
        if line.starts_with(many) {
            return line.replacen(many, any, 1);
        }
    }
    line
}

#[test]
fn the_console_lines_of_laravel_are_printed_word_for_word() {
    let bench = Bench::new();
    bench.script(
        "it.sh",
        "cat > /dev/null; test ! -e broken || { echo no paper >&2; exit 1; }",
    );
    bench.write(
        "streamer.toml",
        "archive_url = 'sqlite://archive.db'\n[listen_and_fire]\n'order.placed' = ['it']\n[listeners.it]\n\
         program = ['./it.sh']\nmode = 'message'\n",
    );
    let mut printed = Vec::new();
    let mut run = |arguments: &[&str]| {
        let ended = bench.run(arguments);
        let stderr = ended.stderr.replace("error: ", "");
        printed.extend(ended.stdout.lines().chain(stderr.lines()).map(general));
    };
    let emit = |count: usize| {
        for _ in 0..count {
            bench.emit("order.placed", "{}");
        }
    };
    let listen = ["listen", "order.placed", "--group", "g", "--listen-timeout", "300"];
    let older = ["--streams", "order.placed", "--older-than", "0s"];
    emit(1);
    run(&["failed", "list"]);
    run(&["failed", "retry", "--all"]);
    run(&["listen", "nothing"]);
    run(&listen);
    run(&[&["archive"][..], &older].concat());
    run(&["archive", "restore", "--all", "-n"]);
    run(&[&["purge", "-y"][..], &older, &["--force"]].concat());
    emit(3);
    run(&listen);
    run(&[&["purge", "-y"][..], &older].concat());
    bench.write("broken", "");
    emit(1);
    run(&listen);
    run(&["failed", "retry", "--all"]);
    run(&["failed", "retry", "--stream", "x"]);
    run(&["failed", "flush", "-n"]);
    run(&["failed", "flush", "-n"]);
    emit(3);
    run(&listen);
    run(&["failed", "flush", "-n"]);
    emit(1);
    run(&listen);
    std::fs::remove_file(bench.path("broken")).unwrap();
    run(&["failed", "retry", "--all"]);

    let page = include_str!("../../../docs/laravel.md");
    let section = page
        .split("### Console lines")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let documented = section
        .lines()
        .filter_map(|line| line.strip_suffix("` |")?.rsplit_once(" | `"));
    let documented: Vec<_> = documented.map(|(_, line)| line).collect();
    assert!(documented.len() >= 16, "{documented:?}");
    for line in documented {
        assert!(
            printed.iter().any(|printed| printed == line),
            "nothing prints {line:?}: {printed:#?}"
        );
    }
}
