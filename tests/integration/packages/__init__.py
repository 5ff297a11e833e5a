"""Packages that jobs bring along."""
