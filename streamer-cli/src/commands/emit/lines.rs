//! `emit --lines`: one event for each line, in chunks, so that a file of any size needs little memory.
//!
//! A thread reads lines, which may block; what has come is emitted as soon as no more comes for a moment.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read},
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use streamer::{DynamicEvent, EmitAllError, EntryId, OrderedJson, StreamName, Streamer, Trim};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout_at,
};

use super::{Emit, parsed};
use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    output, terminal,
};

/// A chunk is emitted when it holds so many events …
const CHUNK_EVENTS: usize = 512;
/// … or so many bytes of JSON.
const CHUNK_BYTES: usize = 1 << 20;
/// A longer line is refused. Redis takes no value longer than that either.
const LONGEST_LINE: u64 = super::LONGEST_PAYLOAD;

/// Lines that are read before they are asked for …
const READ_AHEAD: usize = 32;
/// … and their bytes; one longer line is read when all before it were taken.
const READ_AHEAD_BYTES: u32 = 1 << 20;
/// What has come is emitted when no more comes for so long …
const PAUSE: Duration = Duration::from_millis(20);
/// … and at the latest after so long, where lines drip in.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

type Input = Box<dyn io::BufRead + Send>;

/// What was written so far.
#[derive(Default)]
struct Written {
    events: u64,
    ids: Option<(EntryId, EntryId)>,
}

pub(super) async fn emit(command: &Emit, session: &Session) -> Outcome {
    let (input, size, from) = open(command.payload.as_deref())?;
    let streamer = session.connect().await?;
    let bar = progress(size, session.quiet);
    let began = Instant::now();
    let mut written = Written::default();
    let result = run(command, &streamer, input, &from, &bar, &mut written).await;
    bar.finish_and_clear();
    if let Err(mut failure) = result {
        let (events, name) = (written.events, &command.name);
        failure.text = failure
            .text
            .map(|text| format!("{text}; {} written to '{name}' before", were(events)));
        return Err(failure);
    }
    let seconds = began.elapsed().as_secs_f64();
    let Written { events, ids } = written;
    if session.json {
        let (first, last) = ids.unzip();
        output::done_json(&output::object!({"emitted": events, "first": first, "last": last, "seconds": seconds}))?;
    } else {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let rate = (events as f64 / seconds.max(1e-9)) as u64;
        let range = ids
            .map(|(first, last)| format!(", from {first} to {last}"))
            .unwrap_or_default();
        output::done(format!(
            "Emitted {} to '{}' in {seconds:.2} s ({rate}/s){range}.",
            output::counted(events, "event"),
            command.name
        ))?;
    }
    Ok(Exit::Done)
}

fn were(events: u64) -> String {
    match events {
        1 => "1 event was".to_owned(),
        _ => format!("{events} events were"),
    }
}

async fn run(
    command: &Emit,
    streamer: &Streamer,
    input: Input,
    from: &str,
    bar: &ProgressBar,
    written: &mut Written,
) -> Result<(), Failure> {
    let mut lines = read_lines(input);
    let mut number = 0_u64;
    loop {
        let mut chunk = Vec::new();
        // On which line each event of the chunk stands.
        let mut places = Vec::new();
        let mut bytes = 0;
        let mut end = None;
        let mut deadline = tokio::time::Instant::now();
        while chunk.len() < CHUNK_EVENTS && bytes < CHUNK_BYTES {
            let next = match chunk.is_empty() {
                true => {
                    let next = lines.recv().await;
                    deadline = tokio::time::Instant::now() + LONGEST_WAIT;
                    next
                }
                false => {
                    let pause = tokio::time::Instant::now() + PAUSE;
                    match timeout_at(pause.min(deadline), lines.recv()).await {
                        Ok(next) => next,
                        Err(_) => break,
                    }
                }
            };
            let Some(read) = next else {
                end = Some(Ok(()));
                break;
            };
            number += 1;
            // Its bytes count as read ahead until they are in the chunk.
            let (read, _room) = read;
            let (line, payload) = match read {
                Ok(line) if line.len() as u64 > LONGEST_LINE => {
                    let most = LONGEST_LINE >> 20;
                    let reason = format!("is longer than {most} MiB, which is more than a payload may have");
                    (line, Err(reason))
                }
                Ok(line) if line.trim_ascii().is_empty() => {
                    bytes += line.len();
                    continue;
                }
                Ok(line) => {
                    let payload = parse(&line);
                    (line, payload)
                }
                Err(error) => (Vec::new(), Err(format!("could not be read: {error}"))),
            };
            bytes += line.len();
            match payload {
                Ok(payload) => {
                    chunk.push(DynamicEvent::new(&command.name, payload).with_kind(command.kind.clone()));
                    places.push(number);
                }
                Err(reason) => {
                    let quoted = terminal::beginning(&line, 60);
                    end = Some(Err(Failure::failed(format!(
                        "line {number} of {from} {reason} (`{quoted}`)"
                    ))));
                    break;
                }
            }
        }
        // What came before a bad line is written; the line is named, and nothing after it is written.
        send(command, streamer, &chunk, &places, from, written).await?;
        bar.inc(bytes as u64);
        bar.set_message(written.events.to_string());
        if let Some(end) = end {
            return end;
        }
    }
}

