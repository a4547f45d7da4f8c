-- KEYS: who uses a name. ARGV: token, since when (0: now), lease in milliseconds (0: it ends). Answers since when, then for
-- each other user its token, since when, and until when.
if ARGV[3] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return {0}
end
local time = redis.call('TIME')
local now, lease = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[3])
local since = ARGV[2] == '0' and string.format('%.0f', now) or ARGV[2]
local answer, expired, cursor = {since}, {}, '0'
repeat
  local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 1000)
  cursor = page[1]
  for i = 1, #page[2], 2 do
    local token, began, ends = page[2][i], string.match(page[2][i + 1], '^(%d+) (%d+)$')
    if token ~= ARGV[1] then
      if not ends or tonumber(ends) < now then
        expired[#expired + 1] = token
      else
        for _, part in ipairs({token, began, ends}) do answer[#answer + 1] = part end
      end
    end
  end
until cursor == '0'
for _, token in ipairs(expired) do redis.call('HDEL', KEYS[1], token) end
redis.call('HSET', KEYS[1], ARGV[1], since .. ' ' .. string.format('%.0f', now + lease))
local seconds = math.ceil(lease / 1000) + 1
if redis.call('TTL', KEYS[1]) < seconds then redis.call('EXPIRE', KEYS[1], seconds) end
return answer
