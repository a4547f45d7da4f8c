//! What the tests need beside Rust: the servers they start.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A program that tests start, and the Debian package that brings it.
struct Prerequisite {
    program: String,
    package: &'static str,
    why: &'static str,
}

/// Installs what is missing where `apt-get` can, and says exactly what is missing elsewhere.
pub(crate) fn install() -> Result<()> {
    let redis = std::env::var("STREAMER_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
    let needed = [Prerequisite {
        program: redis,
        package: "redis-server",
        why: "tests start Redis servers of their own",
    }];
    let missing = needed
        .iter()
        .filter(|needed| !starts(&needed.program))
        .collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    if !starts("apt-get") {
        for needed in &missing {
            let Prerequisite { program, package, why } = needed;
            crate::complain(&format!(
                "missing: `{program}` ({why}). Install it (Debian package {package}; Homebrew and Fedora: redis), or name \
                 another with STREAMER_TEST_REDIS_SERVER.\n"
            ));
        }
        bail!(
            "{} program(s) that the tests need are missing, and there is no apt-get to install them with",
            missing.len()
        );
    }
    let packages = missing.iter().map(|needed| needed.package).collect::<Vec<_>>();
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    for needed in missing {
        ensure!(
            starts(&needed.program),
            "`{}` is still missing after its package was installed",
            needed.program
        );
    }
    Ok(())
}

fn starts(program: &str) -> bool {
    let quiet = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    // Only root may install; sudo is there where the user is somebody else.
    let mut line = if starts("sudo") { vec!["sudo"] } else { Vec::new() };
    line.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    line.extend(arguments);
    let text = line.join(" ");
    crate::print(&format!("$ {text}\n"));
    let status = Command::new(line[0])
        .args(&line[1..])
        .status()
        .with_context(|| format!("could not start `{text}`"))?;
    ensure!(
        status.success(),
        "`{text}` failed ({status}); install {} by hand",
        arguments[1..].join(" ")
    );
    Ok(())
}
