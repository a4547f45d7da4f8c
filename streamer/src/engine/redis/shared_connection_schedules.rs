//! Senders, the receiving task and a server in many schedules: see [`crate::schedules`].
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join;
use shuttle::{future::block_on, thread};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    engine::redis::socket::Socket,
    schedules::{clock, explore},
};

const TIMEOUT: Duration = Duration::from_secs(10);
const SENDERS: usize = 3;

/// A connection over a stream that holds so many bytes, and its other end.
fn connected(holds: usize) -> (SharedConnection, DuplexStream) {
    let (client, server) = duplex(holds);
    let socket = Socket::over(client, Peer::Unix("nowhere".into()));
    let connection = ReaderConnection::over(socket, TIMEOUT, CancellationToken::new());
    (SharedConnection::new(connection, TIMEOUT), server)
}

/// Answers each line with what stands before its colon, at most so many. A sender's numbers never fall.
async fn answer(server: DuplexStream, most: usize) {
    let mut stream = BufReader::with_capacity(64, server);
    let mut last = [0; SENDERS];
    for _ in 0..most {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap() == 0 {
            return;
        }
        let (name, _) = line.split_once(':').unwrap();
        let (sender, number) = name.split_once('-').unwrap();
        let (sender, number) = (sender.parse::<usize>().unwrap(), number.parse::<usize>().unwrap());
        assert!(number > last[sender], "{name} comes after {}", last[sender]);
        last[sender] = number;
        let reply = format!("+{name}\r\n");
        if stream.get_mut().write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Asks twice at once, and then once more; each time so much more than the name is sent.
async fn ask_three_times(connection: &SharedConnection, sender: usize, more: usize) -> [RedisResult<()>; 3] {
    let ask = |number: usize| async move {
        let command = format!("{sender}-{number}:{}\n", "x".repeat(more));
        let reply = connection.exchange(command.as_bytes(), 1).await?;
        assert_eq!(reply, format!("+{sender}-{number}\r\n"));
        Ok(())
    };
    let (first, second) = join(ask(1), ask(2)).await;
    [first, second, ask(3).await]
}

/// Runs the senders, each in a thread of its own, and gives how many were answered.
fn run_senders(connection: &SharedConnection, more: usize) -> usize {
    let answered = Arc::new(AtomicUsize::new(0));
    let senders = (0..SENDERS).map(|sender| {
        let (connection, answered) = (connection.clone(), Arc::clone(&answered));
        thread::spawn(move || {
            let all = block_on(ask_three_times(&connection, sender, more));
            answered.fetch_add(all.iter().flatten().count(), Ordering::Relaxed);
        })
    });
    let senders = senders.collect::<Vec<_>>();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    answered.load(Ordering::Relaxed)
}

#[test]
fn everybody_is_answered_with_the_own_reply_whoever_writes() {
    let clock = clock();
    let _entered = clock.enter();
    // Less than a command, several commands, and so much that what gathers is written while somebody writes.
    for (holds, more, schedules) in [(16, 24, 300), (4096, 0, 300), (1024, 1500, 100)] {
        explore(schedules, move || {
            let (connection, server) = connected(holds);
            let server = shuttle::future::spawn(answer(server, usize::MAX));
            assert_eq!(run_senders(&connection, more), 3 * SENDERS);
            let inner = Arc::clone(&connection.0.0);
            assert_eq!(inner.capacity.available_permits(), CAPACITY);
            assert!(inner.state().pending.is_empty() && inner.state().gathered.is_empty());
            drop(connection);
            drop(inner);
            block_on(server).unwrap();
        });
    }
}

#[test]
fn nobody_waits_for_a_server_that_goes_away_between_two_replies() {
    let clock = clock();
    let _entered = clock.enter();
    for replies in 0..3 {
        explore(150, move || {
            let (connection, server) = connected(16);
            drop(shuttle::future::spawn(answer(server, replies)));
            assert!(run_senders(&connection, 24) <= replies);
            assert!(connection.has_ended());
        });
    }
}

#[test]
fn who_gives_up_takes_nothing_from_the_others() {
    let clock = clock();
    let _entered = clock.enter();
    explore(300, || {
        let (connection, server) = connected(16);
        let server = shuttle::future::spawn(answer(server, usize::MAX));
        let hasty = {
            let connection = connection.clone();
            thread::spawn(move || {
                block_on(async {
                    let mut exchange = pin!(connection.exchange(b"0-1:and more than there is room for\n", 1));
                    // Once, or twice with a turn of others between.
                    let polled = poll_fn(|context| Poll::Ready(exchange.as_mut().poll(context).is_ready())).await;
                    shuttle::future::yield_now().await;
                    polled || poll_fn(|context| Poll::Ready(exchange.as_mut().poll(context).is_ready())).await
                })
            })
        };
        let other = {
            let connection = connection.clone();
            thread::spawn(move || block_on(ask_three_times(&connection, 1, 24)))
        };
        hasty.join().unwrap();
        assert!(other.join().unwrap().iter().all(Result::is_ok));
        // What nobody waits for is answered, too, and gives its room back before the one that comes after it.
        assert!(block_on(ask_three_times(&connection, 2, 0)).iter().all(Result::is_ok));
        assert_eq!(connection.0.0.capacity.available_permits(), CAPACITY);
        drop(connection);
        block_on(server).unwrap();
    });
}
