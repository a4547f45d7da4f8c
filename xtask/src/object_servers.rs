//! Servers with the protocols of object stores, for the tests of the archive: S3 from a Python package, Azure from one of npm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::print;

/// Where the tests look for them.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/object-servers");
/// Lists of everything that is installed, with hashes, because it is run.
const LISTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/object-servers");

/// Puts both into folders of their own under `target`, unless what the lists name is there.
pub(crate) fn install() -> Result<()> {
    from_list("moto", &["moto.txt"], |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]);
        pip.args(["--only-binary", ":all:", "--target", "."]);
        pip.arg("--requirement").arg(folder.join("moto.txt"));
        pip.envs([
            ("PIP_ROOT_USER_ACTION", "ignore"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ]);
        pip
    })?;
    from_list("azurite", &["package.json", "package-lock.json"], |_| {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        npm
    })
}

/// Runs a command in a new folder with copies of the lists. The last step marks the folder as complete.
fn from_list(name: &str, lists: &[&str], command: impl FnOnce(&Path) -> Command) -> Result<()> {
    let folder = Path::new(FOLDER).join(name);
    let complete = folder.join("complete");
    let wanted = lists
        .iter()
        .map(|list| read(&Path::new(LISTS).join(list)))
        .collect::<Result<Vec<_>>>()?
        .concat();
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("could not remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    for list in lists {
        fs::copy(Path::new(LISTS).join(list), folder.join(list))?;
    }
    print(&format!("--- installing {name} into target/object-servers\n"));
    let mut command = command(&folder);
    let status = command
        .current_dir(&folder)
        .status()
        .with_context(|| format!("could not start {:?}", command.get_program()))?;
    ensure!(
        status.success(),
        "could not install {name}, which tests of the archive start ({status})"
    );
    fs::write(&complete, wanted)?;
    Ok(())
}

fn read(path: &PathBuf) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}
