"""The files of snapshots and the guest memory in them."""
