-- KEYS: stream, failed list. ARGV: group, how many records, the records, IDs to acknowledge. Answers how many of the IDs were
-- pending, as XACK.
-- A script ends at its first error: nothing is acknowledged before its failure is recorded.
redis.call('SADD', KEYS[2], unpack(ARGV, 3, ARGV[2] + 2))
return redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, ARGV[2] + 3))
