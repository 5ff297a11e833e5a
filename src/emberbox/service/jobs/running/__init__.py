"""Running jobs: workers take them from the queue and write what became of them."""
