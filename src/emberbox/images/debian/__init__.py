"""Packages of a Debian release, whatever the host's own."""
