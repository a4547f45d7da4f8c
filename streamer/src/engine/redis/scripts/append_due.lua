-- Appends the entries that are due.
-- KEYS: stream, IDs of what is scheduled, its entries. ARGV: how many at most. Answers how many were appended, the ID that is
-- due next (or nothing), and what time it is in milliseconds.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' and kind ~= 'none' then
  return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYLEX', KEYS[2], '-', string.format('(%016.0f', now + 1), 'LIMIT', 0, ARGV[1])
local appended, bytes = 0, 0
if #due > 0 then
  -- A user who may not remove them must not append them either: this fails before anything is written.
  redis.call('ZREM', KEYS[2], '')
  redis.call('HDEL', KEYS[3], '')
end
for _, id in ipairs(due) do
  if bytes >= 1048576 then break end
  local entry = redis.call('HGET', KEYS[3], id)
  if entry then
    local arguments, at = {}, 1
    while at <= #entry do
      local colon = string.find(entry, ':', at, true)
      local length = colon and tonumber(string.sub(entry, at, colon - 1))
      if not length then
        return redis.error_reply('ERR what is scheduled as ' .. id .. ' cannot be read; cancel it')
      end
      arguments[#arguments + 1] = string.sub(entry, colon + 1, colon + length)
      at = colon + length + 1
    end
    arguments[#arguments + 1] = 'scheduled_id'
    arguments[#arguments + 1] = string.gsub(string.gsub(id, '^0+', ''), '-0+', '-')
    redis.call('XADD', KEYS[1], unpack(arguments))
    appended, bytes = appended + 1, bytes + #entry
  end
  redis.call('ZREM', KEYS[2], id)
  redis.call('HDEL', KEYS[3], id)
end
return {appended, redis.call('ZRANGE', KEYS[2], 0, 0)[1] or '', string.format('%.0f', now)}
