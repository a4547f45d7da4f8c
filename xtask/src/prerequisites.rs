//! What the tests and the benchmark need beside Rust: the servers and the tools they start.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A program that is started, and the Debian package that brings it.
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

/// Installs what the tests miss where `apt-get` can, and says exactly what is missing elsewhere.
pub(crate) fn install() -> Result<()> {
    let needed = [
        redis("tests start Redis servers of their own"),
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
        Prerequisite {
            program: "faketime".into(),
            package: "faketime",
            why: "tests give processes a clock that is set back",
            elsewhere: "Homebrew and Fedora: libfaketime",
        },
        Prerequisite {
            program: "chromium".into(),
            package: "chromium",
            why: "tests look at the dashboard in a browser",
            elsewhere: "Homebrew: chromium; Fedora: chromium",
        },
        Prerequisite {
            program: "chromedriver".into(),
            package: "chromium-driver",
            why: "it tells the browser what to do",
            elsewhere: "Homebrew: chromedriver; Fedora: chromedriver",
        },
        Prerequisite {
            program: "pip3".into(),
            package: "python3-pip",
            why: "it brings servers of other versions, and one with the protocol of S3",
            elsewhere: "Homebrew: python; Fedora: python3-pip",
        },
        Prerequisite {
            program: "npm".into(),
            package: "npm",
            why: "it brings a server with the protocol of Azure",
            elsewhere: "Homebrew: node; Fedora: nodejs-npm",
        },
    ];
    let missing = needed.iter().filter(|needed| !needed.is_there()).collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    if !starts("apt-get") {
        name(&missing);
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

/// Says what the benchmark misses, and installs nothing: who measures decides what is on the machine.
pub(crate) fn ask_for_bench(counting: bool) -> Result<()> {
    let mut needed = vec![redis("the benchmark starts a Redis server of its own")];
    if counting {
        needed.push(Prerequisite {
            program: "valgrind".into(),
            package: "valgrind",
            why: "it counts instructions and allocations",
            elsewhere: "Fedora: valgrind",
        });
    }
    let missing = needed.iter().filter(|needed| !needed.is_there()).collect::<Vec<_>>();
    name(&missing);
    ensure!(
        missing.is_empty(),
        "{} program(s) that the benchmark needs are missing",
        missing.len()
    );
    Ok(())
}

fn redis(why: &'static str) -> Prerequisite {
    Prerequisite {
        program: std::env::var("STREAMER_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into()),
        package: "redis-server",
        why,
        elsewhere: "Homebrew and Fedora: redis; or name another with STREAMER_TEST_REDIS_SERVER",
    }
}

/// Says what is missing, and where it comes from.
fn name(missing: &[&Prerequisite]) {
    for Prerequisite {
        program,
        package,
        why,
        elsewhere,
    } in missing
    {
        crate::complain(&format!(
            "missing: `{program}` ({why}). Install it (Debian package {package}; {elsewhere}).\n"
        ));
    }
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
