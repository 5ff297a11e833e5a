"""The compile stage, with real programs under the real agent on this host."""
