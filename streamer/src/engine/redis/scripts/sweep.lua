-- KEYS: stream, retry states. ARGV: group, consumer, smallest idle milliseconds. Answers the names of the consumers that
-- were removed.
local removed = {}
local generated = function(name)
  return string.sub(name, 1, #group + 1) == group .. '-' and string.find(string.sub(name, #group + 2), '^%w+$')
    and #name == #group + 17
end
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', key, group)) do
  local name = attribute(info, 'name')
  if name ~= me and generated(name) and attribute(info, 'pending') == 0
    and attribute(info, 'idle') >= tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', key, group, name)
    removed[#removed + 1] = name
  end
end
-- A sample bounds the time that this takes; with fewer it is all of them.
local stale = {}
for _, id in ipairs(redis.call('HRANDFIELD', KEYS[2], 500)) do
  local pending = redis.pcall('XPENDING', key, group, id, id, 1)
  if not pending.err and #pending == 0 then stale[#stale + 1] = id end
end
in_chunks(stale, on_key('HDEL', KEYS[2]))
return removed
