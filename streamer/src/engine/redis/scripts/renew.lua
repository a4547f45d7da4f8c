-- KEYS: stream. ARGV: group, consumer, sorted IDs. Answers the IDs that were not renewed, why (`claimed`, `gone` or
-- `unowned`), IDs of this consumer in between that were not named, and what was renewed with a delivery count of 2 or more
-- (ID, count); and only where some were not renewed, the last ID that the group was delivered and whether the consumer was
-- missing.
local ids, asked, mine = {}, {}, {}
for i = 3, #ARGV do
  ids[#ids + 1] = ARGV[i]
  asked[ARGV[i]] = true
end
local counts, listed = owned(ids)
-- From 7.0 on XCLAIM drops those that were deleted from the stream; 6.2 does not, nor has it `REDIS_VERSION_NUM`.
local drops = redis.REDIS_VERSION_NUM
for _, id in ipairs(ids) do
  if counts[id] then
    if drops or entry(id) then mine[#mine + 1] = id else acknowledge({id}) end
  end
end
local renewed = claim(mine, 0)
local missing, why, strangers, raised = {}, {}, {}, {}
local miss = function(id, reason)
  missing[#missing + 1] = id
  why[#why + 1] = reason
end
for _, id in ipairs(ids) do
  if renewed[id] then
    if counts[id] > 1 and #raised < 200 then
      raised[#raised + 1] = id
      raised[#raised + 1] = counts[id]
    end
  else
    if redis.call('XPENDING', key, group, id, id, 1)[1] then
      miss(id, 'claimed')
    elseif entry(id) then
      miss(id, 'unowned')
    else
      miss(id, 'gone')
    end
  end
end
for _, pending in ipairs(listed) do
  if not asked[pending[1]] and #strangers < 100 then strangers[#strangers + 1] = pending[1] end
end
if #missing == 0 then return {missing, why, strangers, raised} end
local at
for _, info in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  if attribute(info, 'name') == group then at = attribute(info, 'last-delivered-id') end
end
local known = 0
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', key, group)) do
  if attribute(info, 'name') == me then known = 1 end
end
if known == 0 then
  -- Refused when memory is full: then the next delivery makes it.
  local made = redis.pcall('XGROUP', 'CREATECONSUMER', key, group, me)
  if type(made) == 'table' and made.err and not string.find(made.err, 'OOM', 1, true) then return made end
end
return {missing, why, strangers, raised, at, 1 - known}
