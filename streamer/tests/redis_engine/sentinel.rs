//! A master that Sentinels watch.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fail_over_the_same_engine_finds_the_new_master() {
    let mut servers = SentinelSetup::start(3);
    let engine = works(&servers.url()).await;
    assert_eq!(servers.master.command(&["XLEN", "events"]), "1");
    servers.master.kill9();
    servers.wait_for_master(servers.replica.port());
    append_until_it_works(&engine).await;
    let written = servers.replica.command(&["XLEN", "events"]);
    assert!(written != "0", "{written}");
    // Readers find it too.
    let mode = ReadMode::Plain(vec![(StreamName::from("events"), EntryId::MIN)]);
    let mut reader = engine.reader(mode).await.unwrap();
    assert_eq!(
        reader.next(10, None).await.unwrap()[0].entries.len().to_string(),
        written
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_became_a_replica_is_left() {
    let servers = SentinelSetup::start(1);
    let engine = works(&servers.url()).await;
    servers.fail_over();
    servers.wait_for_master(servers.replica.port());
    append_until_it_works(&engine).await;
    assert!(
        servers
            .replica
            .command(&["INFO", "replication"])
            .contains("role:master")
    );
}

/// Emits without a pause until told to stop, and gives the IDs that were answered.
async fn emit_until(engine: RedisEngine, stop: std::sync::Arc<std::sync::atomic::AtomicBool>) -> Vec<EntryId> {
    let mut stored = Vec::new();
    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
        match engine.append(an_append("load")).await {
            Ok(id) => stored.push(id),
            Err(error) => {
                assert!(error.kind().is_transient(), "{error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    stored
}

fn is_master(server: &RedisServer) -> bool {
    server.command(&["ROLE"]).starts_with("master")
}

/// A replica may refuse to answer while it follows another master.
fn length(server: &RedisServer, stream: &str) -> usize {
    let mut length = None;
    streamer_test_servers::wait_until("the length is told", || {
        length = server.command(&["XLEN", stream]).parse().ok();
        length.is_some()
    });
    length.unwrap_or_default()
}

/// The old master takes itself for one for about ten seconds more. Everybody has left it long before.
#[allow(clippy::print_stdout, reason = "a figure for the documents")]
async fn a_planned_fail_over_is_followed_when_it_is_announced(servers: SentinelSetup, url: &str) {
    /// Each of these keeps a machine busy, and Sentinels that get no time give a fail-over up.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _only_one = ONE_AT_A_TIME.lock().await;
    let engine = works(url).await;
    let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
    let emitting: Vec<_> = (0..4)
        .map(|_| tokio::spawn(emit_until(engine.clone(), stop.clone())))
        .collect();
    let stream = StreamName::from("quiet");
    let mut reader = engine
        .reader(ReadMode::Plain(vec![(stream, EntryId::MIN)]))
        .await
        .unwrap();
    let waiting = tokio::spawn(async move { reader.next(1, Some(PATIENCE * 10)).await });
    streamer_test_servers::wait_until("there is load", || length(&servers.replica, "load") > 1_000);

    servers.fail_over();
    servers.wait_for_announcement();
    let announced = Instant::now();
    let before = length(&servers.replica, "load");
    let mut emitted = None;
    let mut read = None;
    streamer_test_servers::wait_until("the new master is found", || {
        emitted = emitted.or_else(|| (length(&servers.replica, "load") > before).then(|| announced.elapsed()));
        read = read.or_else(|| waiting.is_finished().then(|| announced.elapsed()));
        emitted.is_some() && read.is_some()
    });
    assert!(
        is_master(&servers.master),
        "it was left because of the announcement, not because it refused"
    );
    assert_kind(waiting.await.unwrap(), EngineErrorKind::Connection);
    stop.store(true, std::sync::atomic::Ordering::SeqCst);

    let mut stored = Vec::new();
    for task in emitting {
        stored.extend(task.await.unwrap());
    }
    let all = (RangeBound::Unbounded, RangeBound::Unbounded);
    append_until_it_works(&engine).await;
    let load = StreamName::from("load");
    let found = engine.range(&load, all.0, all.1, None, false).await.unwrap();
    let found: std::collections::HashSet<EntryId> = found.iter().map(|entry| entry.id).collect();
    let lost: Vec<&EntryId> = stored.iter().filter(|id| !found.contains(id)).collect();
    let span = |ids: &[&EntryId]| Some(ids.iter().map(|id| id.ms).max()? - ids.iter().map(|id| id.ms).min()?);
    let (lost, of_ms) = (lost.len(), span(&lost).unwrap_or(0));
    println!(
        "after the announcement emits arrived within {emitted:?}, and the reader ended within {read:?}; of {} answered \
         appends {lost}, those of {of_ms} ms, were lost with the old master",
        stored.len()
    );
    // A new reader reads at the new master.
    let mode = ReadMode::Plain(vec![(StreamName::from("load"), EntryId::MIN)]);
    let mut reader = engine.reader(mode).await.unwrap();
    assert_eq!(reader.next(10, None).await.unwrap()[0].entries.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_fail_over_is_followed_when_it_is_announced_plain() {
    let servers = SentinelSetup::start(3);
    let url = servers.url();
    a_planned_fail_over_is_followed_when_it_is_announced(servers, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_fail_over_is_followed_when_it_is_announced_tls() {
    let servers = SentinelSetup::start_tls(3);
    let url = servers.url();
    a_planned_fail_over_is_followed_when_it_is_announced(servers, &url).await;
}

/// A Sentinel whose user may not do everything.
async fn a_planned_fail_over_is_followed_by_a_user(rules: &str) {
    let user = format!("app on >secret ~* &* +@all {rules}");
    let servers = SentinelSetup::start_with(1, |_, sentinel| sentinel.user(&user));
    let url = format!("{}?sentinel_user=app&sentinel_password=secret", servers.url());
    a_planned_fail_over_is_followed_when_it_is_announced(servers, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_does_not_announce_is_asked() {
    a_planned_fail_over_is_followed_by_a_user("-subscribe").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_tells_only_the_address_is_asked_for_that() {
    a_planned_fail_over_is_followed_by_a_user("-subscribe -sentinel +sentinel|get-master-addr-by-name").await;
}

#[tokio::test]
async fn a_master_that_the_sentinels_do_not_know_is_named() {
    let servers = SentinelSetup::start(1);
    let error = connect_error(&servers.url().replace("/events", "/others")).await;
    assert_eq!(error.kind(), EngineErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("do not know the master"), "{error}");
}
