-- A JSON object with its `groups`, which are given apart as a JSON list, or empty where there are none. Those of the
-- object that is there are added.
local united = function(text, groups, old)
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
  if groups ~= '' then unite(cjson.decode(groups)) end
  if old then
    local readable, object = pcall(cjson.decode, old)
    if readable and type(object) == 'table' and type(object.groups) == 'table' then unite(object.groups) end
  end
  if #names == 0 or string.sub(text, -1) ~= '}' then return text end
  local others = string.sub(text, 1, -2)
  if others ~= '{' then others = others .. ',' end
  return others .. '"groups":[' .. table.concat(names, ',') .. ']}'
end

-- Writes failure details into a hash, 1,000 at once: `unpack` fails near 8,000. For each: field, text, groups.
local write_details = function(at, details)
  local written = {}
  for first = 1, #details, 3000 do
    local fields, pairs = {}, {}
    for i = first, math.min(first + 2999, #details), 3 do fields[#fields + 1] = details[i] end
    local there = redis.call('HMGET', at, unpack(fields))
    for n, field in ipairs(fields) do
      local text, groups = details[first + 3 * n - 2], details[first + 3 * n - 1]
      local old = written[field] or there[n]
      if old or groups ~= '' then text = united(text, groups, old) end
      written[field] = text
      pairs[2 * n - 1], pairs[2 * n] = field, text
    end
    redis.call('HSET', at, unpack(pairs))
  end
end
