//! The documents say what the program does: their lists are compared with it. `UPDATE_DOCUMENTS=1` writes the generated ones.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use clap::{Command, CommandFactory as _};

use crate::{args::Cli, exit::Exit};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_default()
}

/// Every command that can be run, with its path.
fn commands(command: &Command, path: &str, all: &mut Vec<(String, Command)>) {
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        let path = format!("{path} {}", inner.get_name()).trim().to_owned();
        if inner.get_arguments().next().is_some() || inner.get_subcommands().next().is_none() {
            all.push((path.clone(), inner.clone()));
        }
        commands(inner, &path, all);
    }
}

fn all_commands() -> Vec<(String, Command)> {
    let mut all = Vec::new();
    commands(&Cli::command(), "", &mut all);
    all
}

/// The options of every command, as a table.
fn options() -> String {
    let mut table = "| command | arguments | options |\n| --- | --- | --- |\n".to_owned();
    for (path, command) in all_commands() {
        let arguments = command.get_positionals().map(|argument| {
            let name = argument
                .get_value_names()
                .and_then(|names| names.first())
                .map(ToString::to_string);
            let name = name.unwrap_or_else(|| argument.get_id().to_string().to_uppercase());
            let name = name.replace('|', "\\|");
            match argument.is_required_set() {
                true => format!("`{name}`"),
                false => format!("[`{name}`]"),
            }
        });
        let options = command
            .get_opts()
            .chain(command.get_arguments().filter(|one| one.get_num_args().is_none()));
        let mut options = options
            .filter(|one| !one.is_hide_set())
            .filter_map(|one| Some((one.get_long()?, one)))
            .map(|(long, one)| {
                let value = one.get_value_names().and_then(|names| names.first());
                let value = value.filter(|_| one.get_action().takes_values());
                value.map_or_else(|| format!("`--{long}`"), |value| format!("`--{long} {value}`"))
            })
            .collect::<Vec<_>>();
        options.sort();
        options.dedup();
        let arguments = arguments.collect::<Vec<_>>().join(" ");
        let _ = writeln!(table, "| `{path}` | {arguments} | {} |", options.join(", "));
    }
    table
}

#[test]
fn the_options_in_the_documents_are_those_of_the_program() {
    let page = read("cli.md");
    let (before, rest) = page.split_once("<!-- options -->").expect("a place for the options");
    let (there, after) = rest.split_once("<!-- /options -->").expect("its end");
    let expected = format!("\n{}", options());
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        let page = format!("{before}<!-- options -->{expected}<!-- /options -->{after}");
        fs::write(path("cli.md"), page).expect("docs/cli.md can be written");
        return;
    }
    assert_eq!(there, expected, "UPDATE_DOCUMENTS=1 writes it");
}

#[test]
fn the_exit_codes_in_the_documents_are_those_of_the_program() {
    let codes = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Unreachable,
        Exit::Archive,
        Exit::Aborted,
    ];
    let codes = codes.map(|exit| (exit as u8).to_string());
    let page = read("cli.md");
    let section = page.split("## Exit codes").nth(1).unwrap_or_default();
    let listed = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let listed = listed.filter(|code| code.parse::<u8>().is_ok()).collect::<Vec<_>>();
    assert_eq!(listed, codes);
    let help = Cli::command()
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let listed = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let listed = listed.filter(|code| code.parse::<u8>().is_ok()).collect::<Vec<_>>();
    assert_eq!(listed, codes);
}

