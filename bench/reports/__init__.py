"""Pages and pictures from what was measured."""
