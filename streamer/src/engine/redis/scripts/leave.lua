-- KEYS: stream. ARGV: group, consumer. Answers whether the consumer is gone.
if #redis.call('XPENDING', key, group, '-', '+', 1, me) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', key, group, me)
return 1
