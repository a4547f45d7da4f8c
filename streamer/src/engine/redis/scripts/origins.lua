-- What the scripts of restored messages share. KEYS[2] leads from one ID of a message to the next; they are followed to
-- the last one, and never round in circles.
local way = function(first)
  local at, seen = {first}, {[first] = true}
  while true do
    local next = redis.call('HGET', KEYS[2], at[#at])
    if not next or seen[next] then break end
    seen[next] = true
    at[#at + 1] = next
  end
  return at
end

-- Gives all items to `call`, at most 1,000 in each call: `unpack` fails near 8,000.
local in_chunks = function(items, call)
  for from = 1, #items, 1000 do
    call(unpack(items, from, math.min(from + 999, #items)))
  end
end

-- Calls a command on a key.
local on_key = function(command, key)
  return function(...) redis.call(command, key, ...) end
end
