//! Lua for what must be one step and is no single command.
//!
//! Scripts are sent with `EVAL`: the server keeps the compiled form by itself, and there is no `NOSCRIPT` to handle
//! after a fail-over. Only those that append, once for each event, are sent by their hash, and by their
//! text where the server does not know that.

use std::sync::LazyLock;

/// A script made of files in `scripts/`, each of which says what it takes and answers. Comments and indentation are not
/// sent.
macro_rules! files {
    ($($file:literal),+) => {
        LazyLock::new(|| sent(concat!($(include_str!(concat!("scripts/", $file, ".lua"))),+)))
    };
}

/// A script that is sent often, with the hash by which the server knows it once it has run it.
pub(super) struct Hashed {
    pub(super) text: String,
    pub(super) hash: String,
}

impl Hashed {
    fn new(text: String) -> Self {
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }
}

/// One that looks a group up, creates it where it is missing, and makes a consumer.
pub(super) static JOIN: LazyLock<String> = files!("group", "join");
/// One that takes pending entries: the consumer's own, or idle ones.
pub(super) static TAKE: LazyLock<String> = files!("group", "deliver", "take");
/// One that takes own pending entries whose next attempt is due.
pub(super) static TAKE_DUE: LazyLock<String> = files!("group", "deliver", "take_due");
/// One that renews leases, and tells what became of those that it could not renew.
pub(super) static RENEW: LazyLock<String> = files!("group", "renew");
/// One that makes entries pending that are pending with nobody.
pub(super) static ADOPT: LazyLock<String> = files!("group", "adopt");
/// One that sets the delivery count of an entry whose attempt begins.
pub(super) static BEGIN: LazyLock<String> = files!("group", "begin");
/// One that ends deliveries.
pub(super) static SETTLE: LazyLock<String> = files!("group", "details", "settle");
/// One that acknowledges and deletes, and nothing more: a sixth of the server's time for one message that [`SETTLE`] takes.
pub(super) static ACKNOWLEDGE_AND_DELETE: LazyLock<String> = files!("acknowledge_and_delete");
/// One that records failures that have no details and acknowledges their messages, as nearly all failures are settled.
pub(super) static RECORD_AND_ACKNOWLEDGE: LazyLock<String> = files!("record_and_acknowledge");
/// One that writes failure details, where they are in another slot than the stream.
pub(super) static RECORD_DETAILS: LazyLock<String> = files!("details", "record_details");
/// One that removes dead consumers and retry states of entries that are not pending.
pub(super) static SWEEP: LazyLock<String> = files!("group", "sweep");
/// One that removes a consumer that has nothing pending.
pub(super) static LEAVE: LazyLock<String> = files!("group", "leave");
/// One that marks who uses a consumer's name, and tells who else does.
pub(super) static USE_NAME: LazyLock<String> = files!("use_name");
/// One that appends the entry of a message that comes back from the archive, once.
pub(super) static APPEND_RESTORED: LazyLock<Hashed> = LazyLock::new(|| {
    Hashed::new(sent(concat!(
        include_str!("scripts/origins.lua"),
        include_str!("scripts/append_restored.lua")
    )))
});
/// One that keeps an entry until it is due.
pub(super) static SCHEDULE: LazyLock<Hashed> = LazyLock::new(|| {
    Hashed::new(sent(concat!(
        include_str!("scripts/checks.lua"),
        include_str!("scripts/schedule.lua")
    )))
});
/// One that appends what is due.
pub(super) static APPEND_DUE: LazyLock<String> = files!("append_due");
/// One that forgets restored messages that are gone.
pub(super) static FORGET_RESTORED: LazyLock<String> = files!("origins", "forget_restored");
/// One that finds restored messages that are not on the stream.
pub(super) static LOST: LazyLock<String> = files!("lost");
/// One that replaces a retry state, if it is still what the caller knows.
pub(super) static REPLACE_RETRY_STATE: LazyLock<String> = files!("replace_retry_state");
/// One that acknowledges a message whose last failure was retried.
pub(super) static ACKNOWLEDGE_RETRIED: LazyLock<String> = files!("acknowledge_retried");
/// One that takes over retry states of an earlier version.
pub(super) static MOVE_RETRY_STATES: LazyLock<String> = files!("move_retry_states");
/// One that claims idle entries, and tells their delivery counts.
pub(super) static AUTO_CLAIM: LazyLock<String> = files!("auto_claim");
/// One that removes a stream with what is kept of its groups.
pub(super) static REMOVE_STREAM: LazyLock<String> = files!("remove_stream");

