-- Makes pending entries this consumer's own, with the count that `raised` gives for each, and answers where to go on, the
-- entries, the count of each before that, the retry state of each (from KEYS[2]), and the IDs of entries that were
-- deleted from the stream, which are acknowledged.
local deliver = function(pending, next, raised)
  local entries, counts, states, taken, gone, by_count = {}, {}, {}, {}, {}, {}
  for _, one in ipairs(pending) do
    local id, count = one[1], one[4]
    local found = entry(id)
    if found then
      entries[#entries + 1] = found
      counts[#counts + 1] = count
      taken[#taken + 1] = id
      add(by_count, raised(count), id)
    else
      gone[#gone + 1] = id
    end
  end
  in_chunks(taken, function(...)
    for _, state in ipairs(redis.call('HMGET', KEYS[2], ...)) do states[#states + 1] = state end
  end)
  acknowledge(gone)
  in_chunks(gone, on_key('HDEL', KEYS[2]))
  for count, ids in pairs(by_count) do claim(ids, 0, count) end
  return {next, entries, counts, states, gone}
end
