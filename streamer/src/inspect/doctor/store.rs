//! Checks of the servers, or of the file.

use super::{Finding, Importance, duration};
use crate::engine::{CLUSTER_COMMANDS, COMMANDS, FileHealth, NodeHealth, StoreHealth};

/// A clock may be off by so many milliseconds.
const SKEW_MS: u64 = 2_000;
/// A round trip should not take longer.
const ROUND_TRIP_MS: u128 = 50;
/// A write-ahead log that is larger is not being copied into the database.
const LOG_BYTES: u64 = 256 << 20;
/// Memory is nearly full beyond so many percent.
const FULL_PERCENT: u64 = 90;
/// File systems whose locks SQLite cannot rely on, or that are on other machines.
const REMOTE: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "fuse.sshfs",
    "lustre",
];

pub(super) fn check(health: &StoreHealth, findings: &mut Vec<Finding>) {
    for node in &health.nodes {
        check_node(node, findings);
    }
    if let Some(file) = &health.file {
        check_file(file, findings);
    }
}

fn check_node(node: &NodeHealth, findings: &mut Vec<Finding>) {
    let subject = || format!("server {}", node.address);
    let info = |key: &str| node.info.get(key).map(String::as_str);
    let number = |key: &str| info(key).and_then(|value| value.parse::<u64>().ok());
    if let Some(error) = &node.error {
        findings.push(
            Finding::new("server_unreachable", Importance::Critical, subject(), error.clone())
                .meaning("The streams of this server can be neither written nor read.")
                .fix("start the server, or correct the URL; see `streamer config`"),
        );
        return;
    }
    if info("role") == Some("slave") {
        findings.push(
            Finding::new(
                "server_is_replica",
                Importance::Critical,
                subject(),
                "this server is a replica",
            )
            .meaning("It refuses writes: nothing can be emitted or acknowledged here.")
            .fix("use the master's URL, or redis-sentinel:// to follow fail-overs"),
        );
    }
    let cost = |name: &str| {
        COMMANDS
            .iter()
            .chain(CLUSTER_COMMANDS)
            .find(|(known, _)| *known == name)
            .map_or("", |(_, cost)| *cost)
    };
    for name in node.missing_commands.iter().flatten() {
        findings.push(
            Finding::new(
                "command_missing",
                Importance::Critical,
                subject(),
                format!("it has no {name}: {}", cost(name)),
            )
            .meaning("Streamer needs Redis 6.2 or newer, or Valkey.")
            .fix("upgrade the server"),
        );
    }
    for name in node.forbidden_commands.iter().flatten() {
        let found = format!("this user may not run {name}: {}", cost(name));
        findings.push(
            Finding::new("command_forbidden", Importance::Warning, subject(), found)
                .meaning("What needs the command fails with NOPERM. A user who only looks may do without.")
                .fix(format!("redis-cli ACL SETUSER USER +{}", name.to_lowercase())),
        );
    }
    for name in &node.forbidden_cluster_commands {
        let found = format!("this user may not run {name}: {}", cost(name));
        findings.push(
            Finding::new("command_forbidden", Importance::Warning, subject(), found)
                .meaning("On a Redis Cluster emitting needs these permissions. A user who only looks may do without.")
                .fix("on each node: redis-cli ACL SETUSER USER +multi +exec +asking"),
        );
    }
    // Valkey counts its own versions, all of which can do what Redis 7.0 can.
    let version = info("redis_version").unwrap_or_default();
    if version.starts_with("6.") && info("valkey_version").is_none() {
        findings.push(
            Finding::new(
                "server_version",
                Importance::Notice,
                subject(),
                format!("it is Redis {version}"),
            )
            .meaning("Before 7.0 the server tells neither lag nor rates: lag is counted up to 256 messages.")
            .fix("upgrade the server to Redis 7 or Valkey"),
        );
    }
    check_memory(node, &subject, findings);
    check_persistence(node, &subject, findings);
    if let Some(replicas) = number("connected_slaves").filter(|_| info("role") == Some("master")) {
        for replica in 0..replicas {
            let Some(line) = info(&format!("slave{replica}")).filter(|line| !line.contains("state=online")) else {
                continue;
            };
            findings.push(
                Finding::new(
                    "replication_broken",
                    Importance::Warning,
                    subject(),
                    format!("a replica lags: {line}"),
                )
                .meaning("A fail-over to it loses what it does not have.")
                .fix("redis-cli INFO replication, and the replica's own log"),
            );
        }
        if replicas == 0 {
            findings.push(
                Finding::new("no_replica", Importance::Notice, subject(), "it has no replica")
                    .meaning("While the server is down nothing can be emitted or handled.")
                    .fix("add a replica and Sentinels where that matters (docs/production.md)"),
            );
        }
    }
    if let Some(ahead) = node.clock_ahead_ms.filter(|ahead| ahead.unsigned_abs() > SKEW_MS) {
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        let found = format!("its clock is {} {side} this machine's", duration(ahead.unsigned_abs()));
        findings.push(
            Finding::new("clock_skew", Importance::Warning, subject(), found)
                .meaning("Entry IDs are the server's time: ages, --older-than and --since are wrong by as much.")
                .fix("synchronise both clocks (NTP)"),
        );
    }
    if node.round_trip.as_millis() > ROUND_TRIP_MS {
        let found = format!("an answer takes {} ms", node.round_trip.as_millis());
        findings.push(
            Finding::new("slow_round_trip", Importance::Notice, subject(), found)
                .meaning("Every emit that is awaited by itself takes at least as long.")
                .fix("emit in batches (`emit_all`), or run nearer to the server"),
        );
    }
}

