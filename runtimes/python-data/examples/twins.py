"""Prints a line for each usual generator, at least 32 random bits each. SciPy and scikit-learn draw from NumPy's."""

import multiprocessing
import os
import random
import secrets
import ssl
import tempfile
import uuid

import numpy
import pandas

print(random.getrandbits(64))
print(random.Random().getrandbits(64))
print(secrets.token_hex())
print(uuid.uuid4())
print(uuid.uuid1())
print(os.urandom(8).hex())
print(ssl.RAND_bytes(8).hex())
print(os.path.basename(tempfile.mktemp()))
print(bytes(multiprocessing.current_process().authkey).hex())
print(numpy.random.randint(2**62), numpy.random.get_state()[1][0])
print(numpy.random.RandomState().randint(2**62))
print(numpy.random.default_rng().integers(2**62))
print(numpy.random.SeedSequence().entropy)
print(numpy.random.bytes(8).hex())
print(*numpy.random.permutation(10_000)[:4])
print(*pandas.Series(range(10_000)).sample(4))
