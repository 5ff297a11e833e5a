"""How a service is: what it measures, and whether it is fit to take work."""
