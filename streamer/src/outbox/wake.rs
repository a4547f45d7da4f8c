//! When to look at the outbox again: PostgreSQL notifies, the others are asked now and then.

use std::time::{Duration, Instant};

#[cfg(feature = "outbox-postgres")]
use sqlx::postgres::PgListener;

use super::database::Database;

/// Waits for rows.
pub(super) struct Wake {
    poll: Duration,
    #[cfg(feature = "outbox-postgres")]
    listener: Option<PgListener>,
}

impl Wake {
    /// A connection that cannot be had, as behind a pooler that has no sessions, only means that the database is asked.
    pub(super) async fn new(database: &Database, poll: Duration) -> Self {
        #[cfg(feature = "outbox-postgres")]
        {
            let listener = match database.dialect {
                super::Dialect::Postgres => {
                    let listener = tokio::time::timeout(database.answer_timeout, listen(database.url())).await;
                    listener.unwrap_or_default()
                }
                _ => None,
            };
            Self { poll, listener }
        }
        #[cfg(not(feature = "outbox-postgres"))]
        {
            _ = database;
            Self { poll }
        }
    }

    /// Ends when there may be rows, and at this moment at the latest.
    pub(super) async fn wait(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        #[cfg(feature = "outbox-postgres")]
        if let Some(listener) = &mut self.listener {
            // A notice that was lost on its way, or while the connection was away, is made up for by the time-out.
            let time_out = left.min(self.poll.saturating_mul(5));
            if matches!(tokio::time::timeout(time_out, listener.try_recv()).await, Ok(Err(_))) {
                tokio::time::sleep(self.poll.min(left)).await;
            }
            return;
        }
        tokio::time::sleep(self.poll.min(left)).await;
    }
}

#[cfg(feature = "outbox-postgres")]
async fn listen(url: &str) -> Option<PgListener> {
    let listener = async {
        let mut listener = PgListener::connect(url).await?;
        listener.listen("streamer_outbox").await?;
        Ok::<_, sqlx::Error>(listener)
    };
    match listener.await {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::info!("the outbox is polled, because its database does not notify: {error}");
            None
        }
    }
}
