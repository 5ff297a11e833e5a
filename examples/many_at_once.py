"""Runs the same guess in many microVMs at once, from Python, and compares what they say.

Each clone of a template is given entropy of its own, so the guesses differ.

    python examples/many_at_once.py 8
"""

from __future__ import annotations

import asyncio
import sys
import time

from emberbox import Engine, RunResult

PROGRAM = """
import random, socket
print(socket.gethostname(), random.randrange(10**12))
"""


async def main(count: int) -> int:
    """Run the program in `count` VMs at once; returns the exit code."""
    async with Engine() as engine:
        await engine.run("pass", runtime="python")
        begun = time.perf_counter()
        results: list[RunResult] = await asyncio.gather(
            *(engine.run(PROGRAM, runtime="python") for _ in range(count))
        )
        took_s = time.perf_counter() - begun
    for result in results:
        print(f"{result.metrics.total_ms:7.0f} ms  {result.stdout.strip() or result.message}")
    guesses = {result.stdout for result in results if result.ok}
    print(f"{count} microVMs in {took_s:.2f} s, {len(guesses)} different guesses")
    return 0 if len(guesses) == count else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)))
