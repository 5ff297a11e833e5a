"""A process that speaks Firecracker's API and has a QEMU `microvm` guest under TCG behind it.

For hosts without hardware virtualization. Written against Firecracker's API description, and held
to what a real 1.17 answered (`tests/unit/peers/test_recorded_answers.py`): its statuses and its
words are those of 1.17, whatever version it says it is. With the standard library alone, since it
runs in a jail with the system's Python.

What is real: every route with its fields and types, one request after another, the rules of what is
allowed when, files and sockets opened where the real one opens them, boot, pause, snapshot, load
with overrides, vsock with Firecracker's framing (see `tests.peers.vsock`), drives (and another file
for a drive after load), disk rate limits, entropy, balloon and its statistics, serial console, log,
metrics, exit codes.

What is a model only, with no guest behind it: free page hinting, hot-plugged memory, pmem (refused
at the start), MMDS towards the guest, the network's rate limits, CPU templates and `cpu-config`,
huge pages, diff snapshots (they hold all memory), `clock_realtime` (taken, without effect), the
rate limiter of the serial console.

As 1.16.0 and 1.16.1 do, it lets a guest that was paused and goes on have nothing from its hosts any
more, unless there was a snapshot in between or `version` is another.

Whether the guest's driver is up is asked of QEMU. Memory that is plugged in has no device here: it
counts as driven once another device of the machine is. A guest that drives no device yet hears no
Ctrl+Alt+Del.

What is kinder than the real one: a load is answered only when the guest knows that its connections
have ended.

`main(argv, options)` in `main.py` is the program. `options`:

- `version` and `snapshot_version`: what it claims to be (`1.16.1`, `9.0.0`).
- `qemu`: path of QEMU (`/usr/bin/qemu-system-x86_64`), and `processor`: its `-cpu` (`max`).
- `behaviour`: how it departs from a healthy, current Firecracker; all keys are optional: -
    `unknown_fields`: names of fields that it does not know, as an older release. - `exit_code` with
    `when`: ends with that code (negative: by that signal) instead of answering `"InstanceStart"` or
    `"load"`,
      or the failure of a load (`"load failed"`, after it has logged why), or `{"after_start_s":
      seconds}` after the guest was started or loaded.
    - `hang`: `"PUT /snapshot/create"` or another method and path: never answered, and so is no
    request after it.
    - `delay_s`: `{"PUT /snapshot/create": 2.0}`: answered that much later.
    - `vsock_silent`: true: connections to the vsock are taken, and never answered.
    - `garbage`: `"GET /"` or another method and path: answered with what is not HTTP.
    - `flood_log`: true: writes to its log as fast as it is read, once the guest runs.
"""
