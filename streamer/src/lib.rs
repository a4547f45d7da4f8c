//! Events between applications over Redis Streams, or over one SQLite file with no server at all.

pub mod engine;
mod entry;

pub use entry::{Entry, EntryId, Fields, InvalidEntryId, Keep, NewId, RangeBound, StreamName, Trim};
