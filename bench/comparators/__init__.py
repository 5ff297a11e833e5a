"""What Emberbox is compared to, each measured as Emberbox's own latencies are."""
