//! What the server of a database says when it refuses.

/// An error in the server's own words. `sqlx` adds a line of PostgreSQL's source code, which looks like one of the statement.
pub(crate) fn in_words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
}
