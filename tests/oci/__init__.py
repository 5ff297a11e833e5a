"""Container images that the tests make themselves."""
