-- KEYS: details. ARGV: for each: field, text without `groups`, `groups`.
for i = 1, #ARGV, 3 do write_details(KEYS[1], ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
return 1
