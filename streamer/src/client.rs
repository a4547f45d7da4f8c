//! The handle that everything begins with.

use std::sync::Arc;

use crate::engine::{Engine, EngineError, EngineErrorKind, EngineResult};

/// A connection to where the streams are, and the domain in whose name events are emitted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Streamer {
    engine: Arc<dyn Engine>,
    /// The `domain` of every event that is emitted through this handle.
    domain: Arc<str>,
}

impl Streamer {
    /// A handle on an engine that is open already, without a domain.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine,
            domain: Arc::default(),
        }
    }

    /// Connects to the store that a URL names (the forms are listed at [`engine::open`](crate::engine::open)), without
    /// a domain.
    ///
    /// # Errors
    ///
    /// What [`engine::open`](crate::engine::open) refuses.
    pub async fn connect(url: &str) -> EngineResult<Self> {
        Self::builder().url(url).connect().await
    }

    /// Says more than a URL.
    #[must_use]
    pub fn builder() -> StreamerBuilder {
        StreamerBuilder::default()
    }

    /// The same connection in the name of another domain.
    #[must_use]
    pub fn with_domain(self, domain: &str) -> Self {
        Self {
            domain: domain.into(),
            ..self
        }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// The domain that emitted events carry; may be empty.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Which store this is, for people: the URL without its password.
    #[must_use]
    pub fn location(&self) -> &str {
        self.engine.location()
    }
}

/// What a [`Streamer`] is made of.
#[derive(Clone, Default)]
pub struct StreamerBuilder {
    url: Option<String>,
    domain: String,
    only_reads: bool,
}

impl StreamerBuilder {
    /// Where the streams are. Required.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The domain in whose name events are emitted. Default: empty.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// Only looks into the store: the file of an embedded store is not made where it is missing, and it may be read-only.
    /// Changes of such a store fail. Default: reads and writes.
    #[must_use]
    pub fn only_reads(mut self) -> Self {
        self.only_reads = true;
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// [`EngineErrorKind::InvalidInput`] without a URL; else what [`engine::open`](crate::engine::open) refuses.
    pub async fn connect(self) -> EngineResult<Streamer> {
        let url = self.url.ok_or_else(|| {
            EngineError::new(
                EngineErrorKind::InvalidInput,
                "connect",
                "no URL was given; call url(\"redis://…\") or url(\"sqlite://…\")",
            )
        })?;
        let engine = match self.only_reads {
            true => crate::engine::open_to_read(&url).await?,
            false => crate::engine::open(&url).await?,
        };
        Ok(Streamer::new(engine).with_domain(&self.domain))
    }
}
