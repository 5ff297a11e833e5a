"""The row of one language, for the terminal and for the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = (
    "runtime",
    "version",
    "kind",
    "image MiB",
    "cold ms",
    "clone → hello ms",
    "pooled → hello ms",
    "compile ms",
    "peak MiB",
    "runsc ms",
)


def table_row(language: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a language's row, as in `COLUMNS`."""
    memory = f"{language['peak_memory_mib']:.0f}"
    if language.get("compile_peak_memory_mib") is not None:
        memory += f" / {language['compile_peak_memory_mib']:.0f}"
    return (
        language["name"],
        version_of(language),
        language["kind"],
        f"{language['image_mib']:.0f}",
        median(language.get("cold_ms")),
        _spread(language.get("clone_ms")),
        _spread(language.get("pooled_ms")),
        _spread(language.get("compile_ms")),
        memory,
        _spread(language.get("gvisor_ms")),
    )


def version_of(language: Mapping[str, Any]) -> str:
    """Return a language's version as it tells it itself."""
    return str(language.get("version_text") or language["version"])


def median(spread: Mapping[str, Any] | None) -> str:
    """Return the median of what was measured of one thing; a dash when it was not."""
    return "—" if not spread else f"{spread['p50']:,.0f}"


def _spread(spread: Mapping[str, Any] | None) -> str:
    return "—" if not spread else f"{spread['p50']:,.0f} / {spread['p95']:,.0f}"
