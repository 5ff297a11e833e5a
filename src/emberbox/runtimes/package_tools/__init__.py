"""The tools that install packages, each in a file of its own."""
