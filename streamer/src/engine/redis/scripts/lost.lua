-- KEYS: stream, perhaps restored. ARGV: IDs. Answers the places, from 1, of those that are not on the stream, and lead to no
-- other ID.
local lost = {}
for place, id in ipairs(ARGV) do
  if not redis.call('XRANGE', KEYS[1], id, id, 'COUNT', 1)[1]
    and not (KEYS[2] and redis.call('HEXISTS', KEYS[2], id) == 1) then
    lost[#lost + 1] = place
  end
end
return lost
