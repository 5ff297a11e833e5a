"""What a host should be like before strangers' programs run on it."""