/// The names in expressions that look like those of metrics, as Prometheus has them.
fn metrics_in(expressions: &str) -> BTreeSet<String> {
    let words = expressions.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let labels = [
        "messaging_destination_name",
        "messaging_consumer_group_name",
        "streamer_listener_name",
    ];
    let named = words.filter(|word| word.starts_with("streamer_") || word.starts_with("messaging_"));
    let named = named.filter(|word| !labels.contains(word));
    named
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

#[test]
fn the_dashboard_of_grafana_and_the_alerts_use_the_metrics_that_there_are() {
    use streamer::metrics::{ALL, Kind};
    let of_processes = ALL.iter().map(|metric| {
        let name = metric.name.replace('.', "_");
        match metric.kind {
            Kind::Counter => name + "_total",
            Kind::Histogram => name + "_seconds",
            Kind::Gauge => name,
        }
    });
    let of_stores = crate::commands::prometheus::GAUGES
        .iter()
        .map(|(name, ..)| (*name).to_owned());
    let all = of_processes.chain(of_stores).collect::<BTreeSet<_>>();

    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana.json")).expect("a JSON file");
    let targets = dashboard["panels"].as_array().into_iter().flatten();
    let targets = targets.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let shown = targets
        .filter_map(|target| target["expr"].as_str())
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(metrics_in(&shown), all, "docs/grafana.json");

    let page = read("observability.md");
    let alerts = page
        .split("### Recommended alerts")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next());
    let used = metrics_in(alerts.expect("alerts"));
    assert!(used.len() > 5 && used.is_subset(&all), "{:?}", used.difference(&all));
}

