//! The console blocks of the first pages run as they are written, and print what stands there.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::bench::{Bench, Running};

/// A command of a block, and what the page says that it prints.
struct Step {
    command: String,
    printed: String,
}

/// The steps of the console blocks of a page, from this heading to the next one.
fn steps(page: &str, heading: &str) -> Vec<Step> {
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```").skip(1).step_by(2);
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks
        .filter_map(|block| block.strip_prefix("console\n"))
        .flat_map(str::lines)
    {
        // A text in quotes may have many lines.
        let open = steps
            .last_mut()
            .filter(|step| step.command.matches('\'').count() % 2 == 1);
        if let Some(step) = open {
            step.command += &format!("\n{line}");
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                command: command.to_owned(),
                printed: String::new(),
            });
        } else {
            steps.last_mut().unwrap().printed += &format!("{line}\n");
        }
    }
    assert!(!steps.is_empty(), "{heading} has no console block");
    steps
}

/// The command by the plainest shell that a reader may have, which finds the program. The store is the one that the page names.
fn shell(bench: &Bench, command: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_streamer"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(bench.path(""))
        .env("PATH", path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STREAMER_") {
            shell.env_remove(name);
        }
    }
    // A listening goes on until somebody ends it.
    shell.env("STREAMER_LISTEN_TIMEOUT", "500ms");
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// What the steps printed, each.
fn run(bench: &Bench, steps: &[Step]) -> Vec<String> {
    let printed = steps.iter().map(|Step { command, .. }| {
        if command.contains(" tail ") {
            let mut tail = Running::start(shell(bench, &format!("exec {command}")));
            return tail.wait_for("");
        }
        let output = shell(bench, command).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        // The one command whose exit code tells of findings.
        let is_done = output.status.success() || command.ends_with(" doctor") && !stdout.is_empty();
        assert!(is_done, "{command}: {}: {stdout}{stderr}", output.status);
        stdout
    });
    printed.collect()
}

#[test]
fn the_commands_of_the_readme_make_a_listener() {
    let bench = Bench::new();
    let readme = include_str!("../../../README.md");
    run(&bench, &steps(readme, "On the command line"));
    let log = bench.read("orders.log");
    assert!(log.contains(r#""data":{"id":1,"total":9.99}"#), "{log}");
}

#[test]
fn the_commands_of_getting_started_show_the_store_and_make_a_listener() {
    let bench = Bench::new();
    let page = include_str!("../../../docs/getting-started.md");
    // What the program of the page leaves.
    run(
        &bench,
        &[Step {
            command: r#"streamer --url sqlite://shop.db emit order.placed '{"id":1,"customer":"Ada"}'"#.to_owned(),
            printed: String::new(),
        }],
    );
    let printed = run(&bench, &steps(page, "3. Look at it, and retry"));
    assert!(
        printed.iter().any(|text| text.contains("\"customer\":\"Ada\"")),
        "{printed:?}"
    );
    run(&bench, &steps(page, "4. A listener in any language"));
    let log = bench.read("orders.log");
    // Another group, so from the beginning.
    assert!(log.contains("Ada") && log.contains("Radia"), "{log}");
}

#[test]
fn the_replay_of_the_guide_prints_what_the_guide_shows() {
    let bench = Bench::new();
    let page = include_str!("../../../docs/replay.md");
    // It stands above the first heading.
    let page = page.replacen("\n\n", "\n## The beginning\n", 1);
    let mut steps = steps(&page, "The beginning");
    for step in &mut steps {
        step.command = format!("export STREAMER_URL=sqlite://user.db; {}", step.command);
    }
    let digits = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
    for (step, printed) in steps.iter().zip(run(&bench, &steps)) {
        assert_eq!(digits(&printed), digits(&step.printed), "{}", step.command);
    }
}
