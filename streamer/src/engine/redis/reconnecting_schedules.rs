//! Callers of a server whose connections fail and break, in many schedules: see [`crate::schedules`].
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
};

use futures_util::future::join;
use redis::{ErrorKind, cmd};
use shuttle::{
    future::{block_on, yield_now},
    thread,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};

use super::*;
use crate::{
    engine::redis::socket::Socket,
    schedules::{clock, explore},
};

/// Makes a connection, or fails to.
pub(super) type Connect = Box<dyn Fn() -> BoxFuture<'static, RedisResult<ReaderConnection>> + Send + Sync>;

const CALLERS: usize = 3;

/// A server, as the tests see it.
#[derive(Default)]
struct Server {
    /// How many attempts to connect have begun, and how many of these go on.
    attempts: AtomicUsize,
    under_way: AtomicUsize,
    /// How many connections were made, and how many of these are not broken.
    made: AtomicUsize,
    whole: AtomicUsize,
    /// Whether all callers have what they want, so that connections may be closed.
    done: AtomicUsize,
}

impl Server {
    /// The first attempts fail, and each connection but the last few breaks after so many replies.
    fn source(self: &Arc<Self>, fail: usize, replies: usize, is_one_of_several: bool) -> Source {
        let server = Arc::clone(self);
        let connect = move || {
            let server = Arc::clone(&server);
            async move {
                assert_eq!(
                    server.under_way.fetch_add(1, Ordering::Relaxed),
                    0,
                    "two attempts at once"
                );
                assert_eq!(server.whole.load(Ordering::Relaxed), 0, "there is a connection");
                yield_now().await;
                let attempt = server.attempts.fetch_add(1, Ordering::Relaxed);
                server.under_way.fetch_sub(1, Ordering::Relaxed);
                if attempt < fail {
                    return Err((ErrorKind::Io, "nobody answers").into());
                }
                let number = server.made.fetch_add(1, Ordering::Relaxed) + 1;
                server.whole.fetch_add(1, Ordering::Relaxed);
                let (client, other) = duplex(1024);
                drop(shuttle::future::spawn(answer(server, other, number, replies)));
                let socket = Socket::over(client, Peer::Unix(number.to_string().into()));
                Ok(ReaderConnection::over(
                    socket,
                    RESPONSE_TIMEOUT,
                    CancellationToken::new(),
                ))
            }
            .boxed()
        };
        Source::Made(Box::new(connect), is_one_of_several)
    }
}

/// Answers so many commands `PING`, of which each may name the connection that it is meant for, and goes.
async fn answer(server: Arc<Server>, stream: DuplexStream, number: usize, replies: usize) {
    let mut stream = BufReader::with_capacity(64, stream);
    for _ in 0..replies {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line.is_empty() {
            assert_eq!(
                server.done.load(Ordering::Relaxed),
                1,
                "a connection that works was given up"
            );
            return;
        }
        // `*2`, `$4`, `PING`, `$1`, and the number.
        for _ in 0..4 {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        assert!(
            line.trim() == "any" || line.trim() == number.to_string(),
            "{} came on {number}",
            line.trim()
        );
        if stream.get_mut().write_all(b"+PONG\r\n").await.is_err() {
            return;
        }
    }
    // Before anybody can see that it breaks.
    server.whole.fetch_sub(1, Ordering::Relaxed);
}

fn ping(on: &str) -> Cmd {
    let mut ping = cmd("PING");
    ping.arg(on);
    ping
}

/// Asks until there is an answer.
async fn is_answered(server: &Reconnecting) {
    while server.run(&ping("any")).await.is_err() {
        yield_now().await;
    }
}

#[test]
fn there_is_one_attempt_at_a_time_and_what_works_is_kept() {
    let clock = clock();
    let _entered = clock.enter();
    for (fail, replies, is_one_of_several) in [(0, 1, false), (2, 2, false), (2, 2, true)] {
        explore(100, move || {
            let server = Arc::<Server>::default();
            let connection = Reconnecting::new(server.source(fail, replies, is_one_of_several));
            let callers = (0..CALLERS).map(|_| {
                let connection = Arc::clone(&connection);
                thread::spawn(move || {
                    block_on(async {
                        join(is_answered(&connection), is_answered(&connection)).await;
                        is_answered(&connection).await;
                    });
                })
            });
            let callers = callers.collect::<Vec<_>>();
            callers.into_iter().for_each(|caller| caller.join().unwrap());
            assert_eq!(
                server.attempts.load(Ordering::Relaxed),
                fail + server.made.load(Ordering::Relaxed)
            );
            server.done.store(1, Ordering::Relaxed);
        });
    }
}

#[test]
fn what_is_meant_for_one_connection_is_never_sent_on_another() {
    let clock = clock();
    let _entered = clock.enter();
    explore(300, || {
        let server = Arc::<Server>::default();
        let connection = Reconnecting::new(server.source(0, 2, false));
        let others = (1..CALLERS).map(|_| {
            let connection = Arc::clone(&connection);
            thread::spawn(move || {
                block_on(async {
                    for _ in 0..3 {
                        is_answered(&connection).await;
                    }
                });
            })
        });
        let others = others.collect::<Vec<_>>();
        block_on(async {
            let established = connection.established().await.unwrap();
            let Peer::Unix(number) = established.peer() else {
                panic!("{established:?}")
            };
            // So that there may be another by then.
            for _ in 0..20 {
                yield_now().await;
            }
            // The server sees where it comes.
            connection.run_over(&established, &ping(number.to_str().unwrap())).await;
            is_answered(&connection).await;
        });
        others.into_iter().for_each(|caller| caller.join().unwrap());
        server.done.store(1, Ordering::Relaxed);
    });
}

#[test]
fn an_attempt_goes_on_for_others_when_its_first_caller_gives_up() {
    let clock = clock();
    let _entered = clock.enter();
    for (fail, is_one_of_several) in [(0, false), (1, true)] {
        explore(300, move || {
            let server = Arc::<Server>::default();
            let connection = Reconnecting::new(server.source(fail, 10, is_one_of_several));
            if fail > 0 {
                assert!(block_on(connection.run(&ping("any"))).is_err());
            }
            let others = (1..CALLERS).map(|_| {
                let connection = Arc::clone(&connection);
                thread::spawn(move || block_on(is_answered(&connection)))
            });
            let others = others.collect::<Vec<_>>();
            block_on(async {
                let asked = ping("any");
                let mut asking = pin!(connection.run(&asked));
                poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_ready())).await
            });
            others.into_iter().for_each(|caller| caller.join().unwrap());
            assert_eq!(server.attempts.load(Ordering::Relaxed), fail + 1);
            server.done.store(1, Ordering::Relaxed);
        });
    }
}

#[test]
fn an_attempt_at_a_node_that_was_down_goes_on_when_nobody_waits_for_it() {
    let clock = clock();
    let _entered = clock.enter();
    explore(300, || {
        let server = Arc::<Server>::default();
        let connection = Reconnecting::new(server.source(1, 10, true));
        block_on(async {
            assert!(connection.run(&ping("any")).await.is_err());
            let asked = ping("any");
            let mut asking = Box::pin(connection.run(&asked));
            poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_ready())).await;
            drop(asking);
            while server.made.load(Ordering::Relaxed) == 0 {
                yield_now().await;
            }
            is_answered(&connection).await;
        });
        assert_eq!(server.made.load(Ordering::Relaxed), 1);
        server.done.store(1, Ordering::Relaxed);
    });
}
