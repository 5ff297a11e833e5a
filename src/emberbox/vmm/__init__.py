"""Virtual machines: what a driver is, the drivers, and what they share: processes, KVM, boots, snapshots."""
