"""The driver for Firecracker under its jailer, with KVM."""
