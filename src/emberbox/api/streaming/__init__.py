"""Answers that go on: logs as text, as events, and the WebSocket of a job."""
