//! What the tests need beside Rust: the servers they start.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A program that tests start, and the Debian package that brings it.
struct Prerequisite {
    program: String,
    package: &'static str,
    why: &'static str,
    elsewhere: &'static str,
}

impl Prerequisite {
    /// Debian keeps the programs of PostgreSQL beside the `PATH`, and other servers where only root looks.
    fn is_there(&self) -> bool {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut folders = versions
            .map(|version| version.path().join("bin"))
            .chain(["/usr/sbin".into()]);
        starts(&self.program) || folders.any(|folder| folder.join(&self.program).exists())
    }
}

/// Installs what is missing where `apt-get` can, and says exactly what is missing elsewhere.
pub(crate) fn install() -> Result<()> {
    let redis = std::env::var("STREAMER_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into());
    let needed = [
        Prerequisite {
            program: redis,
            package: "redis-server",
            why: "tests start Redis servers of their own",
            elsewhere: "Homebrew and Fedora: redis; or name another with STREAMER_TEST_REDIS_SERVER",
        },
        Prerequisite {
            program: "initdb".into(),
            package: "postgresql",
            why: "tests of the archive start PostgreSQL servers of their own",
            elsewhere: "Homebrew: postgresql; Fedora: postgresql-server",
        },
        Prerequisite {
            program: "mariadbd".into(),
            package: "mariadb-server",
            why: "tests of the archive start MariaDB servers of their own",
            elsewhere: "Homebrew: mariadb; Fedora: mariadb-server",
        },
    ];
    let missing = needed.iter().filter(|needed| !needed.is_there()).collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    if !starts("apt-get") {
        for Prerequisite {
            program,
            package,
            why,
            elsewhere,
        } in &missing
        {
            crate::complain(&format!(
                "missing: `{program}` ({why}). Install it (Debian package {package}; {elsewhere}).\n"
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
            needed.is_there(),
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
