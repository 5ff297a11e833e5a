import std/os

echo "before"
stdout.flushFile
echo paramStr(4)
