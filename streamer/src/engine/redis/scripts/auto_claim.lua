-- KEYS: stream. ARGV: group, consumer, smallest idle milliseconds, first ID, count. Answers where to go on, the claimed
-- entries, the delivery count of each, and the IDs whose entries were deleted from the stream, which are acknowledged.
local key, group, me, idle = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local claimed, counts, deleted = {}, {}, {}
if redis.REDIS_VERSION_NUM then
  local reply = redis.call('XAUTOCLAIM', key, group, me, idle, ARGV[4], 'COUNT', ARGV[5])
  for _, entry in ipairs(reply[2]) do
    claimed[#claimed + 1] = entry
    counts[#counts + 1] = redis.call('XPENDING', key, group, entry[1], entry[1], 1)[1][4]
  end
  return {reply[1], claimed, counts, reply[3]}
end
-- Redis 6.2 claims deleted entries and does not name them. This is what 7.0 does: it looks at ten entries for each that is
-- claimed, and at whether an entry was deleted before it looks at the idle time.
local count = math.min(tonumber(ARGV[5]), 100000)
local next = '0-0'
for looked, pending in ipairs(redis.call('XPENDING', key, group, ARGV[4], '+', 10 * count + 1)) do
  local id = pending[1]
  if looked > 10 * count or #claimed + #deleted == count then
    next = id
    break
  end
  if #redis.call('XRANGE', key, id, id, 'COUNT', 1) == 0 then
    redis.call('XACK', key, group, id)
    deleted[#deleted + 1] = id
  elseif pending[3] >= tonumber(idle) then
    claimed[#claimed + 1] = redis.call('XCLAIM', key, group, me, idle, id)[1]
    counts[#counts + 1] = pending[4] + 1
  end
end
return {next, claimed, counts, deleted}
