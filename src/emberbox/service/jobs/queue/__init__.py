"""The queue between those who submit jobs and the workers that run them."""
