"""The SDK: a client of the API."""
