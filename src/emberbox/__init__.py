"""Emberbox: untrusted programs, each in a microVM of its own."""
