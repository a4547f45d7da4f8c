-- Writes failure details into a hash: a JSON object, whose `groups` is given apart, as a JSON list, and is united with
-- that of details which are there.
local write_details = function(at, field, text, groups)
  local with_groups = function(list)
    if list == '[]' or string.sub(text, -1) ~= '}' then return text end
    local others = string.sub(text, 1, -2)
    if others ~= '{' then others = others .. ',' end
    return others .. '"groups":' .. list .. '}'
  end
  -- Nearly all are new.
  if redis.call('HSETNX', at, field, with_groups(groups)) == 1 then return end
  local names, known = {}, {}
  local unite = function(list)
    for _, name in ipairs(list) do
      if type(name) == 'string' and not known[name] then
        known[name] = true
        -- The encoder escapes slashes, which nobody else does.
        names[#names + 1] = string.gsub(cjson.encode(name), '\\/', '/')
      end
    end
  end
  unite(cjson.decode(groups))
  local readable, object = pcall(cjson.decode, redis.call('HGET', at, field))
  if readable and type(object) == 'table' and type(object.groups) == 'table' then unite(object.groups) end
  redis.call('HSET', at, field, with_groups('[' .. table.concat(names, ',') .. ']'))
end
