"""Kernels of guests: Debian's, or one of the user's own."""
