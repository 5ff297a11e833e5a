"""Attacks on a running service: each is bounded, and returns what it did and an account of all jobs."""
