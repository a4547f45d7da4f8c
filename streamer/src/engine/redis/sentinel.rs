//! Which server is the master, as the Sentinels say.
//!
//! When they make another server the master they announce it (`+switch-master`), about a second after a planned fail-over
//! began. The old master calls itself one for eleven seconds more, and takes writes that are lost in the end. So one task
//! for each Sentinel listens to its announcements, or asks it each second where it does not allow that, and every
//! connection to the old master ends as soon as one of them knows the new one.
//!
//! Sentinels learn of a switch one after the other. What they say is compared by the epoch of their configuration, so that
//! one that lags behind does not lead back.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{ErrorKind, RedisError, RedisResult, Value, cmd};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    endpoint::Endpoint,
    reader_connection::ReaderConnection,
    reconnecting::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT},
    reply::{self, Decoded, Unexpected},
    socket::Address,
};

const ANNOUNCEMENT: &str = "+switch-master";
/// How long a Sentinel may take to name the master before the others decide.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a Sentinel is asked that does not announce, and how soon one that was lost is sought again.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long an older epoch is taken for that of a Sentinel that lags behind. Later it is that of Sentinels that were set
/// up again.
const LAG: Duration = Duration::from_secs(30);

/// The Sentinels that watch a master.
pub(super) struct Sentinels {
    shared: Arc<Watched>,
    /// The tasks that follow what they announce; none before the first connection.
    following: Mutex<Vec<AbortOnDropHandle<()>>>,
}

struct Watched {
    sentinels: Vec<Endpoint>,
    /// What they call the master.
    name: String,
    /// The master, but for its address.
    master: Endpoint,
    known: Mutex<Option<Known>>,
}

/// The master that the Sentinels agreed on last, as far as is known here.
struct Known {
    address: Address,
    epoch: u64,
    /// When a Sentinel named it last.
    confirmed: Instant,
    /// Cancelled when it is replaced.
    replaced: CancellationToken,
}

impl Sentinels {
    /// `master` is the server, with an address that is not used.
    pub(super) fn new(sentinels: Vec<Endpoint>, name: String, master: Endpoint) -> Self {
        Self {
            shared: Arc::new(Watched {
                sentinels,
                name,
                master,
                known: Mutex::default(),
            }),
            following: Mutex::default(),
        }
    }

    /// A connection to the master, which ends when it is replaced.
    pub(super) async fn connect(&self) -> RedisResult<ReaderConnection> {
        let (address, replaced) = self.shared.find().await?;
        self.follow();
        let master = self.shared.master.at(address);
        let mut connection = ReaderConnection::connect(&master, CONNECT_TIMEOUT, RESPONSE_TIMEOUT, replaced).await?;
        match connection.run(&cmd("ROLE")).await {
            Ok(role) if !is_master(&role) => Err(RedisError::from((
                ErrorKind::MasterNameNotFoundBySentinel,
                "the server that the Sentinels call the master is not one (yet)",
                master.address.to_string(),
            ))),
            Err(error) if error.is_io_error() => Err(error),
            // A user who may not ask has to believe the Sentinels.
            _ => Ok(connection),
        }
    }

    /// Has a task follow each Sentinel, unless one does. Tasks end with the runtime that they began on.
    fn follow(&self) {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        if following.is_empty() || following.iter().any(AbortOnDropHandle::is_finished) {
            let follow = |sentinel: &Endpoint| {
                let task = follow(self.shared.clone(), sentinel.clone());
                AbortOnDropHandle::new(tokio::spawn(task))
            };
            *following = self.shared.sentinels.iter().map(follow).collect();
        }
    }
}

fn is_master(role: &Value) -> bool {
    let Value::Array(items) = role else { return true };
    items
        .first()
        .is_none_or(|role| *role == Value::BulkString(b"master".to_vec()))
}

/// Learns for as long as it runs which server one Sentinel calls the master.
async fn follow(watched: Arc<Watched>, sentinel: Endpoint) {
    loop {
        // Whatever the trouble is, it may be over in a second; those who need the master are told about it.
        if let Err(error) = watched.listen(&sentinel).await
            && !error.is_io_error()
        {
            let _ = watched.ask_on(&sentinel).await;
        }
        sleep(ASK_EVERY).await;
    }
}

