//! Cargo, as it would be called by hand.

use std::process::Command;

/// Cargo without what the one that runs the tests says of their package: build scripts watch these variables, and with them a test
/// would make the next build compile those scripts' crates, and all that depends on them, once more.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo.env_remove("RUSTFLAGS");
    cargo
}
