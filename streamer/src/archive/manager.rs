//! Archive drivers by name.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc};

use super::{ArchiveError, ArchiveErrorKind, ArchiveResult, ArchiveStorage, MemoryArchive, NullArchive};

type Opening = Pin<Box<dyn Future<Output = ArchiveResult<Arc<dyn ArchiveStorage>>> + Send>>;
type Driver = Arc<dyn Fn(String) -> Opening + Send + Sync>;

/// The drivers of this crate that only a cargo feature brings.
const BY_FEATURE: [(&str, &str); 4] = [
    ("sqlite", "feature `archive-sqlite`"),
    ("postgres", "feature `archive-postgres`"),
    ("mysql", "feature `archive-mysql`"),
    (
        "object",
        "features `archive-s3`, `archive-gcs` and `archive-azure`, those of the services that it is to reach, or with \
         `archive-object` for a folder",
    ),
];

/// The drivers that an archive can be opened with. An application adds its own.
///
/// ```
/// use std::sync::Arc;
/// use streamer::archive::{ArchiveManager, MemoryArchive};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = ArchiveManager::new().driver("ours", async |_url| Ok(Arc::new(MemoryArchive::default()) as Arc<_>));
/// let archive = manager.open("ours", "").await?;
/// assert_eq!(archive.location(), "memory");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ArchiveManager(BTreeMap<String, Driver>);

impl ArchiveManager {
    /// The drivers of this crate: `null`, `memory`, and those that cargo features add: `sqlite` by default.
    #[must_use]
    #[allow(clippy::let_and_return, reason = "features add to them")]
    pub fn new() -> Self {
        let drivers = Self(BTreeMap::new())
            .driver("null", |_| async {
                Ok(Arc::new(NullArchive) as Arc<dyn ArchiveStorage>)
            })
            .driver("memory", |_| async {
                Ok(Arc::new(MemoryArchive::default()) as Arc<dyn ArchiveStorage>)
            });
        #[cfg(feature = "archive-sqlite")]
        let drivers = drivers.driver("sqlite", |url| async move {
            Ok(Arc::new(super::SqliteArchive::open(&url).await?) as Arc<dyn ArchiveStorage>)
        });
        #[cfg(feature = "archive-postgres")]
        let drivers = drivers.driver("postgres", |url| async move {
            Ok(Arc::new(super::PostgresArchive::open(&url).await?) as Arc<dyn ArchiveStorage>)
        });
        #[cfg(feature = "archive-mysql")]
        let drivers = drivers.driver("mysql", |url| async move {
            Ok(Arc::new(super::MysqlArchive::open(&url).await?) as Arc<dyn ArchiveStorage>)
        });
        #[cfg(feature = "archive-object")]
        let drivers = drivers.driver("object", |url| async move {
            Ok(Arc::new(super::ObjectArchive::open(&url).await?) as Arc<dyn ArchiveStorage>)
        });
        drivers
    }

    /// Adds a driver, in place of one of the same name. `open` is given the URL, which may be empty.
    #[must_use]
    pub fn driver<F>(mut self, name: impl Into<String>, open: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ArchiveResult<Arc<dyn ArchiveStorage>>> + Send + 'static,
    {
        let driver: Driver = Arc::new(move |url| Box::pin(open(url)));
        self.0.insert(name.into(), driver);
        self
    }

    /// The names of the drivers, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Opens an archive.
    ///
    /// # Errors
    ///
    /// [`ArchiveErrorKind::InvalidInput`] for a driver that nobody added; else the driver's.
    pub async fn open(&self, driver: &str, url: &str) -> ArchiveResult<Arc<dyn ArchiveStorage>> {
        match self.0.get(driver) {
            Some(open) => open(url.to_owned()).await,
            None => {
                let left_out = BY_FEATURE.iter().find(|(name, _)| *name == driver);
                let known = self.names().collect::<Vec<_>>().join(", ");
                let reason = match left_out {
                    Some((_, features)) => {
                        format!(
                            "this program was built without the driver '{driver}'; build it with the cargo {features}"
                        )
                    }
                    None => format!("there is no driver '{driver}'; there are: {known}"),
                };
                Err(ArchiveError::new(
                    ArchiveErrorKind::InvalidInput,
                    "open the archive",
                    reason,
                ))
            }
        }
    }
}

impl Default for ArchiveManager {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ArchiveManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
