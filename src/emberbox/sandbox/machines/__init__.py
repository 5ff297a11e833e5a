"""Machines with an agent that answers: made, counted, kept for a look, and ended."""
