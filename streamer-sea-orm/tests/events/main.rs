//! What entities emit, on SQLite, PostgreSQL and MariaDB.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod bulk;
mod databases;
mod dense;
mod direct;
mod inbox;
mod laravel;
mod migration;
mod one_file;
mod orders;
mod overrides;
mod saving;
mod types;
