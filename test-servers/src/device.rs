//! A device that fails: a library through which a process reads and writes the file of an embedded store.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// How the device fails. Only processes that were started with it ([`FailingDevice::apply`]) are affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceMode {
    /// Writes and flushes fail (`EIO`).
    Writes,
    /// There is no room (`ENOSPC`).
    Full,
    /// Reads fail (`EIO`).
    Reads,
    /// Locks fail (`EIO`).
    Locks,
}

/// A library in a folder, and whether the file `store.db` there is on a device that fails at the moment.
#[derive(Clone, Debug)]
pub struct FailingDevice {
    folder: PathBuf,
    library: PathBuf,
}

impl FailingDevice {
    /// Builds the library in the folder where the store is. `None` where there is no C compiler.
    #[must_use]
    pub fn new(folder: &Path) -> Option<Self> {
        let (source, library) = (folder.join("device.c"), folder.join("device.so"));
        std::fs::write(&source, include_str!("device.c")).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output();
        if let Err(error) = &built
            && error.kind() == std::io::ErrorKind::NotFound
        {
            return None;
        }
        let built = built.unwrap();
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "cc could not build device.c: {errors}");
        Some(Self {
            folder: folder.to_owned(),
            library,
        })
    }

    /// The library to load before others (`LD_PRELOAD`).
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Has a process read and write through it, which needs [`FailingDevice::library`], too.
    pub fn apply(&self, command: &mut Command) {
        command.env("STREAMER_DEVICE_FOLDER", &self.folder);
    }

    /// From now on it fails, until [`FailingDevice::works`].
    pub fn fails(&self, mode: DeviceMode) {
        let text = match mode {
            DeviceMode::Writes => "error",
            DeviceMode::Full => "full",
            DeviceMode::Reads => "reads",
            DeviceMode::Locks => "locks",
        };
        // At once: a process that finds the file half written would not fail.
        let next = self.folder.join("device-mode-next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.mode()).unwrap();
    }

    /// It does not fail any more.
    pub fn works(&self) {
        std::fs::remove_file(self.mode()).unwrap();
    }

    /// How many calls have failed so far, by all processes.
    #[must_use]
    pub fn failures(&self) -> u64 {
        std::fs::metadata(self.folder.join("device-failures")).map_or(0, |file| file.len())
    }

    fn mode(&self) -> PathBuf {
        self.folder.join("device-mode")
    }
}
