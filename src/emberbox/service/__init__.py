"""The service behind the API: jobs, their queue and their workers, scripts, logs, retention and news."""
