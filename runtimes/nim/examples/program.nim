import std/[algorithm, math, sequtils, strutils]

let numbers = stdin.readAll.splitWhitespace.map(parseInt).sorted
echo numbers.join(" ")
echo "sum ", numbers.sum
writeFile("sum.txt", $numbers.sum & "\n")
quit(3)
