"""All checks of one runtime, in the order in which one needs the other."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from emberbox.config import PoolSettings
from emberbox.images import SilentProgress
from emberbox.languages import programs
from emberbox.languages.bad_input import (
    BAD_COMPILE_S,
    bad_inputs,
    check_bad_compile,
    check_bad_input,
)
from emberbox.languages.examples import Examples
from emberbox.languages.subject import Subject, check_nothing_left
from emberbox.languages.timings import (
    QUICK,
    Plan,
    Times,
    measure_clones,
    measure_cold,
    measure_compiles,
    measure_pooled,
)
from emberbox.languages.twins import CLONES, QUICK_CLONES, twins
from emberbox.languages.verdict import Check, Wrong, verdict
from emberbox.languages.waiting import waiting
from emberbox.model import MIB
from emberbox.sandbox import Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from emberbox.config import Settings
    from emberbox.images import Image, Progress
    from emberbox.runtimes import Runtime

BUILD_S = 3600.0
STEP_S = 1200.0


@dataclass(slots=True, kw_only=True)
class LanguageReport:
    """What was found of one runtime.

    Attributes:
        runtime: Its manifest.
        checks: In the order in which they were made.
        times: What was measured.
        image_mib: Size of its root file system; None when it could not be built.
        version_text: What the language says of its version; None when it was not asked.
        duration_s: How long all of it took, without building.
    """

    runtime: Runtime
    checks: list[Check] = field(default_factory=list)
    times: Times = field(default_factory=Times)
    image_mib: float | None = None
    version_text: str | None = None
    duration_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    @property
    def wrong(self) -> list[Check]:
        """The checks that found something."""
        return [check for check in self.checks if check.level == "wrong"]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        times = self.times
        return {
            "name": self.runtime.name,
            "ok": self.ok,
            "version": self.runtime.version,
            "version_text": self.version_text,
            "image_mib": self.image_mib,
            "cold_ms": times.cold.to_dict(),
            "clone_ms": times.clone.to_dict(),
            "pooled_ms": times.pooled.to_dict(),
            "fresh_ms": times.fresh.to_dict(),
            "compile_ms": times.compile.to_dict(),
            "peak_memory_mib": round(times.peak_memory_mib, 1),
            "compile_peak_memory_mib": times.compile_peak_memory_mib,
            "duration_s": round(self.duration_s, 1),
            "checks": [check.to_dict() for check in self.checks],
        }


class RuntimeCheck:
    """Checks one runtime.

    Args:
        engine: Started, without a pool; its settings are those of the engine with a pool.
        runtime: One of the engine's.
        quick: Fewer clones and samples, and no bad input but the cheap ones.
        plan: How much is measured; None for the usual.
        progress: Makes what takes the news of builds, entered while there may be some; None for nobody.
        say: Takes each check as it is made; None for nobody.
    """

    def __init__(
        self,
        engine: Engine,
        runtime: Runtime,
        *,
        quick: bool = False,
        plan: Plan | None = None,
        progress: Callable[[], AbstractContextManager[Progress]] | None = None,
        say: Callable[[Check], None] | None = None,
    ) -> None:
        self._subject = Subject(engine, runtime)
        self._quick = quick
        self._plan = plan or (QUICK if quick else Plan())
        self._news = progress or (lambda: nullcontext(SilentProgress()))
        self._say = say
        self.report = LanguageReport(runtime=runtime)

    async def run(self) -> LanguageReport:
        """Make all checks. What is wrong is in the report, not raised; safe to cancel."""
        await self._check("examples", self._examples)
        with self._news() as news:
            built = await self._check("image", partial(self._image, news), BUILD_S)
            built = built and await self._check("template", partial(self._template, news), BUILD_S)
        begun = time.monotonic()
        if built:
            await self._steps()
        self.report.duration_s = time.monotonic() - begun
        return self.report

    async def _steps(self) -> None:
        subject, plan, times = self._subject, self._plan, self.report.times
        await self._check("version", self._version)
        for work in (programs.hello, programs.program, programs.compile_error, programs.runtime_error):
            await self._check(work.__name__, partial(work, subject))
        await self._check("waiting", partial(waiting, subject))
        await self._check("twins", partial(twins, subject, QUICK_CLONES if self._quick else CLONES))
        if subject.examples.has("hello"):
            for bad in bad_inputs(subject.runtime, subject.examples.path("hello").read_bytes()):
                if bad.quick or not self._quick:
                    await self._check(bad.name, partial(check_bad_input, subject, bad))
        for path in () if self._quick else subject.examples.bad:
            await self._check(path.stem, partial(check_bad_compile, subject, path), BAD_COMPILE_S + 30)
        await self._check("nothing left", partial(check_nothing_left, subject))
        if self.report.ok:
            await self._check("times", partial(self._times, plan, times))

    async def _check(self, name: str, work: Callable[[], Awaitable[str]], timeout_s: float = STEP_S) -> bool:
        check = await verdict(name.replace("_", " "), work, timeout_s)
        self.report.checks.append(check)
        if self._say is not None:
            self._say(check)
        return check.level != "wrong"

    async def _examples(self) -> str:
        examples = Examples.of(self._subject.runtime)
        if not examples.extension:
            raise Wrong("the manifest names no extensions", "set 'extensions' in the manifest")
        if examples.missing:
            raise Wrong(
                f"missing: {', '.join(examples.missing)}",
                f"write them into {examples.folder.resolve()}; see docs/runtimes.md",
            )
        return "all there"

    async def _image(self, news: Progress) -> str:
        image = await self._subject.engine.image(self._subject.runtime, news)
        self.report.image_mib = round(image_bytes(image) / MIB, 1)
        return f"{self.report.image_mib:g} MiB"

    async def _template(self, news: Progress) -> str:
        template = await self._subject.engine.template(self._subject.runtime.name, progress=news)
        runtime = self._subject.runtime
        if runtime.waiting is not None and not template.record.waiting:
            raise Wrong(
                "no interpreter waits in it", "see spec/waiting-interpreter.md for what 'waiting' must do"
            )
        told = ", an interpreter waits" if template.record.waiting else ""
        return f"{template.size.memory_mib} MiB of memory, built in {template.record.build_s:.1f} s{told}"

    async def _version(self) -> str:
        self.report.version_text = await programs.version(self._subject)
        return self.report.version_text

    async def _times(self, plan: Plan, times: Times) -> str:
        await measure_cold(self._subject, plan, times)
        await measure_clones(self._subject, plan, times)
        await measure_compiles(self._subject, plan, times)
        if plan.pooled:
            async with pooled_engine(self._subject.engine.settings) as engine:
                await measure_pooled(Subject(engine, self._subject.runtime), plan, times)
        return summary(times)


def image_bytes(image: Image) -> int:
    """Return what an image's root file system takes on disk; kernel and initramfs are shared by all."""
    return image.rootfs.stat().st_blocks * 512


def plain_engine(settings: Settings) -> Engine:
    """Return an engine, not started, that clones for each call."""
    return Engine(replace(settings, pool=PoolSettings()))


def pooled_engine(settings: Settings) -> Engine:
    """Return an engine, not started, whose pools hold one sandbox."""
    return Engine(replace(settings, pool=PoolSettings(minimum=1, maximum=1)))


def summary(times: Times) -> str:
    """Return what was measured in one line."""
    kinds = {"cold": times.cold, "clone": times.clone, "pooled": times.pooled, "compile": times.compile}
    told = []
    for name, spread in kinds.items():
        p50, p95 = spread.percentile(50), spread.percentile(95)
        if p50 is not None and p95 is not None:
            told.append(
                f"{name} {p50:.0f} ms"
                + (f" (p95 {p95:.0f}, n={len(spread.samples)})" if len(spread.samples) > 2 else "")
            )
    return "; ".join([*told, f"peak {times.peak_memory_mib:.0f} MiB"])
