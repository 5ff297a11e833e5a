"""Measures the service: letters k to p."""
