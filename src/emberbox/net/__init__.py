"""What all who reach out over a network share: addresses, names, pauses between tries, the pace of a peer."""