fn check_memory(node: &NodeHealth, subject: &dyn Fn() -> String, findings: &mut Vec<Finding>) {
    let number = |key: &str| node.info.get(key).and_then(|value| value.parse::<u64>().ok());
    let policy = node
        .settings
        .get("maxmemory-policy")
        .or_else(|| node.info.get("maxmemory_policy"));
    let limit = number("maxmemory").unwrap_or(0);
    if let Some(policy) = policy.filter(|policy| policy.starts_with("allkeys")) {
        let importance = if limit > 0 {
            Importance::Critical
        } else {
            Importance::Warning
        };
        findings.push(
            Finding::new(
                "eviction_policy",
                importance,
                subject(),
                format!("maxmemory-policy is {policy}"),
            )
            .meaning("When memory runs out the server drops whole streams, with their groups and pending messages.")
            .fix("redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"),
        );
    }
    let percent = number("used_memory")
        .unwrap_or(0)
        .saturating_mul(100)
        .checked_div(limit)
        .unwrap_or(0);
    if percent >= FULL_PERCENT {
        findings.push(
            Finding::new(
                "memory_nearly_full",
                Importance::Warning,
                subject(),
                format!("{percent} % of maxmemory is used"),
            )
            .meaning("At 100 % emits fail, or the server evicts keys.")
            .fix("streamer archive, streamer purge, or a larger maxmemory"),
        );
    }
}

fn check_persistence(node: &NodeHealth, subject: &dyn Fn() -> String, findings: &mut Vec<Finding>) {
    let setting = |key: &str| node.settings.get(key).map(String::as_str);
    let info = |key: &str| node.info.get(key).map(String::as_str);
    let log = setting("appendonly")
        .map(|value| value == "yes")
        .or_else(|| info("aof_enabled").map(|on| on == "1"));
    let snapshots = setting("save").map(|value| !value.is_empty());
    match (log, snapshots) {
        (Some(false), Some(false)) => findings.push(
            Finding::new(
                "persistence_off",
                Importance::Warning,
                subject(),
                "nothing is written to disk",
            )
            .meaning("A restart of the server loses every stream, group and failure.")
            .fix("redis-cli CONFIG SET appendonly yes, and the same in redis.conf"),
        ),
        (Some(false), Some(true)) => findings.push(
            Finding::new(
                "persistence_off",
                Importance::Notice,
                subject(),
                "only snapshots are written to disk",
            )
            .meaning("A crash of the server loses what came since the last snapshot, up to minutes of messages.")
            .fix("redis-cli CONFIG SET appendonly yes, and the same in redis.conf"),
        ),
        _ => {}
    }
    for key in [
        "rdb_last_bgsave_status",
        "aof_last_bgrewrite_status",
        "aof_last_write_status",
    ] {
        if let Some(status) = info(key).filter(|status| *status != "ok") {
            findings.push(
                Finding::new("persistence_failing", Importance::Critical, subject(), format!("{key} is {status}"))
                    .meaning("The server cannot write to its disk; it may refuse writes (MISCONF), and a restart loses messages.")
                    .fix("look into the server's log; most often the disk is full"),
            );
        }
    }
}

