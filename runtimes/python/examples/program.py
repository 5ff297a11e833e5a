import sys
from pathlib import Path

numbers = sorted(int(word) for word in sys.stdin.read().split())
print(*numbers)
print("sum", sum(numbers))
Path("sum.txt").write_text(f"{sum(numbers)}\n")
sys.exit(3)
