"""A peer of Firecracker's jailer (1.16): the same arguments, the same order, the same marks on the host.

It does for real, as root, what the jailer does (its documentation, docs/jailer.md): see `main.run`
for the order. Nothing is pretended: an id whose jail was not cleaned fails, only the folders that
the jailer makes change their owner, limits and control groups are the kernel's.

What it adds, since its VMM is a Python process with a QEMU behind it, not one static binary:

- before it changes the root it mounts read-only into the jail, in its own mount namespace only, the
  system's programs and libraries, the Python that runs it, the folder of the peers and what they
  use of `emberbox.vmm`, plus /dev/null and /dev/zero, a small tmpfs at /tmp and at /dev/shm, and a
  fresh /proc (`mounts`). On the host's side empty folders and links stay;
- `fsize` sets the soft limit alone, because that VMM must raise it for the file that holds its
  guest's memory; the real one maps that memory anonymously;
- `--node`, `--help` and the copies of processor descriptions on aarch64 are left out.

The standard library alone, Python 3.11 or later.
"""
