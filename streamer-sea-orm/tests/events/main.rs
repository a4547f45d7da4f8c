//! What entities emit, on SQLite, PostgreSQL and MariaDB.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod bulk;
mod databases;
mod laravel;
mod orders;
mod saving;
mod types;