#[test]
fn every_command_has_an_example_that_fits_80_columns() {
    let mut wrong = Vec::new();
    for (path, command) in all_commands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if !help.contains("Examples:\n  ") {
            wrong.push(format!("`{path}` has no example"));
        }
        let long = help.lines().filter(|line| line.chars().count() > 80);
        wrong.extend(long.map(|line| format!("`{path}`: {line}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_keys_of_a_listener_in_the_documents_are_those_of_the_program() {
    let page = read("configuration.md");
    let section = page
        .split("## `[listeners.NAME]`")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next());
    let listed = section.unwrap_or_default().lines();
    let listed = listed.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut listed = listed.collect::<Vec<_>>();
    listed.sort_unstable();
    let mut keys = crate::config::listener_keys();
    keys.sort_unstable();
    assert_eq!(listed, keys);
    let page = read("retry.md");
    for key in crate::config::retry_keys() {
        assert!(page.contains(&format!("| `{key}` |")), "docs/retry.md lacks {key}");
    }
}

#[test]
fn the_settings_in_the_documents_have_the_defaults_and_flags_of_the_program() {
    let page = read("configuration.md");
    let settings = crate::config::default_settings().expect("the defaults make sense");
    let listen = all_commands()
        .into_iter()
        .find(|(path, _)| path == "listen")
        .map(|(_, command)| command);
    let listen = listen.expect("there is a command `listen`");
    for row in settings.rows() {
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", row.key)));
        // Before the first cell is nothing.
        let cells = line
            .unwrap_or_default()
            .split('|')
            .skip(1)
            .map(str::trim)
            .collect::<Vec<_>>();
        let flag = format!("--{}", row.key.replace('_', "-"));
        let has_flag = listen.get_opts().any(|one| one.get_long() == flag.strip_prefix("--"));
        let documented = cells.get(2).copied().unwrap_or_default();
        if has_flag {
            assert_eq!(documented, format!("`{flag}`"), "{}", row.key);
        }
        let default = cells
            .get(3)
            .copied()
            .unwrap_or_default()
            .trim_matches('`')
            .trim_matches('"');
        let is = row.text.replace("1m", "60s");
        let in_words = ["none", "no bound", "empty", "the group, `-`, 16 random characters"];
        assert!(
            default == is || in_words.contains(&default) && ["-", ""].contains(&&*is),
            "{}: {default} and {is}",
            row.key
        );
    }
}

/// The pages of users, each with its name and its text.
fn pages() -> Vec<(String, String)> {
    let readme = fs::read_to_string(path("../README.md")).expect("the README can be read");
    let files = fs::read_dir(path("")).expect("docs can be read");
    let names = files.map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names = names.filter(|name| name.ends_with(".md")).collect::<Vec<_>>();
    names.sort();
    let guides = names.into_iter().map(|name| (name.clone(), read(&name)));
    [("the README".to_owned(), readme)].into_iter().chain(guides).collect()
}

/// The blocks of a page that are in this language, without what a list indents them by.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut current) = (Vec::new(), None::<(usize, String)>);
    for line in page.lines() {
        let text = line.trim_start();
        match (text.strip_prefix("```"), &mut current) {
            (Some(said), None) => {
                let indent = line.len() - text.len();
                current = Some((indent, String::new()))
                    .filter(|_| said.trim() == language)
                    .or(Some((usize::MAX, String::new())));
            }
            (Some(_), Some(_)) => blocks.extend(
                current
                    .take()
                    .filter(|(indent, _)| *indent != usize::MAX)
                    .map(|(_, text)| text),
            ),
            (None, Some((indent, block))) if *indent != usize::MAX => {
                block.push_str(line.get(*indent..).unwrap_or(text));
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// Commands in the text of a page, `streamer …` in backticks. Some leave something out.
fn mentioned(page: &str) -> Vec<String> {
    let prose = page.split("```").step_by(2).collect::<String>();
    let spans = prose.split('`').skip(1).step_by(2);
    let commands = spans.filter(|span| span.starts_with("streamer ") && !span.contains('\n'));
    commands.map(|command| command.replace("\\|", "|")).collect()
}

/// The words of a command line of a shell, up to where another command or a redirection begins. What stands for
/// something is replaced by an example of it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, '|' | '>' | '<' | ';') => break,
            (None, '#') if word.is_empty() => break,
            (None, ' ') if word.is_empty() && !begun => {}
            (None, ' ') => {
                words.push(std::mem::take(&mut word));
                begun = false;
            }
            (_, c) => word.push(c),
        }
    }
    if !word.is_empty() || begun {
        words.push(word);
    }
    let examples = [
        ("ID", "1-0"),
        ("DATE", "2026-11-01"),
        ("ADDR", "8080"),
        ("AGE", "5 days"),
        ("N", "3"),
        ("CONSUMER", "c"),
        ("COMMAND", "listen"),
    ];
    let plain = words.into_iter().filter(|word| word != "…").map(|word| {
        let word = word.trim_start_matches('[').trim_end_matches([']', '…']).to_owned();
        let example = examples.iter().find(|(name, _)| *name == word);
        example.map_or(word, |(_, example)| (*example).to_owned())
    });
    plain.collect()
}

#[test]
fn the_words_of_a_command_line_are_those_that_a_shell_sees() {
    assert_eq!(
        words(r#"streamer failed list [--since "2 hours"] [--stream S] x… '{"a": 1}' '' # why"#),
        [
            "streamer",
            "failed",
            "list",
            "--since",
            "2 hours",
            "--stream",
            "S",
            "x",
            r#"{"a": 1}"#,
            ""
        ]
    );
    assert_eq!(words("streamer show a ID | grep x"), ["streamer", "show", "a", "1-0"]);
}

#[test]
fn the_commands_in_the_documents_are_understood() {
    use clap::error::ErrorKind;
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (name, page) in pages() {
        let console = blocks(&page, "console");
        let lines = console.iter().flat_map(|block| block.lines());
        let lines = lines.map(|line| line.strip_prefix("$ ").unwrap_or(line));
        let lines = lines
            .filter(|line| line.starts_with("streamer "))
            .map(|line| (line.to_owned(), true));
        for (line, whole) in lines.chain(mentioned(&page).into_iter().map(|line| (line, false))) {
            seen += 1;
            let Err(error) = Cli::command().try_get_matches_from(words(&line)) else {
                continue;
            };
            let is_incomplete = matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if !is_help && (whole || !is_incomplete) {
                wrong.push(format!("{name}: `{line}`: {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "only {seen} commands were found: are they read at all?");
}

#[test]
fn the_configurations_in_the_documents_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("streamer.toml");
    let mut seen = 0;
    for (name, page) in pages() {
        // What an application's Cargo.toml has is no configuration.
        let blocks = blocks(&page, "toml")
            .into_iter()
            .filter(|block| !block.contains("path = \"../"));
        for block in blocks {
            seen += 1;
            fs::write(&file, &block).expect("the file can be written");
            let read = crate::config::Config::load(Some(&file), &Default::default(), &Default::default(), &[]);
            if let Err(error) = read {
                panic!("{name}: {error:?}:\n{block}");
            }
        }
    }
    assert!(seen >= 3, "only {seen} were found: are they read at all?");
}
