"""What teams hold at the moment of something of which the service has only so much.

For example, of 1000 streams that may be open at once a team may have 250: a team that opens all that
it can leaves the others theirs.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from emberbox.errors import CapacityExhausted, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emberbox.service.accounts.quota import Share


class Allotment:
    """Counts what is held: by no team or key more than its share, nor by all together more than there is.

    Each process of a service counts for itself.

    Args:
        what: What is counted, for people, such as `open streams`.
        quota: The name of the shares' bound among the quotas.
        ceiling: Most of all together; 0 for no bound.
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
        """How much is held by all."""
        return self._total

    def take(self, shares: Sequence[Share], amount: int) -> None:
        """Take some, to be given back by `give`.

        Args:
            shares: Of those who take it.
            amount: How much.

        Raises:
            QuotaExceeded: A share would be exceeded; nothing was taken.
            CapacityExhausted: All together would hold more than there is; nothing was taken.
        """
        for share in shares:
            if self._held[share.id] + amount > share.bound:
                raise QuotaExceeded(
                    f"this {share.whose} has as many {self._what} as it may ({share.bound:.0f}): try again "
                    f"when one of them has ended, or ask for more ({self.quota})"
                )
        if self._ceiling and self._total + amount > self._ceiling:
            raise CapacityExhausted(
                f"all {self._what} of this service are in use ({self._ceiling}): try again later; "
                f"its operator may raise {self._setting}"
            )
        self._move(shares, amount)

    def give(self, shares: Sequence[Share], amount: int) -> None:
        """Give back what was taken with these shares."""
        self._move(shares, -amount)

    def _move(self, shares: Sequence[Share], amount: int) -> None:
        self._total += amount
        for share in shares:
            self._held[share.id] += amount
            if self._held[share.id] <= 0:
                del self._held[share.id]

    @contextmanager
    def hold(self, shares: Sequence[Share]) -> Iterator[None]:
        """Hold one for as long as the block lasts. Raises as `take` does."""
        self.take(shares, 1)
        try:
            yield
        finally:
            self.give(shares, 1)
