"""What a host has and lacks.

Probes look, checks judge, and each finding names the one command that mends it.
"""

from emberbox.doctor.diagnosis import diagnose
from emberbox.doctor.finding import Finding, Level
from emberbox.doctor.production.inspection import inspect_host

__all__ = ["Finding", "Level", "diagnose", "inspect_host"]
