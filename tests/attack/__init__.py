"""`make attack`: everything that attacks Emberbox, as one suite with a row for each attack.

A module of this folder that has `ROWS` is a group of attacks; its name is in `rows.GROUPS`. A row
names the tests that try it. They lie in that module, or anywhere else below `tests/`.
"""
