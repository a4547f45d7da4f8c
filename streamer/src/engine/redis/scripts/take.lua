-- KEYS: stream, retry states. ARGV: group, consumer, smallest idle milliseconds or `own`, first ID, count.
-- Answers what `deliver` does. One more is listed than is taken: it is where the next call goes on.
local count = tonumber(ARGV[5])
local listed
if ARGV[3] == 'own' then
  listed = redis.call('XPENDING', key, group, ARGV[4], '+', count + 1, me)
else
  listed = redis.call('XPENDING', key, group, 'IDLE', ARGV[3], ARGV[4], '+', count + 1)
end
local next = false
if #listed > count then
  next = listed[#listed][1]
  listed[#listed] = nil
end
return deliver(listed, next, function(count) return count < 2 and count + 1 or count end)
