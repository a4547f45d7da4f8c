//! The failed list.

use async_trait::async_trait;
use bytes::Bytes;

use super::super::{EmbeddedEngine, records, settlement, transaction::Transaction};
use crate::engine::{
    DetailsField, EngineResult, FailingGroups, FailingListener, FailureChange, FailureRecord, Failures,
    failures::{mark, read_field},
    keys,
};

#[async_trait]
impl Failures for EmbeddedEngine {
    async fn add_failures(&self, records: &[FailureRecord]) -> EngineResult<()> {
        if records.is_empty() {
            return Ok(());
        }
        let change = FailureChange {
            add: records.to_vec(),
            remove: Vec::new(),
        };
        self.write(
            || "record failures".to_owned(),
            move |transaction| settlement::record(transaction, &change),
        )
        .await
    }

    async fn remove_failures(&self, members: &[Bytes]) -> EngineResult<u64> {
        let members = members.to_vec();
        let details: Vec<Bytes> = members.iter().map(|member| keys::details_field(member)).collect();
        self.write(
            || "remove failure records".to_owned(),
            move |transaction| {
                let removed = records::set_remove(transaction, keys::FAILED, &members)?;
                records::hash_remove(transaction, keys::FAILED_DETAILS, &details)?;
                Ok(removed)
            },
        )
        .await
    }

    async fn count_failures(&self) -> EngineResult<u64> {
        self.look(
            || "count the failed messages".to_owned(),
            |transaction| records::set_len(transaction, keys::FAILED),
        )
        .await
    }

    async fn count_details(&self) -> EngineResult<u64> {
        self.look(
            || "count failure details".to_owned(),
            |transaction| records::hash_len(transaction, keys::FAILED_DETAILS),
        )
        .await
    }

    async fn page_of_failures(&self, cursor: u64, count: usize) -> EngineResult<(u64, Vec<Bytes>)> {
        self.look(
            || "read the failed list".to_owned(),
            move |transaction| records::set_scan(transaction, keys::FAILED, cursor, count),
        )
        .await
    }

    async fn failure_details(&self, members: &[Bytes]) -> EngineResult<Vec<Option<Bytes>>> {
        let fields: Vec<Bytes> = members.iter().map(|member| keys::details_field(member)).collect();
        self.look(
            || "read failure details".to_owned(),
            move |transaction| records::hash_get(transaction, keys::FAILED_DETAILS, &fields),
        )
        .await
    }

    async fn page_of_details(
        &self,
        cursor: Option<Bytes>,
        count: usize,
    ) -> EngineResult<(Option<Bytes>, Vec<DetailsField>)> {
        let (next, page) = self
            .look(
                || "read failure details".to_owned(),
                move |transaction| records::hash_page(transaction, keys::FAILED_DETAILS, cursor.as_ref(), count),
            )
            .await?;
        Ok((next, page.into_iter().map(read_field).collect()))
    }

    async fn mark_orphaned(&self, fields: &[Bytes], second: u64) -> EngineResult<()> {
        let marks: Vec<Bytes> = fields.iter().map(mark).collect();
        let second = Bytes::from(second.to_string());
        self.write(
            || "mark failure details".to_owned(),
            move |transaction| {
                let there = records::hash_get(transaction, keys::FAILED_DETAILS, &marks)?;
                let missing = marks.iter().zip(there).filter(|(_, there)| there.is_none());
                let missing: Vec<_> = missing.map(|(mark, _)| (mark.clone(), second.clone())).collect();
                match missing.is_empty() {
                    true => Ok(()),
                    false => records::hash_put(transaction, keys::FAILED_DETAILS, &missing),
                }
            },
        )
        .await
    }

    async fn unmark_orphaned(&self, fields: &[Bytes]) -> EngineResult<()> {
        let marks: Vec<Bytes> = fields.iter().map(mark).collect();
        self.write(
            || "unmark failure details".to_owned(),
            move |transaction| records::hash_remove(transaction, keys::FAILED_DETAILS, &marks).map(drop),
        )
        .await
    }

    async fn remove_details(&self, fields: &[Bytes]) -> EngineResult<u64> {
        let marks: Vec<Bytes> = fields.iter().map(mark).collect();
        let fields = fields.to_vec();
        self.write(
            || "remove failure details".to_owned(),
            move |transaction| {
                let removed = records::hash_remove(transaction, keys::FAILED_DETAILS, &fields)?;
                records::hash_remove(transaction, keys::FAILED_DETAILS, &marks)?;
                Ok(removed)
            },
        )
        .await
    }

    async fn keep_failing_group(&self, listener: FailingListener<'_>, group: &str) -> EngineResult<String> {
        let (field, group) = (listener.field(), group.to_owned());
        let attempted = format!("keep that '{}' fails in group '{group}'", listener.receiver);
        let keep = move |transaction: &mut Transaction<'_>| {
            let kept = records::hash_get(transaction, keys::FAILED_GROUPS, std::slice::from_ref(&field))?;
            if let Some(kept) = kept.into_iter().next().flatten() {
                return Ok(String::from_utf8_lossy(&kept).into_owned());
            }
            let kept = (field.clone(), Bytes::from(group.clone()));
            records::hash_put(transaction, keys::FAILED_GROUPS, &[kept])?;
            Ok(group.clone())
        };
        self.write(move || attempted, keep).await
    }

    async fn failing_groups(&self) -> EngineResult<FailingGroups> {
        let read = |transaction: &mut Transaction<'_>| {
            let (mut groups, mut cursor) = (FailingGroups::default(), None);
            loop {
                let (next, fields) = records::hash_page(transaction, keys::FAILED_GROUPS, cursor.as_ref(), 1000)?;
                groups.add(fields);
                if next.is_none() {
                    return Ok(groups);
                }
                cursor = next;
            }
        };
        self.look(|| "read the groups of failures".to_owned(), read).await
    }

    async fn forget_failing_groups(&self, of: &[FailingListener<'_>]) -> EngineResult<()> {
        let fields: Vec<Bytes> = of.iter().map(|listener| listener.field()).collect();
        let forget = move |transaction: &mut Transaction<'_>| {
            records::hash_remove(transaction, keys::FAILED_GROUPS, &fields).map(drop)
        };
        self.write(|| "forget the groups of failures".to_owned(), forget).await
    }
}
