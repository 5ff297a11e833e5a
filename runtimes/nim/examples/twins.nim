import std/random

randomize()
echo "random ", rand(int.high)

var
  device = open("/dev/urandom")
  value: uint64
discard device.readBuffer(addr value, sizeof value)
device.close()
echo "/dev/urandom ", value
