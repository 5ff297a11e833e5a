"""The driver for QEMU's `microvm` machine, with KVM or with TCG."""
