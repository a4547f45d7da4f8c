//! The failed list.

use async_trait::async_trait;
use bytes::Bytes;
use redis::cmd;

use super::{
    super::{RedisEngine, command::at_least_one, error::engine_error, reply, script},
    eval, with_items,
};
use crate::{
    engine::{
        DetailsField, EngineResult, FailingGroups, FailingListener, FailureRecord, Failures,
        failures::{mark, read_field},
        keys,
    },
    entry::StreamName,
    message::{Node, OrderedJson},
};

#[async_trait]
impl Failures for RedisEngine {
    async fn add_failures(&self, records: &[FailureRecord]) -> EngineResult<()> {
        if records.is_empty() {
            return Ok(());
        }
        // One after the other: in a pipeline the records would be added although their details were refused.
        let with_details = records.iter().filter(|record| record.details.is_some()).count();
        if with_details > 0 {
            let mut command = eval(&script::RECORD_DETAILS, &[keys::FAILED_DETAILS.as_bytes()]);
            for record in records {
                if let Some(details) = &record.details {
                    let (text, groups) = without_groups(details);
                    command
                        .arg(&keys::details_field(&record.member)[..])
                        .arg(&text[..])
                        .arg(groups);
                }
            }
            let attempted = || "write failure details".to_owned();
            self.ask(keys::FAILED_DETAILS.as_bytes(), &command, reply::number, attempted)
                .await?;
        }
        let members = records.iter().map(|record| &record.member);
        let attempted = || "record failures".to_owned();
        self.ask(
            keys::FAILED.as_bytes(),
            &with_items("SADD", keys::FAILED, members),
            reply::number,
            attempted,
        )
        .await?;
        Ok(())
    }

    async fn remove_failures(&self, members: &[Bytes]) -> EngineResult<u64> {
        if members.is_empty() {
            return Ok(0);
        }
        let attempted = || "remove failure records".to_owned();
        let records = with_items("SREM", keys::FAILED, members);
        let removed = self
            .ask(keys::FAILED.as_bytes(), &records, reply::number, attempted)
            .await?;
        let fields: Vec<Bytes> = members.iter().map(|member| keys::details_field(member)).collect();
        self.remove_fields(&fields).await?;
        Ok(removed)
    }

    async fn count_failures(&self) -> EngineResult<u64> {
        let command = with_items("SCARD", keys::FAILED, []);
        let attempted = || "count the failed messages".to_owned();
        self.ask(keys::FAILED.as_bytes(), &command, reply::number, attempted)
            .await
    }

    async fn count_details(&self) -> EngineResult<u64> {
        let command = with_items("HLEN", keys::FAILED_DETAILS, []);
        let attempted = || "count failure details".to_owned();
        self.ask(keys::FAILED_DETAILS.as_bytes(), &command, reply::number, attempted)
            .await
    }

    async fn page_of_failures(&self, cursor: u64, count: usize) -> EngineResult<(u64, Vec<Bytes>)> {
        let mut command = cmd("SSCAN");
        command.arg(keys::FAILED).arg(cursor);
        command.arg("COUNT").arg(at_least_one(count));
        let attempted = || "read the failed list".to_owned();
        self.ask(keys::FAILED.as_bytes(), &command, reply::scan_page, attempted)
            .await
    }

    async fn failure_details(&self, members: &[Bytes]) -> EngineResult<Vec<Option<Bytes>>> {
        if members.is_empty() {
            return Ok(Vec::new());
        }
        let fields: Vec<Bytes> = members.iter().map(|member| keys::details_field(member)).collect();
        let command = with_items("HMGET", keys::FAILED_DETAILS, &fields);
        let attempted = || "read failure details".to_owned();
        self.ask(
            keys::FAILED_DETAILS.as_bytes(),
            &command,
            reply::optional_bytes,
            attempted,
        )
        .await
    }

    async fn page_of_details(
        &self,
        cursor: Option<Bytes>,
        count: usize,
    ) -> EngineResult<(Option<Bytes>, Vec<DetailsField>)> {
        let attempted = || "read failure details".to_owned();
        let (next, page) = self
            .page_of_hash(keys::FAILED_DETAILS, cursor.as_ref(), count, attempted)
            .await?;
        Ok((next, page.into_iter().map(read_field).collect()))
    }

