-- KEYS: stream, retry states, and where failures are changed by this script: failed list, details.
-- ARGV: group, consumer, seconds that retry states are kept; then lists, each with its length before it: details (field,
-- text, groups), records to add, records to remove, details to remove, IDs to acknowledge, IDs whose retry state goes,
-- IDs to delete, retry states (ID, text), and what stays pending, sorted (ID, idle milliseconds, delivery count).
-- Answers how many of the IDs to acknowledge were pending, as XACK.
--
-- A script is not rolled back, but it ends at its first error. So the order is what counts: no message is acknowledged
-- before its failures are recorded.
local at = 3
local argument = function()
  at = at + 1
  return ARGV[at]
end
local list = function(width)
  local items = {}
  for i = 1, tonumber(argument()) * (width or 1) do items[i] = argument() end
  return items
end

-- Gives the next list to `call`, from where it is.
local each_of_list = function(call)
  local length = tonumber(argument())
  at = at + length
  in_chunks(ARGV, call, at - length + 1, at)
end

write_details(KEYS[4], list(3))
each_of_list(on_key('SADD', KEYS[3]))
each_of_list(on_key('SREM', KEYS[3]))
each_of_list(on_key('HDEL', KEYS[4]))

local acknowledged = 0
each_of_list(function(...) acknowledged = acknowledged + redis.call('XACK', key, group, ...) end)
each_of_list(on_key('HDEL', KEYS[2]))
each_of_list(on_key('XDEL', key))

-- Only what is still pending with this consumer: of what another has claimed it knows nothing.
local states, kept = list(2), list(3)
local ids, mine = {}, {}
for i = 1, #kept, 3 do ids[#ids + 1] = kept[i] end
local counts = owned(ids)
for i = 1, #kept, 3 do
  -- What was deleted from the stream stays as it is, for whoever takes it next to tell.
  if counts[kept[i]] and entry(kept[i]) then add(mine, kept[i + 1] .. ' ' .. kept[i + 2], kept[i]) end
end
local written = {}
for i = 1, #states, 2 do
  if counts[states[i]] then
    written[#written + 1] = states[i]
    written[#written + 1] = states[i + 1]
  end
end
if #written > 0 then
  in_chunks(written, on_key('HSET', KEYS[2]))
  if redis.call('TTL', KEYS[2]) < tonumber(ARGV[3]) then redis.call('EXPIRE', KEYS[2], ARGV[3]) end
end
for change, ids in pairs(mine) do
  local idle, count = string.match(change, '(%d+) (%d+)')
  claim(ids, idle, count)
end
return acknowledged
