"""Taking jobs in: what is asked for is checked, bounded and stored."""
