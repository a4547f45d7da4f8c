-- KEYS: retry states. ARGV: ID; whether a state is known (1 or 0), that state; whether there is a new one, that state;
-- seconds that the states are kept. Answers whether it was replaced.
local id = ARGV[1]
local found = redis.call('HGET', KEYS[1], id)
if (found and 1 or 0) ~= tonumber(ARGV[2]) or found and found ~= ARGV[3] then return 0 end
if ARGV[4] == '0' then
  redis.call('HDEL', KEYS[1], id)
else
  redis.call('HSET', KEYS[1], id, ARGV[5])
  if redis.call('TTL', KEYS[1]) < tonumber(ARGV[6]) then redis.call('EXPIRE', KEYS[1], ARGV[6]) end
end
return 1
