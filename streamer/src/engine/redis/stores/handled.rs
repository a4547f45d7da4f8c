//! Messages that were handled and stay until other groups have acknowledged them.

use async_trait::async_trait;
use redis::{Cmd, cmd};

use super::{
    super::{RedisEngine, command::at_least_one, error::engine_error, reply, understood},
    KEPT, texts, with_items,
};
use crate::{
    engine::{EngineResult, Handled, keys},
    entry::{EntryId, StreamName},
};

#[async_trait]
impl Handled for RedisEngine {
    async fn add_handled(&self, stream: &StreamName, group: Option<&str>, ids: &[EntryId]) -> EngineResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let key = keys::handled(stream, group);
        let add = with_items("SADD", &key, &texts(ids));
        let attempted = || format!("mark entries of stream '{stream}' as handled");
        for answer in self.with_expiry(&key, add).await {
            answer.map_err(|error| engine_error(attempted(), error))?;
        }
        Ok(())
    }

    async fn page_of_handled(
        &self,
        stream: &StreamName,
        group: Option<&str>,
        cursor: u64,
        count: usize,
    ) -> EngineResult<(u64, Vec<EntryId>)> {
        let key = keys::handled(stream, group);
        let attempted = || format!("read which entries of stream '{stream}' are handled");
        let mut scan = cmd("SSCAN");
        scan.arg(&key).arg(cursor).arg("COUNT").arg(at_least_one(count));
        // Whoever begins to read the marks still needs them. That it could not be said is no reason not to read.
        let answer = match cursor {
            0 => self.with_expiry(&key, scan).await.swap_remove(0),
            _ => self.run(key.as_bytes(), &scan).await,
        };
        let answer = answer.map_err(|error| engine_error(attempted(), error))?;
        let (next, members) = understood(reply::scan_page(answer), attempted)?;
        Ok((next, members.iter().filter_map(EntryId::from_text).collect()))
    }

    async fn remove_handled(&self, stream: &StreamName, group: Option<&str>, ids: &[EntryId]) -> EngineResult<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let key = keys::handled(stream, group);
        let command = with_items("SREM", &key, &texts(ids));
        self.ask(key.as_bytes(), &command, reply::number, || {
            format!("unmark handled entries of stream '{stream}'")
        })
        .await
    }
}

impl RedisEngine {
    /// A command on a key, and the expiry of the key after it, in one round trip; the answers of both.
    async fn with_expiry(&self, key: &str, command: Cmd) -> Vec<redis::RedisResult<redis::Value>> {
        let mut expire = cmd("EXPIRE");
        expire.arg(key).arg(KEPT.as_secs());
        let name = StreamName::from(key);
        self.run_in_order(vec![(name.clone(), command), (name, expire)]).await
    }
}
