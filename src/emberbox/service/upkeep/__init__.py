"""What keeps a service's data and disk in bounds."""
