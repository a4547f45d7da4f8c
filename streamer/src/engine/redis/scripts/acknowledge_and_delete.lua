-- KEYS: stream. ARGV: group, at most 2,000 IDs. Answers how many of them were pending, as XACK.
-- XACKDEL (Redis 8.2) does the same in a command of its own, and takes the server as long.
local acknowledged = redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
return acknowledged
