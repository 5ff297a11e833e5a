"""Keeps what was measured of languages: a file of JSON from which the page is written."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput
from emberbox.files.atomic import write_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from bench.languages.findings import LanguageFindings
    from emberbox.bench.findings import Findings

SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes away."""
FILE = "languages.json"


def keep_languages(findings: Findings, languages: LanguageFindings, folder: Path) -> None:
    """Write languages.json; languages that were not measured this time keep their rows in it.

    Raises `OSError`.
    """
    about = {"taken_at": findings.taken_at, "quick": findings.quick, "host": asdict(findings.host)}
    write_results(folder / FILE, {**about, **languages.to_dict()}, languages.known)


def read_results(file: Path) -> dict[str, Any]:
    """Return what was measured.

    Raises `InvalidInput` when the file cannot be read or is of another schema.
    """
    try:
        results = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(
            f"cannot read {file}: {error.strerror}; measure first: python -m bench --only languages"
        ) from error
    except ValueError as error:
        raise InvalidInput(f"{file} is not JSON: {error}") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise InvalidInput(
            f"{file} is of another schema than {SCHEMA}; measure anew: python -m bench --only languages"
        )
    return results


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return new results, with old rows of languages that were not measured this time and still exist.

    `not_measured` names those that have no row.

    Args:
        old: None when there are none.
        new: What was measured now.
        known: Names of the runtimes there are.
    """
    measured = {row["name"] for row in new["languages"]}
    kept = [
        row
        for row in (old or {}).get("languages", [])
        if row["name"] in known and row["name"] not in measured
    ]
    rows = sorted([*new["languages"], *kept], key=lambda row: str(row["name"]))
    return {**new, "languages": rows, "not_measured": sorted(set(known) - {row["name"] for row in rows})}


def write_results(file: Path, new: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Put results in place at once, merged with those that are there; returns what was written.

    Raises `OSError`.
    """
    try:
        old = read_results(file)
    except InvalidInput:
        old = None
    results = {"schema": SCHEMA, **merged(old, new, known)}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, json.dumps(results, indent=1, ensure_ascii=False) + "\n", mode=None)
    return results
