-- Writes failure details into a hash: a JSON object, whose `groups` is given apart, as a JSON list, and is united with
-- that of details which are there.
local write_details = function(at, field, text, groups)
  local names, known, old = {}, {}, redis.call('HGET', at, field)
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
  if old then
    local readable, object = pcall(cjson.decode, old)
    if readable and type(object) == 'table' and type(object.groups) == 'table' then unite(object.groups) end
  end
  if #names > 0 and string.sub(text, -1) == '}' then
    local others = string.sub(text, 1, -2)
    if others ~= '{' then others = others .. ',' end
    text = others .. '"groups":[' .. table.concat(names, ',') .. ']}'
  end
  redis.call('HSET', at, field, text)
end
