"""Compiling in a sandbox, and the cache of what was compiled."""
