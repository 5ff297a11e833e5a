"""Stand-ins for the parts of Emberbox that need a VM or a server, for tests of programs that use it."""

from emberbox.testing.agent import FakeAgent
from emberbox.testing.blobs import MemoryBlobs
from emberbox.testing.engine import HostEngine
from emberbox.testing.misconduct import Misconduct
from emberbox.testing.programs import FakeProgram, FakeRun, Program
from emberbox.testing.queue import MemoryQueue

__all__ = [
    "FakeAgent",
    "FakeProgram",
    "FakeRun",
    "HostEngine",
    "MemoryBlobs",
    "MemoryQueue",
    "Misconduct",
    "Program",
]
