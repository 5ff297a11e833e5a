import sys

import numpy

numbers = numpy.sort(numpy.array(sys.stdin.read().split(), dtype=numpy.int64))
print(*numbers)
print("sum", numbers.sum())
with open("sum.txt", "w") as file:
    print(numbers.sum(), file=file)
sys.exit(3)
