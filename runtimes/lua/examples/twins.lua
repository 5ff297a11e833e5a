-- One line for each source of chance.
print(("%016x"):format(math.random(0)))
local source = assert(io.open("/dev/urandom", "rb"))
print((source:read(16):gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)))
source:close()
