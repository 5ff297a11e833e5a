"""Importing images: from layouts, archives and a real registry on loopback."""
