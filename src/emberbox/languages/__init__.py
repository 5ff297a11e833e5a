"""Languages held to what a runtime must do: `emberbox runtimes check`, the table of all, and what the benchmark measures of each.

Nothing here knows a language by its name: all comes from the runtime's manifest and its examples.
"""
