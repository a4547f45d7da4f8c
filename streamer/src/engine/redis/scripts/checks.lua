-- What a script looks at before its first write: of what kind a key is, and, from Redis 7.0 on, what its user may do.
local expect = function(key, wanted)
  local kind = redis.call('TYPE', key).ok
  if kind == wanted or kind == 'none' then return nil end
  return redis.error_reply('WRONGTYPE the key ' .. key .. ' holds a ' .. kind .. ', where a ' .. wanted .. ' is needed')
end
local allowed = function(...)
  if not redis.acl_check_cmd or redis.acl_check_cmd(...) then return nil end
  return redis.error_reply('NOPERM this user has no permission to run ' .. (...))
end
