"""What a host has and lacks: probes look, checks judge, and each finding names the one command that mends it."""

from emberbox.doctor.diagnosis import diagnose
from emberbox.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "diagnose"]
