"""Fair shares: one slow or broken destination, or one team with many, does not hold up the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from emberbox.service.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emberbox.service.webhooks.outbox import Due

_SLOW_S = 2.0
_REMEMBERED = 10_000


class Lanes:
    """Counts what is under way to each destination (lane) and for each team.

    A team gets half of all, however many lanes it has. A lane gets half of that, and one at a time
    while its last attempt failed or was slow.

    Args:
        concurrency: Deliveries under way at once, over all.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._team_share = max(1, concurrency // 2)
        self._lane_share = max(1, self._team_share // 2)
        self._in_lane: Counter[str] = Counter()
        self._of_team: Counter[str] = Counter()
        self._bad: Recent[str, None] = Recent(_REMEMBERED)

    @property
    def free(self) -> int:
        """How many more may begin."""
        return self._concurrency - self._in_lane.total()

    def full(self) -> tuple[set[str], set[str]]:
        """Return the lanes and the teams of which no more may begin now."""
        lanes = {lane for lane, count in self._in_lane.items() if count >= self._share(lane)}
        return lanes, {team for team, count in self._of_team.items() if count >= self._team_share}

    def pick(self, found: Iterable[Due]) -> list[Due]:
        """Return those that may begin now, in the order given, within all shares."""
        lanes, teams = self._in_lane.copy(), self._of_team.copy()
        picked: list[Due] = []
        for one in found:
            if len(picked) >= self.free:
                break
            if lanes[one.lane] < self._share(one.lane) and teams[one.team_id] < self._team_share:
                lanes[one.lane] += 1
                teams[one.team_id] += 1
                picked.append(one)
        return picked

    def enter(self, lane: str, team_id: str) -> None:
        """Count one that begins."""
        self._in_lane[lane] += 1
        self._of_team[team_id] += 1

    def leave(self, lane: str, team_id: str, *, good: bool, took_s: float) -> None:
        """Count one that ended, and remember how it went with its lane."""
        for counter, name in ((self._in_lane, lane), (self._of_team, team_id)):
            counter[name] -= 1
            if counter[name] <= 0:
                del counter[name]
        self._bad.pop(lane, None)
        if not good or took_s > _SLOW_S:
            self._bad[lane] = None

    def _share(self, lane: str) -> int:
        return 1 if lane in self._bad else self._lane_share