impl Watched {
    /// Follows what a Sentinel announces.
    async fn listen(&self, sentinel: &Endpoint) -> RedisResult<()> {
        let mut connection = self.connect(sentinel).await?;
        connection.run(cmd("SUBSCRIBE").arg(ANNOUNCEMENT)).await?;
        // Only now, so that no switch falls in between; over another connection, since this one only announces.
        self.learn(ask(&mut self.connect(sentinel).await?, &self.name).await?);
        loop {
            let announced = connection.pushed().await?;
            if let Some(address) = announced_master(&announced, &self.name) {
                self.announce(address);
            }
        }
    }

    /// Asks a Sentinel each second.
    async fn ask_on(&self, sentinel: &Endpoint) -> RedisResult<()> {
        let mut connection = self.connect(sentinel).await?;
        let mut last = None;
        loop {
            let (address, epoch) = ask(&mut connection, &self.name).await?;
            // Where it does not tell the epoch, that it changed its mind says as much.
            if last.is_some_and(|last| last != address) {
                self.announce(address.clone());
            }
            last = Some(address.clone());
            self.learn((address, epoch));
            sleep(ASK_EVERY).await;
        }
    }

    async fn connect(&self, sentinel: &Endpoint) -> RedisResult<ReaderConnection> {
        let never = CancellationToken::new();
        ReaderConnection::connect(sentinel, CONNECT_TIMEOUT, RESPONSE_TIMEOUT, never).await
    }

    /// Asks all Sentinels at once, until most of them have answered.
    async fn find(&self) -> RedisResult<(Address, CancellationToken)> {
        let one = |sentinel| async move {
            let asked = async { ask(&mut self.connect(sentinel).await?, &self.name).await };
            let answer = timeout(ASK_TIMEOUT, asked).await;
            answer.unwrap_or_else(|_| Err(RedisError::from((ErrorKind::Io, "a Sentinel did not answer"))))
        };
        let mut asked: FuturesUnordered<_> = self.sentinels.iter().map(one).collect();
        let (mut answers, mut failure) = (0, None);
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(answer) => {
                    self.learn(answer);
                    answers += 1;
                }
                // One that does not know the master says more than one that is not there.
                Err(error) => failure = Some(failure.filter(|_| error.is_io_error()).unwrap_or(error)),
            }
            if answers > self.sentinels.len() / 2 {
                break;
            }
        }
        let known = self.known();
        match (&*known, failure) {
            (Some(known), _) if answers > 0 => Ok((known.address.clone(), known.replaced.clone())),
            (_, Some(error)) => Err(error),
            _ => Err((ErrorKind::EmptySentinelList, "the URL names no Sentinel").into()),
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A Sentinel answered.
    fn learn(&self, (address, epoch): (Address, u64)) {
        let mut known = self.known();
        match &mut *known {
            Some(known) if known.address == address => {
                known.epoch = known.epoch.max(epoch);
                known.confirmed = Instant::now();
            }
            Some(newer) if newer.epoch >= epoch && newer.confirmed.elapsed() < LAG => {}
            _ => replace(&mut known, address, epoch),
        }
    }

    /// A Sentinel announced a new master, which has a greater epoch than the old one.
    fn announce(&self, address: Address) {
        let mut known = self.known();
        let epoch = known.as_ref().map_or(0, |known| known.epoch);
        if known.as_ref().is_none_or(|known| known.address != address) {
            replace(&mut known, address, epoch + 1);
        }
    }
}

fn replace(known: &mut Option<Known>, address: Address, epoch: u64) {
    if let Some(old) = known.take() {
        tracing::info!("the Sentinels replaced the master {} by {address}", old.address);
        old.replaced.cancel();
    }
    *known = Some(Known {
        address,
        epoch,
        confirmed: Instant::now(),
        replaced: CancellationToken::new(),
    });
}

/// Asks a Sentinel for the master's address and the epoch of its configuration. Where the latter may not be asked for it
/// is 0.
async fn ask(sentinel: &mut ReaderConnection, name: &str) -> RedisResult<(Address, u64)> {
    match sentinel.run(cmd("SENTINEL").arg("MASTER").arg(name)).await {
        Ok(state) => return understood(master_state(state)),
        Err(error) if error.code() == Some("NOPERM") => {}
        Err(error) => return Err(unknown(error)),
    }
    let address = sentinel
        .run(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name))
        .await?;
    if address == Value::Nil {
        return Err(unknown(
            (ErrorKind::Client, "the Sentinel answered with nothing").into(),
        ));
    }
    understood(address_of(address).map(|address| (address, 0)))
}

/// A Sentinel that answers an error does not watch that master.
fn unknown(error: RedisError) -> RedisError {
    if error.is_io_error() {
        return error;
    }
    RedisError::from((
        ErrorKind::MasterNameNotFoundBySentinel,
        "the Sentinels do not know the master that the URL names",
        error.to_string(),
    ))
}

