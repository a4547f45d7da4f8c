-- KEYS: stream, retry states. ARGV: group, consumer, sorted IDs. Answers what `deliver` does.
local ids, due = {}, {}
for i = 3, #ARGV do ids[#ids + 1] = ARGV[i] end
local counts = owned(ids)
for _, id in ipairs(ids) do
  if counts[id] then due[#due + 1] = {id, me, 0, counts[id]} end
end
return deliver(due, false, function(count) return count + 1 end)
