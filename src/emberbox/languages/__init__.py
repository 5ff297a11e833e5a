"""Languages held to what a runtime must do: `emberbox runtimes check`.

Nothing here knows a language by its name: all comes from the runtime's manifest and its examples.
"""
