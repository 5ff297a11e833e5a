"""The host's tools that building an image needs, and how they are run."""
