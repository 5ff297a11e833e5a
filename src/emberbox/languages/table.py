"""The page about all languages, from what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLUMNS = (
    "runtime", "version", "kind", "image MiB", "cold ms", "clone → hello ms", "pooled → hello ms", "compile ms", "peak MiB",
    "runsc ms",
)  # fmt: skip
INTRODUCTION = """\
# Languages

Written by `emberbox runtimes table` from `bench/results/languages.json`, which `emberbox bench --only languages` measures; a
test holds this page to that file. How a language is added: [runtimes.md](runtimes.md). How it is checked:
`emberbox runtimes check NAME`.
"""
LEGEND = """\
Times are medians in milliseconds, with the 95th percentile behind the stroke, from the call of `Engine.run` to the result of a
program that prints `hello, world`, sent as inline code.

- **kind**: `waiting` is an interpreter that waits in the template, `interpreted` one that is started for the run, `compiled`
  has a compile stage.
- **image**: the root file system's size on disk; runtimes with the same packages share one.
- **cold**: the VM is booted for the call. **clone**: it is cloned from the template for the call. **pooled**: it was ready in a
  pool of one. A compiled program comes from the cache of compiled programs in all three.
- **compile**: the compile stage alone, for a source that was never seen before.
- **peak**: the most memory that the program took, and the compiler behind the stroke.
- **runsc**: gVisor with the same file in the same root file system, from the start of its process to its end; a compiled program
  was compiled before.
"""

BESIDE = ("clone_ms", "clone_cpu_ms", "pooled_ms", "pooled_cpu_ms")
BESIDE_COLUMNS = ("runtime", "clone ms", "of it program's CPU ms", "pooled ms", "of it program's CPU ms", "runsc ms")
BESIDE_GVISOR = """\
## Beside gVisor

runsc runs the program on the bare processor; under emulation each piece of a guest's code is translated when a machine first
comes to it. A pooled machine and a fresh clone come from the same template and do the same work for the same call, but the pooled
one has run another program before: what it needs is translated already. So the difference of the two is what emulation takes, and
the program's own CPU time in the guest shows it: the same instructions, counted twice.
"""


def page(results: Mapping[str, Any]) -> str:
    """Return the page as Markdown."""
    languages = sorted(results["languages"], key=lambda language: str(language["name"]))
    parts = [INTRODUCTION, _host(results), LEGEND, _markdown(COLUMNS, [table_row(one) for one in languages]), _totals(results)]
    if results.get("not_measured"):
        parts.append(f"Not measured yet: {', '.join(results['not_measured'])}.\n")
    notes = [f"- {one['name']}: {_cell(one['gvisor_note'])}" for one in languages if not one.get("gvisor_ms")]
    if notes:
        parts.append("Not measured under gVisor:\n\n" + "\n".join(notes) + "\n")
    parts.append(_beside_gvisor(languages))
    parts.append("## What mistakes look like\n\nFrom real runs of each language's `compile_error` and `runtime_error`.\n")
    parts += [_mistakes(one) for one in languages]
    return "\n".join(parts)


def table_row(language: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a language's row, as in `COLUMNS`."""
    memory = f"{language['peak_memory_mib']:.0f}"
    if language.get("compile_peak_memory_mib") is not None:
        memory += f" / {language['compile_peak_memory_mib']:.0f}"
    return (
        language["name"],
        language.get("version_text") or language["version"],
        language["kind"],
        f"{language['image_mib']:.0f}",
        _median(language.get("cold_ms")),
        _spread(language.get("clone_ms")),
        _spread(language.get("pooled_ms")),
        _spread(language.get("compile_ms")),
        memory,
        _spread(language.get("gvisor_ms")),
    )


def _host(results: Mapping[str, Any]) -> str:
    host = results["host"]
    brief = "Measured briefly, with few samples. " if results["quick"] else ""
    return (
        f"{brief}Taken on {results['taken_at']}: {host['cpu']}, {host['cores']} cores, {host['memory_mib']} MiB, "
        f"accelerator {host['accelerator'] or 'none'}, {host['vmm'] or 'no VMM'}.\n"
    )


def _beside_gvisor(languages: Sequence[Mapping[str, Any]]) -> str:
    """Return which languages are slower than under gVisor, and what shows why."""
    rows = [one for one in languages if all(one.get(name) for name in (*BESIDE, "gvisor_ms"))]
    if not rows:
        return ""
    parts = [BESIDE_GVISOR]
    for title, name in (("pooled", "pooled_ms"), ("cloned for the call", "clone_ms")):
        slower = [one["name"] for one in rows if one[name]["p50"] > one["gvisor_ms"]["p50"]]
        parts.append(f"Slower than runsc when {title}: {', '.join(slower) or 'none'} ({len(slower)} of {len(rows)}).\n")
    table = [(one["name"], *(_median(one[name]) for name in BESIDE), _median(one["gvisor_ms"])) for one in rows]
    return "\n".join([*parts, _markdown(BESIDE_COLUMNS, table, 1)])


def _totals(results: Mapping[str, Any]) -> str:
    disk = results["disk"]
    return (
        f"All {disk['images']} images together: {disk['bytes'] / 2**20:,.0f} MiB on disk, kernel and initramfs included, "
        f"files that several share counted once ({disk['unshared_bytes'] / 2**20:,.0f} MiB if nothing were shared).\n"
    )


def _mistakes(language: Mapping[str, Any]) -> str:
    parts = [f"### {language['name']}\n"]
    for title, field in (("compile error", "compile_error"), ("run-time error", "runtime_error")):
        shown = language.get(field)
        if shown:
            text = "\n".join(f"    {line}".rstrip() for line in shown["text"].splitlines()) or "    (nothing)"
            parts.append(f"{title[0].upper()}{title[1:]}, ended as {shown['ended']}:\n\n{text}\n")
    return "\n".join(parts)


def _median(spread: Mapping[str, Any] | None) -> str:
    return "—" if not spread else f"{spread['p50']:,.0f}"


def _spread(spread: Mapping[str, Any] | None) -> str:
    return "—" if not spread else f"{spread['p50']:,.0f} / {spread['p95']:,.0f}"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 3) -> str:
    ruler = ["---" if number < texts else "---:" for number in range(len(columns))]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in (columns, ruler, *rows)) + "\n"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
