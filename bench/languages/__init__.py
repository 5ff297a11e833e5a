"""Measures every language whose image is built: letter q."""
