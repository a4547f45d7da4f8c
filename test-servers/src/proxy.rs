//! A network that is slow, narrow, stalled or cut.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// As small as a packet, so that a narrow link passes on a large reply bit by bit.
const CHUNK: usize = 8 << 10;

/// How many chunks a link holds before the sender has to wait.
const CHUNKS_IN_FLIGHT: usize = 1_024;

/// A port that leads to another one. Delay, rate and stalls can be changed at any time. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    target: u16,
    /// Microseconds that each byte needs in one direction.
    delay: AtomicU64,
    /// Bytes a second in each direction of each connection; 0 for no limit.
    rate: AtomicU64,
    stalled: AtomicBool,
    refusing: AtomicBool,
    /// The next chunk is to be changed on its way.
    corrupting: AtomicBool,
    ended: AtomicBool,
    up: AtomicU64,
    down: AtomicU64,
    round_trips: AtomicU64,
    opened: AtomicU64,
    refused: AtomicU64,
    /// Both sockets of each connection, to cut them.
    connections: Mutex<Vec<[TcpStream; 2]>>,
}

impl Proxy {
    /// Leads to this port of 127.0.0.1; at first without delay or limit.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::new(State {
                target: port,
                ..State::default()
            }),
        };
        let state = Arc::clone(&proxy.state);
        thread::spawn(move || {
            for client in listener.incoming() {
                if state.ended.load(SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    state.connect(client);
                }
            }
        });
        proxy
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How long a byte goes there and back, without the time that the server needs.
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.state.delay.store(round_trip.as_micros() as u64 / 2, SeqCst);
    }

    /// How many bytes a second pass in each direction of each connection; `None` for no limit.
    pub fn set_rate(&self, bytes_a_second: Option<u64>) {
        self.state.rate.store(bytes_a_second.unwrap_or(0), SeqCst);
    }

    /// Holds back every byte, of new connections too, until [`Proxy::resume`]. Nothing is lost, nobody is told.
    pub fn stall(&self) {
        self.state.stalled.store(true, SeqCst);
    }

    /// Lets go on what [`Proxy::stall`] or [`Proxy::refuse`] held up.
    pub fn resume(&self) {
        self.state.stalled.store(false, SeqCst);
        self.state.refusing.store(false, SeqCst);
    }

    /// Changes a bit of what passes next, in either direction.
    pub fn corrupt(&self) {
        self.state.corrupting.store(true, SeqCst);
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        for [client, server] in self.state.connections().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// Cuts every connection, and each new one until [`Proxy::resume`].
    pub fn refuse(&self) {
        self.state.refusing.store(true, SeqCst);
        self.cut();
    }

    /// How often a client sent something after it had received something, of all connections together: about as many
    /// round trips were waited for, and no more.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.state.round_trips.load(SeqCst)
    }

    /// How many bytes came from clients.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.state.up.load(SeqCst)
    }

    /// How many bytes came from the server.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.state.down.load(SeqCst)
    }

    /// How many connections were ever opened.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.opened.load(SeqCst)
    }

    /// How many connections were cut at once because of [`Proxy::refuse`].
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.state.refused.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, SeqCst);
        self.cut();
        // So that the listener is asked once more, and ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn connections(&self) -> MutexGuard<'_, Vec<[TcpStream; 2]>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        if self.refusing.load(SeqCst) {
            self.refused.fetch_add(1, SeqCst);
            return;
        }
        let target = SocketAddr::from(([127, 0, 0, 1], self.target));
        let Ok(server) = TcpStream::connect(target) else {
            return;
        };
        self.opened.fetch_add(1, SeqCst);
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let answered = Arc::new(AtomicBool::new(true));
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        self.connections().push([copy(&client), copy(&server)]);
        self.carry(copy(&client), copy(&server), true, Arc::clone(&answered));
        self.carry(server, client, false, answered);
    }

    /// Carries what one side says to the other: one thread takes it and notes when, another hands it over when its time
    /// has come, so that a delay does not limit how much is under way.
    fn carry(self: &Arc<Self>, mut from: TcpStream, to: TcpStream, up: bool, answered: Arc<AtomicBool>) {
        let (sender, receiver) = sync_channel(CHUNKS_IN_FLIGHT);
        let state = Arc::clone(self);
        thread::spawn(move || state.hand_over(&receiver, to));
        let state = Arc::clone(self);
        thread::spawn(move || state.take(&mut from, &sender, up, &answered));
    }

    fn take(&self, from: &mut TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, up: bool, answered: &AtomicBool) {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if up {
                self.up.fetch_add(length as u64, SeqCst);
                if answered.swap(false, SeqCst) {
                    self.round_trips.fetch_add(1, SeqCst);
                }
            } else {
                self.down.fetch_add(length as u64, SeqCst);
                answered.store(true, SeqCst);
            }
            if sender.send((Instant::now(), buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    }

    fn hand_over(&self, receiver: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
        while let Ok((taken, mut bytes)) = receiver.recv() {
            thread::sleep(
                (taken + Duration::from_micros(self.delay.load(SeqCst))).saturating_duration_since(Instant::now()),
            );
            while self.stalled.load(SeqCst) && !self.ended.load(SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            if let rate @ 1.. = self.rate.load(SeqCst) {
                thread::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64));
            }
            if self.corrupting.swap(false, SeqCst) {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}
