"""KVM: which kind this host has, whether it runs guests, and how a VMM without rights opens it."""