/// A line, and the room that it takes of what may be read ahead.
type Line = (io::Result<Vec<u8>>, OwnedSemaphorePermit);

/// Reads lines on a thread of its own, no faster than they are taken. It ends with the input, after an error or a line
/// that is too long, or when nobody wants more.
fn read_lines(mut input: Input) -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let room = Arc::new(Semaphore::new(READ_AHEAD_BYTES as usize));
    let runtime = Handle::current();
    std::thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            let read = (&mut input).take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
            let is_last = read.is_err() || line.len() as u64 > LONGEST_LINE;
            if matches!(read, Ok(0)) {
                return;
            }
            let bytes = u32::try_from(line.len()).map_or(READ_AHEAD_BYTES, |bytes| bytes.min(READ_AHEAD_BYTES));
            let Ok(taken) = runtime.block_on(Arc::clone(&room).acquire_many_owned(bytes)) else {
                return;
            };
            if sender.blocking_send((read.map(|_| line), taken)).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

fn parse(line: &[u8]) -> Result<OrderedJson, String> {
    let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    parsed(text)
}

/// Emits a chunk; `places` says on which line each event stands.
async fn send(
    command: &Emit,
    streamer: &Streamer,
    chunk: &[DynamicEvent<OrderedJson>],
    places: &[u64],
    from: &str,
    written: &mut Written,
) -> Result<(), Failure> {
    if chunk.is_empty() {
        return Ok(());
    }
    let result = streamer.emit_all(chunk).await;
    let (ids, broken) = match result {
        Ok(ids) => (ids, None),
        Err(mut error) => {
            let ids = std::mem::take(&mut error.written)
                .into_iter()
                .map(|(_, id)| id)
                .collect();
            (ids, Some(error))
        }
    };
    written.events += ids.len() as u64;
    if let (Some(smallest), Some(greatest)) = (ids.first(), ids.last()) {
        written.ids = Some((written.ids.map_or(*smallest, |(first, _)| first), *greatest));
    }
    if let Some(EmitAllError { failed, unknown, .. }) = broken {
        let unsure = unknown.len();
        let Some((position, error)) = failed.into_iter().chain(unknown).min_by_key(|(position, _)| *position) else {
            return Err(Failure::failed("the batch was not written as a whole"));
        };
        let mut failure = super::failure(&error);
        let line = places.get(position).copied().unwrap_or_default();
        let unsure = if unsure > 0 {
            format!(
                "; {} from this line on may have been written",
                output::counted(unsure as u64, "event")
            )
        } else {
            String::new()
        };
        failure.text = Some(format!("line {line} of {from}: {error}{unsure}"));
        return Err(failure);
    }
    if let Some(entries) = command.maxlen {
        streamer
            .engine()
            .trim(&StreamName::from(&command.name), Trim::max_len(entries))
            .await?;
    }
    Ok(())
}

/// What to read, its size where that is known, and what to call it.
fn open(payload: Option<&str>) -> Result<(Input, Option<u64>, String), Failure> {
    match payload {
        None | Some("-") => Ok((Box::new(BufReader::new(io::stdin())), None, "stdin".to_owned())),
        Some(text) => match text.strip_prefix('@') {
            Some(path) => {
                let file =
                    File::open(path).map_err(|error| Failure::failed(format!("could not open {path}: {error}")))?;
                let size = file
                    .metadata()
                    .ok()
                    .filter(std::fs::Metadata::is_file)
                    .map(|data| data.len());
                Ok((Box::new(BufReader::with_capacity(1 << 16, file)), size, path.to_owned()))
            }
            None => Err(Failure::usage(
                "with --lines the events come from @FILE or, with `-` or nothing, from stdin",
            )),
        },
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(size: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "{bar:40} {percent}% {msg} events, {binary_bytes_per_sec}, {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {msg} events, {binary_bytes}, {binary_bytes_per_sec}",
        ),
    };
    bar.enable_steady_tick(Duration::from_millis(100));
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
