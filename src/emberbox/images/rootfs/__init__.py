"""File systems of guests."""
