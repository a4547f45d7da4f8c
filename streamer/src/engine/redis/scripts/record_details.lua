-- KEYS: details. ARGV: for each: field, text without `groups`, `groups`.
write_details(KEYS[1], ARGV)
return 1
