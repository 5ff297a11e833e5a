-- Uses each standard library once, so that a template's page cache holds the interpreter.
local words = {}
for word in ("warm the cache"):gmatch("%a+") do
  words[#words + 1] = word
end
table.sort(words)
print(string.format("%s %.3f %s", table.concat(words, " "), math.random(), os.date("!%Y")))
print(utf8.char(9731), coroutine.wrap(function() coroutine.yield(1) end)(), string.pack("i4", 7):byte())
assert(not pcall(error, "warm"))
