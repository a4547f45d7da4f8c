-- KEYS: stream, then what is kept beside it. Answers whether it was there. DEL alone would remove anything that has the name.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' and kind ~= 'none' then
  return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
end
for first = 1, #KEYS, 1000 do redis.call('DEL', unpack(KEYS, first, math.min(first + 999, #KEYS))) end
if kind == 'none' then return 0 end
return 1
