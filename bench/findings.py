"""All that one comparison found, and its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from emberbox.bench.findings import Findings
from emberbox.bench.targets import Target, quotient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.languages.findings import LanguageFindings

CLONE_TO_GVISOR = 0.7
POOL_TO_GVISOR = 0.1


@dataclass(kw_only=True)
class Compared(Findings):
    """What was measured of Emberbox, of what it is compared to, and of languages.

    Attributes:
        languages: None when not measured.
    """

    letters: ClassVar[Mapping[str, str]] = {
        **Findings.letters,
        "gvisor": "d",
        "gvisor_lean": "d",
        "bubblewrap": "e",
        "process": "e",
    }

    languages: LanguageFindings | None = None

    @property
    def ratios(self) -> dict[str, float | None]:
        """Medians compared, by name; None where one was not measured."""
        clone, pool = self._beside_gvisor()
        return {"clone / gVisor (b/d)": clone, "pool / gVisor (c/d)": pool, **super().ratios}

    def _beside_gvisor(self) -> tuple[float | None, float | None]:
        """Return clone and pool as parts of gVisor's time, by the faster of its two rows."""
        medians = self.medians
        faster = min((medians[name] for name in ("gvisor", "gvisor_lean") if name in medians), default=None)
        return quotient(medians.get("clone"), faster), quotient(medians.get("pool"), faster)

    def _targets(self) -> list[Target]:
        clone, pool = self._beside_gvisor()
        beside = [
            Target(name="b: clone ÷ gVisor", measured=clone, bound=CLONE_TO_GVISOR),
            Target(name="c: pool ÷ gVisor", measured=pool, bound=POOL_TO_GVISOR),
        ]
        languages = [] if self.languages is None else self.languages.targets
        every = [*beside, *super()._targets(), *languages]
        return sorted(every, key=lambda target: target.name[0])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; the fields are stable within a `schema`."""
        languages = None if self.languages is None else self.languages.to_dict()
        return {**super().to_dict(), "languages": languages}
