-- KEYS: stream. ARGV: group, consumer, ID, delivery count. Answers whether the entry is pending with this consumer. If it
-- was deleted from the stream it stays pending and as it is: XCLAIM would drop it.
local id = ARGV[3]
if #redis.call('XPENDING', key, group, id, id, 1, me) == 0 then return 0 end
if entry(id) then claim({id}, 0, ARGV[4]) end
return 1
