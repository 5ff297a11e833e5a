"""What tenants hold at the moment of something of which the service has only so much.

For example, of 1000 streams that may be open at once one tenant may have 250: a tenant that opens
all that it can leaves the others theirs.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator


class Shares:
    """Counts what each tenant holds: none takes more than its bound, nor all together more than there is.

    Each process of a service counts for itself.

    Args:
        what: What is counted, for people, such as `open streams`.
        quota: The name of each tenant's bound among the quotas.
        ceiling: Most of all tenants together; 0 for no bound.
        setting: The name of the ceiling's setting.
    """

    def __init__(self, what: str, *, quota: str, ceiling: int, setting: str) -> None:
        self.quota = quota
        self._what = what
        self._ceiling = ceiling
        self._setting = setting
        self._held: Counter[str] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        """How much all tenants hold."""
        return self._total

    def held(self, owner: str) -> int:
        """Return how much one tenant holds."""
        return self._held[owner]

    def take(self, owner: str, amount: int, bound: float) -> None:
        """Take some for a tenant, who gives it back by `give`.

        Args:
            owner: The tenant's id.
            amount: How much.
            bound: Most that this tenant may hold; 0 for no bound.

        Raises:
            QuotaExceeded: The tenant would hold more than its bound; nothing was taken.
            CapacityExhausted: All together would hold more than there is; nothing was taken.
        """
        if bound and self._held[owner] + amount > bound:
            raise QuotaExceeded(
                f"your team has as many {self._what} as it may ({bound:.0f}): try again when one of them "
                f"has ended, or ask the operator for more ({self.quota})"
            )
        if self._ceiling and self._total + amount > self._ceiling:
            raise CapacityExhausted(
                f"all {self._what} of this service are in use ({self._ceiling}): try again later; "
                f"its operator may raise {self._setting}"
            )
        self._held[owner] += amount
        self._total += amount

    def give(self, owner: str, amount: int) -> None:
        """Give back what was taken."""
        self._total -= amount
        self._held[owner] -= amount
        if self._held[owner] <= 0:
            del self._held[owner]

    @contextmanager
    def hold(self, owner: str, bound: float) -> Iterator[None]:
        """Hold one for as long as the block lasts. Raises as `take` does."""
        self.take(owner, 1, bound)
        try:
            yield
        finally:
            self.give(owner, 1)