    async fn mark_orphaned(&self, fields: &[Bytes], second: u64) -> EngineResult<()> {
        let attempted = || "mark failure details".to_owned();
        let mark = |field: &Bytes| {
            let mut command = with_items("HSETNX", keys::FAILED_DETAILS, [&mark(field)]);
            command.arg(second);
            (StreamName::from(keys::FAILED_DETAILS), command)
        };
        for answer in self.run_all(fields.iter().map(mark).collect()).await {
            answer.map_err(|error| engine_error(attempted(), error))?;
        }
        Ok(())
    }

    async fn unmark_orphaned(&self, fields: &[Bytes]) -> EngineResult<()> {
        let marks: Vec<Bytes> = fields.iter().map(mark).collect();
        self.remove_fields(&marks).await.map(drop)
    }

    async fn remove_details(&self, fields: &[Bytes]) -> EngineResult<u64> {
        let removed = self.remove_fields(fields).await?;
        self.unmark_orphaned(fields).await?;
        Ok(removed)
    }

    async fn keep_failing_group(&self, listener: FailingListener<'_>, group: &str) -> EngineResult<String> {
        let field = listener.field();
        let attempted = || format!("keep that '{}' fails in group '{group}'", listener.receiver);
        let mut keep = with_items("HSETNX", keys::FAILED_GROUPS, [&field]);
        keep.arg(group);
        let look = with_items("HMGET", keys::FAILED_GROUPS, [&field]);
        let key = keys::FAILED_GROUPS.as_bytes();
        self.ask(key, &keep, reply::number, attempted).await?;
        let kept = self.ask(key, &look, reply::optional_bytes, attempted).await?;
        // Who forgets it in between leaves it to the next who looks.
        let kept = kept.into_iter().next().flatten();
        Ok(kept.map_or_else(|| group.to_owned(), |kept| String::from_utf8_lossy(&kept).into_owned()))
    }

    async fn failing_groups(&self) -> EngineResult<FailingGroups> {
        let attempted = || "read the groups of failures".to_owned();
        let (mut groups, mut cursor) = (FailingGroups::default(), None);
        loop {
            let page = self.page_of_hash(keys::FAILED_GROUPS, cursor.as_ref(), 1000, attempted);
            let (next, fields) = page.await?;
            groups.add(fields);
            if next.is_none() {
                return Ok(groups);
            }
            cursor = next;
        }
    }

    async fn forget_failing_groups(&self, of: &[FailingListener<'_>]) -> EngineResult<()> {
        if of.is_empty() {
            return Ok(());
        }
        let fields: Vec<Bytes> = of.iter().map(|listener| listener.field()).collect();
        let command = with_items("HDEL", keys::FAILED_GROUPS, &fields);
        let attempted = || "forget the groups of failures".to_owned();
        let deleted = self.ask(keys::FAILED_GROUPS.as_bytes(), &command, reply::number, attempted);
        deleted.await.map(drop)
    }
}

impl RedisEngine {
    async fn remove_fields(&self, fields: &[Bytes]) -> EngineResult<u64> {
        if fields.is_empty() {
            return Ok(0);
        }
        let command = with_items("HDEL", keys::FAILED_DETAILS, fields);
        let attempted = || "remove failure details".to_owned();
        self.ask(keys::FAILED_DETAILS.as_bytes(), &command, reply::number, attempted)
            .await
    }
}

/// Details, and their `groups` apart, which are united with those of details that are there; empty where there are none, as
/// in nearly all.
pub(in super::super) fn without_groups(details: &Bytes) -> (Bytes, String) {
    let has_groups = details.windows(8).any(|part| part == b"\"groups\"");
    let object = has_groups.then(|| serde_json::from_slice::<OrderedJson>(details).ok());
    let Some(Node::Object(mut object)) = object.flatten().map(|details| details.0) else {
        return (details.clone(), String::new());
    };
    let is_list = |groups: &OrderedJson| matches!(groups.0, Node::List(_));
    let groups = object.shift_remove("groups").filter(is_list);
    let groups = groups.map_or_else(String::new, |groups| groups.to_string());
    (OrderedJson::object(object).to_string().into(), groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_without_their_groups_keep_their_order() {
        let (details, groups) =
            without_groups(&r#"{"fields":[["z","1"]],"attempts":2,"groups":["b","a"],"new":1}"#.into());
        assert_eq!(details, r#"{"fields":[["z","1"]],"attempts":2,"new":1}"#);
        assert_eq!(groups, r#"["b","a"]"#);
        let (details, groups) = without_groups(&r#"{"attempts":2}"#.into());
        assert_eq!((details, groups.as_str()), (r#"{"attempts":2}"#.into(), ""));
    }
}
