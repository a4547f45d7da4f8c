-- KEYS: stream, restored. ARGV: for each message that is gone: its first ID, its current ID. Answers how many were
-- forgotten: one that was restored once more is not gone.
local forgotten = 0
for i = 1, #ARGV, 2 do
  local at = way(ARGV[i])
  if #at > 1 and at[#at] == ARGV[i + 1] then
    in_chunks(at, on_key('HDEL', KEYS[2]))
    forgotten = forgotten + 1
  end
end
return forgotten
