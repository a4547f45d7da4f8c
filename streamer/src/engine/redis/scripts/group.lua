-- What the scripts of a group's stream share. KEYS[1] is the stream; ARGV[1] and ARGV[2] are group and consumer.
local key, group, me = KEYS[1], ARGV[1], ARGV[2]

-- Gives all items, or those from one place to another, to `call`, at most 1,000 in each call: `unpack` fails near 8,000.
local in_chunks = function(items, call, from, to)
  to = to or #items
  for first = from or 1, to, 1000 do
    call(unpack(items, first, math.min(first + 999, to)))
  end
end

-- Calls a command on a key.
local on_key = function(command, at)
  return function(...) redis.call(command, at, ...) end
end

-- Answers how many of them were pending.
local acknowledge = function(ids)
  local pending = 0
  in_chunks(ids, function(...) pending = pending + redis.call('XACK', key, group, ...) end)
  return pending
end

-- The value of a name in an answer of XINFO.
local attribute = function(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then return flat[i + 1] end
  end
end

local entry = function(id) return redis.call('XRANGE', key, id, id, 'COUNT', 1)[1] end

-- The delivery counts, by ID, of those of these sorted IDs that are pending with this consumer; and what is listed between
-- them. One look at the range finds nearly all, one by one only what is left where much else is pending in between.
local owned = function(ids)
  if #ids == 0 then return {}, {} end
  local most = 2 * #ids + 100
  local listed = redis.call('XPENDING', key, group, ids[1], ids[#ids], most, me)
  local counts = {}
  for _, pending in ipairs(listed) do counts[pending[1]] = pending[4] end
  if #listed == most then
    for _, id in ipairs(ids) do
      if not counts[id] then
        local pending = redis.call('XPENDING', key, group, id, id, 1, me)[1]
        counts[id] = pending and pending[4] or nil
      end
    end
  end
  return counts, listed
end

-- Makes entries this consumer's own, idle for so many milliseconds, and without another count or option with the
-- delivery count that they have. An entry that was deleted from the stream would be dropped by XCLAIM (6.2: kept).
local claim = function(ids, idle, count, option)
  local claimed = {}
  for first = 1, #ids, 1000 do
    local command = {'XCLAIM', key, group, me, 0, unpack(ids, first, math.min(first + 999, #ids))}
    local put = function(argument) command[#command + 1] = argument end
    put('IDLE')
    put(idle)
    if count then
      put('RETRYCOUNT')
      put(count)
    end
    if option then put(option) end
    put('JUSTID')
    for _, id in ipairs(redis.call(unpack(command))) do claimed[id] = true end
  end
  return claimed
end

-- Adds an item to one of many lists.
local add = function(lists, name, item)
  local list = lists[name] or {}
  list[#list + 1] = item
  lists[name] = list
end
