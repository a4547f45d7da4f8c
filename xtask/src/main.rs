//! Developers' chores, run as `cargo xtask CHORE`.

mod bench;
mod book;
mod cargo;
mod chaos;
mod fuzz;
mod object_servers;
mod packaged;
mod prerequisites;
mod release;
mod servers;
mod test;
mod tools;
mod topologies;
mod watched;

use std::process::ExitCode;

const HELP: &str = "\
Developers' chores

Usage: cargo xtask CHORE

Chores:
  test     install what the tests need, check formatting, lints, dependencies and documentation, then run every test, and
           the conformance suite on servers of other versions
  check    the same without the tests
  book     make the guides a book in target/book/docs, and follow its links
  release-check
           what a release needs beside the tests: advisories, combinations of features, the API since the last release,
           and a build of each package as it would be published; `release-check packages` only that part, and
           `release-check --help` names all
  servers  run the suites on servers of other versions (`servers 6.2` only on that) and, once all have passed at one commit,
           write docs/servers.md
  topologies
           run the suites for engines, listening, archives, histories and commands (`topologies cli` only that) on the kinds of
           servers that `test` does not try them on: TLS, a Cluster, the end of a network, behind a Sentinel; and those for
           listening, archives and histories with stores that another runtime connected to
  bench    build the benchmark and run it with the arguments that follow; `bench --help` names them
  chaos    make faults by a schedule and look for lost messages; `chaos --help` names its options
  soak     a mixed load for an hour on both engines, in which nothing may grow; `soak --help` names its options
  fuzz     give what is read from outside mutated input, each target for a minute (`--seconds N`, `fuzz json urls` only these)
  help     print this
";

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let mut words = arguments.iter().map(String::as_str);
    let result = match (words.next(), words.next()) {
        (Some("bench"), _) => match bench::run(&arguments[1..]) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        (Some("chaos"), _) => match chaos::run(&arguments[1..]) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        (Some("soak"), _) => match chaos::run(&arguments) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        (Some("test"), None) => test::installed_and_checked()
            .and_then(|()| test::test())
            .and_then(|()| servers::conformance()),
        (Some("fuzz"), _) => fuzz::run(&arguments[1..]),
        (Some("servers"), _) => prerequisites::install().and_then(|()| servers::run(&arguments[1..])),
        (Some("topologies"), _) => prerequisites::install().and_then(|()| topologies::run(&arguments[1..])),
        (Some("check"), None) => test::lints().and_then(|()| test::dependencies_and_documents()),
        (Some("book"), None) => book::build(),
        (Some("release-check"), Some("help" | "--help" | "-h")) => {
            print(release::HELP);
            return ExitCode::SUCCESS;
        }
        (Some("release-check"), _) => release::check(&arguments[1..]),
        (Some("help" | "--help" | "-h") | None, None) => {
            print(HELP);
            return ExitCode::SUCCESS;
        }
        (chore, _) => {
            complain(&format!(
                "there is no such chore: {}\n\n{HELP}",
                chore.unwrap_or_default()
            ));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)] // the chore's own output
fn print(text: &str) {
    print!("{text}");
}

#[allow(clippy::print_stderr)] // what went wrong belongs there
fn complain(text: &str) {
    eprint!("{text}");
}
