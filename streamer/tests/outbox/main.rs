//! The transactional outbox: what is committed is published, once and in order, on PostgreSQL, MariaDB and SQLite.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod databases;
mod killed;
mod one_file;
mod relay;
mod trouble;