fn check_file(file: &FileHealth, findings: &mut Vec<Finding>) {
    let subject = || format!("file {}", file.path);
    for problem in &file.problems {
        findings.push(
            Finding::new("file_damaged", Importance::Critical, subject(), problem.clone())
                .meaning("The database is damaged: messages may be missing or unreadable.")
                .fix("stop all processes, then restore a backup, or `sqlite3 FILE .recover` into a new file"),
        );
    }
    if let Some(kind) = file.file_system.as_deref().filter(|kind| REMOTE.contains(kind)) {
        findings.push(
            Finding::new(
                "file_system",
                Importance::Critical,
                subject(),
                format!("it is on a network file system ({kind})"),
            )
            .meaning("Locks and shared memory do not work between machines there: the database gets damaged.")
            .fix("move the file to a local disk, or use a Redis server"),
        );
    }
    if file.log_bytes > LOG_BYTES {
        let found = format!("its write-ahead log has {} MiB", file.log_bytes >> 20);
        findings.push(
            Finding::new("log_large", Importance::Warning, subject(), found)
                .meaning(
                    "A process that reads for long keeps the log from being copied into the database; reads get slow.",
                )
                .fix("end whatever keeps the file open for long, such as a sqlite3 shell in a transaction"),
        );
    }
    if !file.full_sync {
        findings.push(
            Finding::new(
                "commits_not_flushed",
                Importance::Notice,
                subject(),
                "synchronous is normal",
            )
            .meaning("A loss of power may lose the last messages that were emitted; a crash of a process does not.")
            .fix("add ?synchronous=full to the URL where that matters"),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(info: &[(&str, &str)], settings: &[(&str, &str)]) -> NodeHealth {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        NodeHealth {
            address: "a".to_owned(),
            info: map(info),
            settings: map(settings),
            ..NodeHealth::default()
        }
    }

    fn found(node: NodeHealth) -> Vec<(&'static str, Importance)> {
        let mut findings = Vec::new();
        let health = StoreHealth {
            nodes: vec![node],
            file: None,
        };
        check(&health, &mut findings);
        findings
            .iter()
            .map(|finding| (finding.check, finding.importance))
            .collect()
    }

    #[test]
    fn what_a_server_says_of_itself_is_judged() {
        let sound = [
            ("role", "master"),
            ("connected_slaves", "1"),
            ("slave0", "ip=a,state=online"),
            ("redis_version", "7.0.15"),
        ];
        assert_eq!(found(node(&sound, &[("appendonly", "yes"), ("save", "")])), []);
        let evicting = [("maxmemory", "100"), ("used_memory", "95")];
        let policy = [("maxmemory-policy", "allkeys-lru")];
        let expected = [
            ("eviction_policy", Importance::Critical),
            ("memory_nearly_full", Importance::Warning),
        ];
        assert_eq!(found(node(&evicting, &policy)), expected);
        let failing = [
            ("aof_last_write_status", "err"),
            ("role", "slave"),
            ("redis_version", "6.2.14"),
        ];
        let expected = [
            ("server_is_replica", Importance::Critical),
            ("server_version", Importance::Notice),
            ("persistence_off", Importance::Warning),
            ("persistence_failing", Importance::Critical),
        ];
        assert_eq!(found(node(&failing, &[("appendonly", "no"), ("save", "")])), expected);
        let skewed = NodeHealth {
            clock_ahead_ms: Some(-60_000),
            round_trip: Duration::from_millis(80),
            missing_commands: Some(vec!["XAUTOCLAIM".to_owned()]),
            ..node(&[], &[])
        };
        let expected = [
            ("command_missing", Importance::Critical),
            ("clock_skew", Importance::Warning),
            ("slow_round_trip", Importance::Notice),
        ];
        assert_eq!(found(skewed), expected);
    }

    #[test]
    fn a_file_is_judged() {
        let mut findings = Vec::new();
        let file = FileHealth {
            path: "f".to_owned(),
            bytes: 1,
            log_bytes: 300 << 20,
            full_sync: false,
            problems: vec!["row 1 missing".to_owned()],
            file_system: Some("nfs4".to_owned()),
        };
        check_file(&file, &mut findings);
        let checks = findings.iter().map(|finding| finding.check).collect::<Vec<_>>();
        assert_eq!(
            checks,
            ["file_damaged", "file_system", "log_large", "commits_not_flushed"]
        );
    }
}
