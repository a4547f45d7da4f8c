-- KEYS: stream. ARGV: group, consumer, ID and delivery count of each entry.
local by_count = {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  local pending = redis.call('XPENDING', key, group, id, id, 1)[1]
  if (not pending or pending[2] == me) and entry(id) then add(by_count, ARGV[i + 1], id) end
end
for count, ids in pairs(by_count) do claim(ids, 0, count, 'FORCE') end
return 1
