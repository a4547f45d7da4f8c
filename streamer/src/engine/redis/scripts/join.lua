-- KEYS: stream. ARGV: group, consumer, where a group begins that is created. Answers whether it was created, and the last
-- ID that it was delivered.
--
-- Creating a group or a consumer needs memory, looking does not.
local position = function()
  if redis.call('TYPE', key).ok == 'none' then return nil end
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    if attribute(info, 'name') == group then return attribute(info, 'last-delivered-id') end
  end
end
local created, at = 0, position()
if not at then
  redis.call('XGROUP', 'CREATE', key, group, ARGV[3], 'MKSTREAM')
  created, at = 1, position()
end
local made = redis.pcall('XGROUP', 'CREATECONSUMER', key, group, me)
if type(made) == 'table' and made.err and not string.find(made.err, 'OOM', 1, true) then return made end
return {created, at}
