"""Run code in a virtual CPU by KVM and tell how long it took.

Run as a program of its own, because it may hang. Opening /dev/kvm proves nothing: on some hosts it
emulates guest code, one instruction at a time. The code is real-mode: `mov ecx, N; 1: dec ecx; jnz
1b; hlt`, with N = 200,000. Prints JSON: `{"microseconds": 180}` or `{"error": "…"}`. Source: the
kernel's virt/kvm/api document.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import struct
import sys
import time

_CREATE_VM = 0xAE01
_CREATE_VCPU = 0xAE41
_VCPU_MMAP_SIZE = 0xAE04
_SET_USER_MEMORY_REGION = 0x4020AE46
_RUN = 0xAE80
_GET_SREGS = 0x8138AE83
_SET_SREGS = 0x4138AE84
_SET_REGS = 0x4090AE82
_EXIT_HLT = 5
_SREGS_BYTES = 0x138
_COUNT = 200_000
_PAGE = 4096


def measure(device: str = "/dev/kvm") -> float:
    """Return the microseconds that the loop took. Raises `OSError`; may hang on a broken KVM."""
    kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    machine = fcntl.ioctl(kvm, _CREATE_VM, 0)
    code = b"\x66\xb9" + struct.pack("<I", _COUNT) + b"\x66\x49\x75\xfc\xf4"
    memory = mmap.mmap(-1, _PAGE)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, struct.pack("<IIQQQ", 0, 0, 0, _PAGE, address))
    processor = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    shared = mmap.mmap(processor, fcntl.ioctl(kvm, _VCPU_MMAP_SIZE, 0))
    special = bytearray(_SREGS_BYTES)
    fcntl.ioctl(processor, _GET_SREGS, special)
    special[0:8] = bytes(8)  # base of the code segment
    special[12:14] = bytes(2)  # its selector
    fcntl.ioctl(processor, _SET_SREGS, bytes(special))
    # 16 general registers, then rip = 0 and rflags, whose bit 1 is always set.
    fcntl.ioctl(processor, _SET_REGS, struct.pack("<18Q", *([0] * 17), 2))
    start = time.perf_counter()
    fcntl.ioctl(processor, _RUN, 0)
    took = (time.perf_counter() - start) * 1e6
    (reason,) = struct.unpack_from("<I", shared, 8)
    if reason != _EXIT_HLT:
        raise OSError(f"the test code did not run to its end (KVM exit reason {reason})")
    return took


def main() -> None:
    """Measure and print."""
    try:
        report: dict[str, object] = {"microseconds": round(measure(*sys.argv[1:2]), 1)}
    except OSError as error:
        report = {"error": error.strerror or str(error)}
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
