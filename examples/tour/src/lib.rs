//! One small program for each thing that Streamer does, in `src/bin/`. Each takes the store's URL, `memory:` if none is
//! given:
//!
//! ```text
//! cargo run -p tour --bin emit_an_event -- redis://127.0.0.1:6379
//! ```
//!
//! | program | what it shows |
//! | --- | --- |
//! | `emit_an_event` | an event and its message |
//! | `listen_to_events` | plainly, from an ID on, as a consumer of a group |
//! | `write_and_delete_entries` | entries of one stream, and of many, by hand |
//! | `read_entries` | all, some, a range, newest first, many streams |
//! | `wait_for_entries` | the next entry, plainly and in a group, and acknowledging it |
//! | `look_at_a_stream` | its length, groups, consumers and pending entries; claiming them |
//! | `keep_an_archive` | an archive driver of one's own |

use streamer::{Streamer, engine::EngineResult};

/// Connects to the store that the first argument names.
///
/// # Errors
///
/// When it cannot be reached.
pub async fn connect() -> EngineResult<Streamer> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    Streamer::connect(&url).await
}
