"""The blob store: large bytes, by key."""
