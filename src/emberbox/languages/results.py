"""Keeps what was measured of languages: a file of JSON from which the page is written."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes away."""
FILE = "languages.json"


def read_results(file: Path) -> dict[str, Any]:
    """Return what was measured; raises `InvalidInput` when the file cannot be read or is of another schema."""
    try:
        results = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}; measure first: emberbox bench --only languages") from error
    except ValueError as error:
        raise InvalidInput(f"{file} is not JSON: {error}") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise InvalidInput(f"{file} is of another schema than {SCHEMA}; measure anew: emberbox bench --only languages")
    return results


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return new results with the rows of languages that were not measured this time, and still exist, from the old ones.

    `not_measured` names those that have no row.

    Args:
        old: None when there are none.
        new: What was measured now.
        known: Names of the runtimes there are.
    """
    measured = {row["name"] for row in new["languages"]}
    kept = [row for row in (old or {}).get("languages", []) if row["name"] in known and row["name"] not in measured]
    rows = sorted([*new["languages"], *kept], key=lambda row: str(row["name"]))
    return {**new, "languages": rows, "not_measured": sorted(set(known) - {row["name"] for row in rows})}


def write_results(file: Path, new: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Put results in place at once, merged with those that are there; returns what was written. Raises `OSError`."""
    try:
        old = read_results(file)
    except InvalidInput:
        old = None
    results = {"schema": SCHEMA, **merged(old, new, known)}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.new-{os.getpid()}")
    partial.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(file)
    return results
