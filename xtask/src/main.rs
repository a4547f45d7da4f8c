//! Developers' chores, run as `cargo xtask CHORE`.

mod prerequisites;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
Developers' chores

Usage: cargo xtask CHORE

Chores:
  test     install what the tests need, then check formatting, lints and documentation, and run every test
  check    the same without the tests
  help     print this
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match (arguments.next().as_deref(), arguments.next()) {
        (Some("test"), None) => prerequisites::install()
            .and_then(|()| test::check())
            .and_then(|()| test::test()),
        (Some("check"), None) => test::check(),
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
