//! Cargo, as it would be called by hand.

use std::process::{Command, ExitCode};

use anyhow::Result;

/// Cargo, without what the one that runs this program says of `xtask`: build scripts watch that, and with it they and
/// all that depends on them would be built anew whenever one goes from `cargo xtask` to `cargo` and back.
pub(crate) fn command() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    // A check on a fresh clone builds nothing a second time: what a second build would start from is gigabytes that nobody
    // reads, and a small disk was full of them.
    if std::env::var_os("CI").is_some() && std::env::var_os("CARGO_INCREMENTAL").is_none() {
        cargo.env("CARGO_INCREMENTAL", "0");
    }
    cargo
}

/// Becomes the program, so that signals reach it and its end is this one's.
#[cfg(unix)]
pub(crate) fn instead_of_this(command: &mut Command) -> Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(command).into())
}

#[cfg(not(unix))]
pub(crate) fn instead_of_this(command: &mut Command) -> Result<ExitCode> {
    let success = command.status()?.success();
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
