"""Who may use the service, and what they used."""
