"""Measures Emberbox beside what else runs programs, and writes the reports: `python -m bench`."""
