-- KEYS: stream, retry states. ARGV: group, ID, its retry state as it is known. Answers whether it still was that one.
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
return 1
