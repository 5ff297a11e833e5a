"""An engine for tests that make requests up: what they hold must not become a program on this host."""

from __future__ import annotations

from typing import Any

from emberbox.errors import ImageError
from emberbox.testing.engine import HostEngine


class RefusingEngine(HostEngine):
    """Runs programs until it is told not to."""

    refusing = False

    async def open_sandbox(self, *args: Any, **options: Any) -> Any:
        if self.refusing:
            raise ImageError("nothing is run here any more")
        return await super().open_sandbox(*args, **options)
