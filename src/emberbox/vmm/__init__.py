"""Virtual machines: the driver interface (`base`), the drivers, and what they share."""
