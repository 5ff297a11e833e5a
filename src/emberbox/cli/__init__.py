"""The command `emberbox`. `main` is the way in; everything else is imported by the command that needs it."""
