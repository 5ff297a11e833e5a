"""Which images an engine uses, and which of them a newer one has taken the place of meanwhile.

An image is renewed while engines run: what runs on the old one goes on, and what starts gets the
new one. The old one is given up when nothing of the engine uses it any more.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Turnover:
    """Counts what uses each image. Runs on the event loop, and never waits.

    Args:
        replaced: Told the key of an image that no new machine gets from now on, and of the one that
            took its place.
        unused: Told the key of such an image when its last user has ended.
    """

    def __init__(self, *, replaced: Callable[[str, str], object], unused: Callable[[str], object]) -> None:
        self._replaced = replaced
        self._unused = unused
        self._newest: dict[str, str] = {}
        self._users: Counter[str] = Counter()
        self._old: set[str] = set()

    def use(self, runtime: str, image: str) -> None:
        """Note one more user of an image, which is the runtime's newest. Undo it by `leave`.

        Args:
            runtime: The runtime's name.
            image: The image's key.
        """
        self._users[image] += 1
        self._old.discard(image)
        before, self._newest[runtime] = self._newest.get(runtime), image
        if before is not None and before != image:
            self._old.add(before)
            self._replaced(before, image)
            self._tell(before)

    def leave(self, image: str) -> None:
        """Note that one user of an image has ended."""
        self._users[image] -= 1
        self._tell(image)

    def _tell(self, image: str) -> None:
        if self._users[image] <= 0:
            del self._users[image]
            if image in self._old:
                self._old.discard(image)
                self._unused(image)
