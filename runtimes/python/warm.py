"""Imports what programs import most, so that a template's page cache holds it."""

import argparse
import asyncio
import base64
import collections
import concurrent.futures
import contextlib
import csv
import ctypes
import dataclasses
import datetime
import decimal
import email.message
import enum
import fractions
import functools
import hashlib
import heapq
import html
import http.client
import io
import itertools
import json
import logging
import lzma
import math
import multiprocessing
import os
import pathlib
import pickle
import random
import re
import secrets
import shutil
import socket
import sqlite3
import ssl
import statistics
import string
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
import typing
import unittest
import urllib.request
import uuid
import xml.etree.ElementTree
import zipfile
import zlib

print(json.dumps({"sum": sum(range(100_000)), "digest": hashlib.sha256(b"warm").hexdigest()}))
print(re.sub(r"(\w+) (\w+)", r"\2 \1", "warm up"), datetime.date(2024, 2, 29), f"{decimal.Decimal(1) / 3:.5f}")
sqlite3.connect(":memory:").execute("select 1").fetchone()
subprocess.run(["true"], check=True)
asyncio.run(asyncio.sleep(0))
