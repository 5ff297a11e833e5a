"""Installing Firecracker and its jailer: `emberbox setup --vmm firecracker`, and what it has installed."""
