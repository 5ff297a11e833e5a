"""Installing Firecracker and its jailer: `emberbox setup --vmm firecracker`, and what it has installed."""

from emberbox.vmm.firecracker.install.present import Installed, installed

__all__ = ["Installed", "installed"]
