-- Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
local numbers, sum = {}, 0
for word in io.read("a"):gmatch("%S+") do
  local number = assert(math.tointeger(tonumber(word)), "not an integer: " .. word)
  numbers[#numbers + 1] = number
  sum = sum + number
end
table.sort(numbers)
print(table.concat(numbers, " "))
print("sum " .. sum)
local file = assert(io.open("sum.txt", "w"))
file:write(sum, "\n")
file:close()
os.exit(3)
