"""Templates, and the pools of sandboxes that are cloned from them ahead of time."""