fn understood<T>(decoded: Decoded<T>) -> RedisResult<T> {
    decoded.map_err(|Unexpected(what)| {
        RedisError::from((
            ErrorKind::UnexpectedReturnType,
            "a Sentinel's answer makes no sense",
            format!("expected {what}"),
        ))
    })
}

/// Names and values in turn.
fn master_state(state: Value) -> Decoded<(Address, u64)> {
    let (mut host, mut port, mut epoch) = (None, None, 0);
    let mut items = reply::array(state)?.into_iter();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        match &*reply::text(name)? {
            "ip" => host = Some(reply::text(value)?),
            "port" => port = u16::try_from(reply::number(value)?).ok(),
            "config-epoch" => epoch = reply::number(value)?,
            _ => {}
        }
    }
    let expected = Unexpected("the master's host and port");
    let (host, port) = host.zip(port).ok_or(expected)?;
    Ok((Address::Tcp(host, port), epoch))
}

fn address_of(pair: Value) -> Decoded<Address> {
    let [host, port] = reply::array(pair)?
        .try_into()
        .map_err(|_| Unexpected("a host and a port"))?;
    let port = u16::try_from(reply::number(port)?).map_err(|_| Unexpected("a port"))?;
    Ok(Address::Tcp(reply::text(host)?, port))
}

/// The new master in `name old-host old-port new-host new-port`, if this is an announcement about that name.
fn announced_master(pushed: &Value, name: &str) -> Option<Address> {
    let Value::Array(items) = pushed else { return None };
    let [Value::BulkString(kind), Value::BulkString(_), Value::BulkString(text)] = &items[..] else {
        return None;
    };
    if kind != b"message" {
        return None;
    }
    let text = str::from_utf8(text).ok()?;
    // A name may hold spaces.
    let rest = text.strip_prefix(name)?.strip_prefix(' ')?;
    let [_, _, host, port] = rest.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    Some(Address::Tcp(host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn watched() -> Watched {
        let nowhere = Endpoint {
            address: Address::Tcp(String::new(), 0),
            tls: None,
            user: None,
            password: None,
            db: 0,
        };
        Watched {
            sentinels: Vec::new(),
            name: "events".into(),
            master: nowhere,
            known: Mutex::default(),
        }
    }

    fn at(port: u16) -> Address {
        Address::Tcp("10.0.0.1".into(), port)
    }

    fn master(watched: &Watched) -> Option<(Address, CancellationToken)> {
        let known = watched.known();
        known
            .as_ref()
            .map(|known| (known.address.clone(), known.replaced.clone()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_sentinel_that_lags_behind_does_not_lead_back_to_the_old_master() {
        let watched = watched();
        watched.learn((at(1), 5));
        let old = master(&watched).map(|(_, replaced)| replaced);
        watched.announce(at(2));
        assert!(old.is_some_and(|old| old.is_cancelled()));
        let (address, replaced) = master(&watched).unwrap();
        watched.learn((at(1), 5));
        watched.announce(at(2));
        assert_eq!(address, at(2));
        assert!(!replaced.is_cancelled(), "nothing has changed since");

        // Its own epoch confirms it; a greater one replaces it at once.
        watched.learn((at(2), 7));
        watched.learn((at(1), 6));
        assert!(!replaced.is_cancelled());
        watched.learn((at(3), 8));
        assert!(replaced.is_cancelled());

        // Sentinels that were set up again begin with small epochs.
        tokio::time::advance(LAG).await;
        watched.learn((at(4), 0));
        assert_eq!(master(&watched).map(|(address, _)| address), Some(at(4)));
    }

    #[test]
    fn only_announcements_about_the_master_count() {
        let message = |channel: &str, text: &str| {
            let part = |text: &str| Value::BulkString(text.as_bytes().to_vec());
            Value::Array(vec![part("message"), part(channel), part(text)])
        };
        let announced = |text| announced_master(&message(ANNOUNCEMENT, text), "events");
        assert_eq!(announced("events 10.0.0.1 1 10.0.0.1 2"), Some(at(2)));
        assert_eq!(announced("events2 10.0.0.1 1 10.0.0.1 2"), None);
        assert_eq!(announced("events of mine 10.0.0.1 1 10.0.0.1 2"), None);
        assert_eq!(announced("events 10.0.0.1 1 10.0.0.1"), None);
        assert_eq!(announced_master(&Value::Okay, "events"), None);
    }
}
