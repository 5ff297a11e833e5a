"""Secrets at rest: texts that the service must be able to use, sealed before they lie in the database.

A part that has such texts seals them by the service's `Vault` at a place of `places`, and adds to `holdings`
where they lie, so that a rotation of keys finds them.
"""
