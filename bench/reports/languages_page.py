"""The page about all languages, from what was measured: `python -m bench.reports.languages_page`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.languages.results import FILE, read_results
from bench.languages.table import COLUMNS, median, table_row, version_of
from bench.reports.markdown_table import markdown_table
from bench.reports.prose import item, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench/results" / FILE
PAGE = ROOT / "docs/languages.md"

PAGE_COLUMNS = ("runtime", "kind", "image", "cold", "clone", "pooled", "compile", "peak", "runsc")
"""The columns of the page's table: `COLUMNS` without the version, and by names that keep rows short."""
INTRODUCTION = """\
# Languages

This page lists every language that can be run, how fast it is, and what its errors look like:

```console
$ echo 'print("hello, world")' > hello.lua
$ emberbox run hello.lua
```

To add a language, see [runtimes.md](runtimes.md). To check one, use `emberbox runtimes check NAME`.

This page is written by `make languages-page` from `bench/results/languages.json`, which
`python -m bench --only languages` measures. A test holds the page to that file.

## Times and sizes
"""
LEGEND = """\
Times are medians in milliseconds, with the 95th percentile behind the stroke. They are taken from
the call of `Engine.run` to the result of a program that prints `hello, world`, sent as inline code.
Sizes are in MiB.

- **kind**: `waiting` is an interpreter that waits in the template. `interpreted` is one that is
  started for the run. `compiled` has a compile stage.
- **image**: the root file system's size on disk. Runtimes with the same packages share one.
- **cold**: the VM is booted for the call.
- **clone**: the VM is cloned from the template for the call.
- **pooled**: the VM was ready in a pool of one.
- **compile**: the compile stage alone, for a source that was never seen before. In `cold`, `clone`
  and `pooled`, a compiled program comes from the cache of compiled programs.
- **peak**: the most memory that the program took, and the compiler behind the stroke.
- **runsc**: gVisor with the same file in the same root file system, from the start of its process
  to its end. A compiled program was compiled before.
"""

BESIDE = ("clone_ms", "clone_cpu_ms", "pooled_ms", "pooled_cpu_ms")
BESIDE_COLUMNS = ("runtime", "clone ms", "program's CPU ms", "pooled ms", "program's CPU ms", "runsc ms")
BESIDE_GVISOR = """\
## Beside gVisor

runsc runs the program on the bare processor. Under emulation, each piece of a guest's code is
translated when a machine first comes to it.

A pooled machine and a fresh clone come from the same template and do the same work for the same
call. But the pooled one has run another program before, so the code that it needs is translated
already. The difference of the two is the time that emulation takes. The program's own CPU time in
the guest shows it: the same instructions, counted twice.
"""


def page(results: Mapping[str, Any]) -> str:
    """Return the page as Markdown."""
    languages = sorted(results["languages"], key=lambda language: str(language["name"]))
    rows = [_without_version(table_row(one)) for one in languages]
    parts = [INTRODUCTION, _host(results), LEGEND, _table(PAGE_COLUMNS, rows, 2), _totals(results)]
    if results.get("not_measured"):
        parts.append(f"{wrapped('Not measured yet: ' + ', '.join(results['not_measured']) + '.')}\n")
    notes = [item(f"{one['name']}: {one['gvisor_note']}") for one in languages if not one.get("gvisor_ms")]
    if notes:
        parts.append("Not measured under gVisor:\n\n" + "\n".join(notes) + "\n")
    parts.append("## Versions\n\nAs each language tells its own.\n")
    parts.append("\n".join(item(f"{one['name']}: {version_of(one)}") for one in languages) + "\n")
    parts.append(_beside_gvisor(languages))
    told = "These are from real runs of each language's examples `compile_error` and `runtime_error`."
    parts.append(f"## What mistakes look like\n\n{told}\n")
    parts += [_mistakes(one) for one in languages]
    return "\n".join(parts)


def _without_version(row: tuple[str, ...]) -> tuple[str, ...]:
    at = COLUMNS.index("version")
    return (*row[:at], *row[at + 1 :])


def _host(results: Mapping[str, Any]) -> str:
    host = results["host"]
    brief = "Measured briefly, with few samples. " if results["quick"] else ""
    told = (
        f"{brief}Taken on {results['taken_at']}: {host['cpu']}, {host['cores']} cores, "
        f"{host['memory_mib']} MiB, accelerator {host['accelerator'] or 'none'}, {host['vmm'] or 'no VMM'}."
    )
    return f"{wrapped(told)}\n"


def _beside_gvisor(languages: Sequence[Mapping[str, Any]]) -> str:
    """Return which languages are slower than under gVisor, and what shows why."""
    rows = [one for one in languages if all(one.get(name) for name in (*BESIDE, "gvisor_ms"))]
    if not rows:
        return ""
    parts = [BESIDE_GVISOR]
    for title, name in (("pooled", "pooled_ms"), ("cloned for the call", "clone_ms")):
        slower = [one["name"] for one in rows if one[name]["p50"] > one["gvisor_ms"]["p50"]]
        names = ", ".join(slower) or "none"
        told = wrapped(f"Slower than runsc when {title}: {names} ({len(slower)} of {len(rows)}).")
        parts.append(f"{told}\n")
    table = [(one["name"], *(median(one[name]) for name in BESIDE), median(one["gvisor_ms"])) for one in rows]
    return "\n".join([*parts, _table(BESIDE_COLUMNS, table, 1)])


def _totals(results: Mapping[str, Any]) -> str:
    disk = results["disk"]
    told = (
        f"All {disk['images']} images together take {disk['bytes'] / 2**20:,.0f} MiB on disk, kernel and "
        "initramfs included. Files that several images share count once. The images would take "
        f"{disk['unshared_bytes'] / 2**20:,.0f} MiB if nothing were shared."
    )
    return f"{wrapped(told)}\n"


def _mistakes(language: Mapping[str, Any]) -> str:
    parts = [f"### {language['name']}\n"]
    for title, field in (("compile error", "compile_error"), ("run-time error", "runtime_error")):
        shown = language.get(field)
        if shown:
            text = "\n".join(f"    {line}".rstrip() for line in shown["text"].splitlines()) or "    (nothing)"
            parts.append(f"{title[0].upper()}{title[1:]}, ended as {shown['ended']}:\n\n{text}\n")
    return "\n".join(parts)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    return "\n".join(markdown_table(columns, rows, left)) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(read_results(RESULTS)), "utf-8")
