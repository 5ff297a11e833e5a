"""The host's side of the guest protocol (spec/guest-protocol.md)."""

from emberbox.guest.answers import AgentInfo, ExecOutcome, PrepareResult, TarSummary
from emberbox.guest.client import GuestClient
from emberbox.guest.process import GuestProcess
from emberbox.guest.requests import ExecLimits, ExecRequest, HeldCommand, InlineFile, WaitingRun, WaitingSpec

__all__ = [
    "AgentInfo",
    "ExecLimits",
    "ExecOutcome",
    "ExecRequest",
    "GuestClient",
    "GuestProcess",
    "HeldCommand",
    "InlineFile",
    "PrepareResult",
    "TarSummary",
    "WaitingRun",
    "WaitingSpec",
]
