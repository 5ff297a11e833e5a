"""What an attack did, and what became of every job."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.attack.load import JobAccount, Load


@dataclass(kw_only=True)
class Report:
    """The account of one attack.

    Args:
        what: What was done to the service, in words.
        seed: Of the moments; the same seed chooses the same ones.
        own_doing: Statuses and reasons that the attack itself gives to jobs, such as (`timed_out`, `timeout`)
            of one whose VM was stopped.
        did: Each strike, in words.
        jobs: Every job that the service knows.
        accepted: Ids of the jobs whose acceptance was heard.
        left: What the service left on the host when it had ended.
    """

    what: str
    seed: int
    own_doing: frozenset[tuple[str, str]] = frozenset()
    did: list[str] = field(default_factory=list)
    jobs: list[JobAccount] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)

    def account(self, load: Load, jobs: list[JobAccount]) -> None:
        """Take in all jobs at their end."""
        self.jobs, self.accepted = jobs, set(load.accepted)

    def faults(self) -> list[str]:
        """Return all that should not be, in words; empty when every job is accounted for."""
        known = {job.id for job in self.jobs}
        missing = [f"{job_id} was accepted and is not there" for job_id in self.accepted - known]
        extra = [f"{job_id} is there and was never asked for" for job_id in known - self.accepted]
        wrong = [fault for job in self.jobs for fault in self._faults_of(job)]
        return [*missing, *extra, *wrong, *self.left]

    def _faults_of(self, job: JobAccount) -> list[str]:
        told = f"{job.id}: {job.status} ({job.job['reason']}: {job.job['message']}) after {job.told}"
        found = []
        if job.status != "succeeded":
            if (job.status, job.job["reason"]) not in self.own_doing:
                found.append(told)
        elif not job.whole:
            found.append(f"{told}: its log is not whole")
        elif job.outcomes.count("succeeded") != 1:
            found.append(f"{told}: it did not succeed exactly once")
        if "lost" in job.outcomes and not self.own_doing:
            found.append(f"{told}: a loss was counted against it")
        return found

    def summary(self) -> str:
        """Return the account in a few lines."""
        ends = Counter(f"{job.status} ({job.job['reason']})" for job in self.jobs)
        outcomes = Counter(outcome for job in self.jobs for outcome in job.outcomes)
        most = max((len(job.outcomes) for job in self.jobs), default=0)
        lines = [
            f"{self.what}, {len(self.did)} times (seed {self.seed})",
            f"  {len(self.accepted)} jobs submitted, {len(self.jobs)} known; {_listed(ends)}",
            f"  attempts: {_listed(outcomes)}; at most {most} of one job",
            *(f"  FAULT {fault}" for fault in self.faults()),
        ]
        return "\n".join(lines)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"
