"""Boots: watched from outside, and told in words when they come to nothing."""
