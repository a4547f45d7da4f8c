-- Keeps an entry until it is due. One that is due already is appended.
-- KEYS: stream, IDs of what is scheduled, its entries, then the key of an idempotent append if it is one. ARGV: when it is due
-- in milliseconds, two that are empty, the window of an idempotent append in milliseconds (0: it is none), the arguments of
-- XADD without the key. Answers the ID, and 1 if it is new.
--
-- A script is not rolled back, so everything that can be refused is looked at before the first write.
local due, window = tonumber(ARGV[1]), ARGV[4]
local once = window ~= '0' and KEYS[4]
local refused = expect(KEYS[1], 'stream') or expect(KEYS[2], 'zset') or expect(KEYS[3], 'hash')
  or (once and expect(once, 'string'))
if refused then return refused end
refused = allowed('ZADD', KEYS[2], 0, '') or allowed('HSET', KEYS[3], '', '')
  or (once and allowed('SET', once, '', 'PX', window))
if refused then return refused end
if once then
  local known = redis.call('GET', once)
  if known then return {known, 0} end
end
local from = 5
if ARGV[from] == 'NOMKSTREAM' then
  if redis.call('TYPE', KEYS[1]).ok == 'none' then return false end
  from = 6
end
local time, id = redis.call('TIME')
if due <= time[1] * 1000 + math.floor(time[2] / 1000) then
  id = redis.call('XADD', KEYS[1], unpack(ARGV, from))
else
  local number = time[1] * 1000000 + time[2]
  local member = function() return string.format('%016.0f-%016.0f', due, number) end
  while redis.call('HEXISTS', KEYS[3], member()) == 1 do number = number + 1 end
  local entry = {}
  for i = from, #ARGV do entry[#entry + 1] = #ARGV[i] .. ':' .. ARGV[i] end
  -- Redis 6.2 cannot be asked what a user may do. The first of these is what the fewest may.
  redis.call('ZADD', KEYS[2], 0, member())
  redis.call('HSET', KEYS[3], member(), table.concat(entry))
  id = string.format('%.0f-%.0f', due, number)
end
if once then redis.call('SET', once, id, 'PX', window) end
return {id, 1}
