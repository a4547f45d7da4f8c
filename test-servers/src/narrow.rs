//! The worst that can stand between a client and a server: a link that holds next to nothing, and that takes nothing more
//! from the client while the client does not take what is for it.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use socket2::SockRef;

/// How much it holds in each direction, and how much the system may hold for it.
const BUFFER: usize = 64 << 10;

/// A port that leads to another one through little room. Ends when dropped.
#[derive(Debug)]
pub struct NarrowLink {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes a second in each direction of each connection; 0 for no limit.
    rate: AtomicU64,
    ended: AtomicBool,
    down: AtomicU64,
}

impl NarrowLink {
    /// Leads to this port of 127.0.0.1.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).set_recv_buffer_size(BUFFER).unwrap();
        let link = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::default(),
        };
        let state = Arc::clone(&link.state);
        thread::spawn(move || {
            for client in listener.incoming() {
                if state.ended.load(SeqCst) {
                    return;
                }
                let server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
                if let (Ok(client), Ok(server)) = (client, server) {
                    let state = Arc::clone(&state);
                    thread::spawn(move || state.carry(&client, &server));
                }
            }
        });
        link
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many bytes a second pass in each direction of each connection; `None` for no limit.
    pub fn set_rate(&self, bytes_a_second: Option<u64>) {
        self.state.rate.store(bytes_a_second.unwrap_or(0), SeqCst);
    }

    /// How many bytes went to clients.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.state.down.load(SeqCst)
    }
}

impl Drop for NarrowLink {
    fn drop(&mut self) {
        self.state.ended.store(true, SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn carry(&self, client: &TcpStream, server: &TcpStream) {
        for socket in [client, server] {
            let _ = socket.set_nodelay(true);
            socket.set_nonblocking(true).unwrap();
            let _ = SockRef::from(socket).set_send_buffer_size(BUFFER);
            let _ = SockRef::from(socket).set_recv_buffer_size(BUFFER);
        }
        let (mut up, mut down) = (Direction::default(), Direction::default());
        while !self.ended.load(SeqCst) {
            let mut moved = down.fill(server);
            // Who does not take may not give.
            if down.is_empty() {
                moved = up.fill(client).max(moved);
            }
            let passed = down.drain(client);
            self.down.fetch_add(passed as u64, SeqCst);
            moved = moved.max(passed).max(up.drain(server));
            if up.ended || down.ended {
                return;
            }
            match self.rate.load(SeqCst) {
                _ if moved == 0 => thread::sleep(Duration::from_micros(100)),
                0 => {}
                rate => thread::sleep(Duration::from_secs_f64(moved as f64 / rate as f64)),
            }
        }
    }
}

/// What goes one way.
#[derive(Default)]
struct Direction {
    held: Vec<u8>,
    ended: bool,
}

impl Direction {
    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn fill(&mut self, mut from: &TcpStream) -> usize {
        if !self.held.is_empty() {
            return 0;
        }
        let mut buffer = vec![0; BUFFER];
        match from.read(&mut buffer) {
            Ok(read @ 1..) => {
                self.held.extend_from_slice(&buffer[..read]);
                read
            }
            other => self.stop(other),
        }
    }

    fn drain(&mut self, mut to: &TcpStream) -> usize {
        if self.held.is_empty() {
            return 0;
        }
        match to.write(&self.held) {
            Ok(written @ 1..) => {
                self.held.drain(..written);
                written
            }
            other => self.stop(other),
        }
    }

    fn stop(&mut self, outcome: io::Result<usize>) -> usize {
        self.ended |= !outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        0
    }
}
