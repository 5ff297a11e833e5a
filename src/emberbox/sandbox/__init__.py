"""The product's heart: the engine, its templates, pools and sandboxes."""

from emberbox.sandbox.engine import Engine
from emberbox.sandbox.pool import PoolStatus
from emberbox.sandbox.process import Process
from emberbox.sandbox.sandbox import Sandbox
from emberbox.sandbox.template import Template, TemplateRecord

__all__ = ["Engine", "PoolStatus", "Process", "Sandbox", "Template", "TemplateRecord"]
