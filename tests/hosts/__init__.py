"""Another Debian in a folder, in which this checkout is set up and tried as on a host of its own.

`make test-hosts` runs it. It takes root's rights, Debian's mirror and 3 GB of disk. The kernel,
`/dev` and `/sys` are the host's, all programs and libraries the other Debian's: its QEMU, its
Python, its apt. Settings, by the environment:

- `HOSTS_SUITE`: the release (`trixie`).
- `HOSTS_RUN`: what is run there, in this order (`demo service engine drivers`); see `stages`. Any
  other word is a target of the Makefile, such as `test-languages`, which `EMBERBOX_TEST_LANGUAGES`
  bounds.
- `HOSTS_FOLDER`: a folder that stays, root and data in it, for another run; else one under `.cache`
that is removed at the end.
- `HOSTS_IMAGES`: an image store to begin with, such as `.cache/test-data/images`: what is the same
there is not built anew.
"""
