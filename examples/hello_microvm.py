"""Draws the Mandelbrot set in colour, and tells what it sees of the machine it runs on.

emberbox run examples/hello_microvm.py
"""

import os
import platform
import socket
import sys
import time
from pathlib import Path

WIDTH, HEIGHT, STEPS = 76, 20, 40
CENTRE, SPAN = complex(-0.6, 0.0), 3.0
# From a deep ember to white heat, in the 256 colours of a terminal.
HEAT = (16, 52, 88, 124, 160, 196, 202, 208, 214, 220, 226, 228, 230, 231)


def steps_until_escape(point: complex) -> int:
    """Return after how many steps the point flees, STEPS for one that does not."""
    value = 0j
    for step in range(STEPS):
        if abs(value) > 2.0:
            return step
        value = value * value + point
    return STEPS


def colour(steps: int) -> int:
    """Return the terminal's number of a colour."""
    if steps == STEPS:
        return HEAT[0]
    return HEAT[min(len(HEAT) - 1, 1 + steps * 2 // 3)]


def draw() -> None:
    """Two points in one character: the upper half block has one colour, what is behind it the other."""
    scale = SPAN / WIDTH
    rows = []
    for y in range(2 * HEIGHT):
        height = CENTRE.imag + (HEIGHT - y - 0.5) * scale
        # The set is symmetrical: the lower half is the upper one, upside down.
        rows.append(
            [
                colour(steps_until_escape(complex(CENTRE.real + (x - WIDTH / 2) * scale, height)))
                for x in range(WIDTH)
            ]
            if y < HEIGHT
            else rows[2 * HEIGHT - 1 - y]
        )
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        print(
            "".join(f"\x1b[38;5;{a}m\x1b[48;5;{b}m▀" for a, b in zip(upper, lower, strict=True)) + "\x1b[0m"
        )


def memory_mib(name: str) -> int:
    """Return a value of the kernel's table of memory."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(name))


def first_process() -> str:
    """Return the name of the process that the kernel started."""
    try:
        return Path("/proc/1/comm").read_text().strip()
    except OSError:
        return "hidden"


def network() -> str:
    """Tell what there is of a network, by trying (the address is one that nobody has)."""
    devices = [name for _, name in socket.if_nameindex() if name != "lo"]
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=0.5).close()
    except OSError as error:
        return f"{', '.join(devices) or 'no device'}; reaching out: {error.strerror or error}"
    return f"{', '.join(devices)}; reaches out"


def main() -> None:
    """Draw, then tell."""
    begun = time.perf_counter()
    draw()
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    facts = {
        "kernel": f"{platform.system()} {platform.release()}, up for {up_s:.1f} s",
        "host name": platform.node(),
        "CPUs": str(os.cpu_count()),
        "memory": f"{memory_mib('MemTotal')} MiB, {memory_mib('MemAvailable')} MiB of it available",
        "pid 1": first_process(),
        "I am": f"pid {os.getpid()}, uid {os.getuid()}, in {Path.cwd()}",
        "network": network(),
        "Python": sys.version.split()[0],
        "drawn in": f"{time.perf_counter() - begun:.2f} s",
    }
    for name, fact in facts.items():
        print(f"  \x1b[38;5;208m{name:>9}\x1b[0m  {fact}")


if __name__ == "__main__":
    main()