fn sent(script: &str) -> String {
    let lines = script.lines().map(str::trim_start);
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with("--"));
    code.collect::<Vec<_>>().join("\n")
}

/// `KEYS`: stream. `ARGV`: group, consumer, smallest idle milliseconds, IDs. Answers the claimed entries, the delivery
/// count of each, and the IDs whose entries were deleted.
///
/// An entry that was deleted from the stream is acknowledged, which `XCLAIM` does by itself from 7.0 on, without a word.
pub(super) const CLAIM: &str = "
local pending = function(id) return redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1] end
local claimed, counts, deleted = {}, {}, {}
for i = 4, #ARGV do
  local id = ARGV[i]
  if pending(id) then
    if #redis.call('XRANGE', KEYS[1], id, id, 'COUNT', 1) == 0 then
      redis.call('XACK', KEYS[1], ARGV[1], id)
      deleted[#deleted + 1] = id
    else
      local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], id)[1]
      if entry then
        claimed[#claimed + 1] = entry
        counts[#counts + 1] = pending(id)[4]
      end
    end
  end
end
return {claimed, counts, deleted}";

/// `KEYS`: stream, then the list of the record if there is one, then the key of an idempotent append if it is one.
/// `ARGV`: what the record is (`list` or nothing), what comes before the ID in its new element, what comes after it, the
/// window of an idempotent append in milliseconds (0: it is none), the arguments of `XADD` without the key. Answers the
/// ID, and 1 if it is new.
///
/// A script is not rolled back, so everything that can be refused is looked at before the first write. Memory is only
/// checked at the first write of a script; permissions at each command, and ahead of it from Redis 7.0 on.
pub(super) static APPEND_RECORDED: LazyLock<Hashed> = LazyLock::new(|| {
    Hashed::new(sent(concat!(
        include_str!("scripts/checks.lua"),
        "
local wanted, before, after, window = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local record, once = wanted ~= '' and KEYS[2], window ~= '0' and KEYS[#KEYS]
local refused = expect(KEYS[1], 'stream') or (record and expect(record, wanted)) or (once and expect(once, 'string'))
if refused then return refused end
refused = (record and allowed('LPUSH', record, before)) or (once and allowed('SET', once, '', 'PX', window))
if refused then return refused end
if once then
  local known = redis.call('GET', once)
  if known then return {known, 0} end
end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 5))
if not id then return false end
if record then redis.call('LPUSH', record, before .. id .. after) end
if once then redis.call('SET', once, id, 'PX', window) end
return {id, 1}",
    )))
});

/// `KEYS`: stream. `ARGV`: where it begins, how many at most. Answers how many entries there are and the ID of the first.
/// The entries themselves, which may be large, stay with the server.
pub(super) const ENTRIES_AFTER: &str = "
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
return {#entries, entries[1] and entries[1][1] or false}";

/// `KEYS`: list. `ARGV`: elements.
pub(super) const LIST_REMOVE: &str = "
local removed = 0
for i = 1, #ARGV do removed = removed + redis.call('LREM', KEYS[1], 0, ARGV[i]) end
return removed";

/// `KEYS`: IDs of what is scheduled, its entries. `ARGV`: IDs. Answers how many were there.
pub(super) const CANCEL_SCHEDULED: &str = "
local cancelled = 0
for i = 1, #ARGV do
  cancelled = cancelled + redis.call('ZREM', KEYS[1], ARGV[i])
  redis.call('HDEL', KEYS[2], ARGV[i])
end
return cancelled";
