"""The queue between those who submit jobs and the workers that run them."""

from emberbox.jobs.queue.base import JobQueue, QueueDepth

__all__ = ["JobQueue", "QueueDepth"]
