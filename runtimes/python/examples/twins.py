import os
import random
import secrets
import ssl
import uuid

print("random", random.getrandbits(64))
print("random.sample", random.sample(range(10**9), 4))
print("random.SystemRandom", random.SystemRandom().getrandbits(64))
print("secrets", secrets.token_hex(16))
print("ssl", ssl.RAND_bytes(16).hex())
print("os.urandom", os.urandom(16).hex())
print("os.getrandom", os.getrandom(16).hex())
print("uuid1", uuid.uuid1())
print("uuid4", uuid.uuid4())
