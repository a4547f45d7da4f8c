//! Opens a file that this user may not write. A log that appears later ends the session: the next one reads with it, and
//! readers go on where they are.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

use super::{
    failure::{Failure, Step},
    store::cannot_open,
};
use crate::{engine::EngineErrorKind, read_only_file};

pub(super) fn connect(path: &Path) -> Step<Connection> {
    let connection = read_only_file::open(path).map_err(|error| match read_only_file::explain(path, &error) {
        Some(reason) => Failure::refused(EngineErrorKind::Permission, reason),
        None => cannot_open(path, error),
    })?;
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}
