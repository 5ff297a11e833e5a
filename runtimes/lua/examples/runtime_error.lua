print("before")
local nothing = nil
print(nothing.field)
