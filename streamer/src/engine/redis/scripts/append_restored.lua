-- Appends the entry of a message that comes back from the archive, unless it has come back already.
-- KEYS: stream, restored, original IDs. ARGV: the ID that it has in the archive, the first that it had, all that it had if
-- these are more than one, 0, the arguments of XADD without the key. Answers the ID, and 1 if it was appended now.
--
-- A script is not rolled back, so everything that can be refused is looked at before the first write.
local archived, first, all = ARGV[1], ARGV[2], ARGV[3]
local expect = function(key, wanted)
  local kind = redis.call('TYPE', key).ok
  if kind == wanted or kind == 'none' then return nil end
  return redis.error_reply('WRONGTYPE the key ' .. key .. ' holds a ' .. kind .. ', where a ' .. wanted .. ' is needed')
end
local refused = expect(KEYS[1], 'stream') or expect(KEYS[2], 'hash') or expect(KEYS[3], 'hash')
if refused then return refused end
if redis.acl_check_cmd then
  for _, command in ipairs({{'HSET', KEYS[2], first, first}, {'HDEL', KEYS[2], first}}) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM this user has no permission to run ' .. command[1])
    end
  end
end
-- Where it is the first time, or an earlier version wrote that it is back.
local back = redis.call('HGET', KEYS[2], archived)
local at = way(first)
if not back and #at > 1 and at[#at] ~= archived then back = at[#at] end
if back then return {back, 0} end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 5))
if not id then return false end
in_chunks(at, on_key('HDEL', KEYS[2]))
redis.call('HSET', KEYS[2], first, id)
redis.call('HDEL', KEYS[3], archived)
if all ~= '' then redis.call('HSET', KEYS[3], id, all) end
return {id, 1}
