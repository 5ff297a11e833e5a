"""Stand-ins for the parts of Emberbox that need a virtual machine, for tests of programs that use it."""

from emberbox.testing.agent import FakeAgent
from emberbox.testing.blobs import MemoryBlobs
from emberbox.testing.misconduct import Misconduct
from emberbox.testing.programs import FakeProgram, FakeRun, Program

__all__ = ["FakeAgent", "FakeProgram", "FakeRun", "MemoryBlobs", "Misconduct", "Program"]
