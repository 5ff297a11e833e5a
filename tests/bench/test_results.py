"""What was measured of languages is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from bench.languages.results import SCHEMA, merged, read_results, write_results

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


def test_results_keep_what_was_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "a/languages.json"
    with pytest.raises(InvalidInput, match="measure first"):
        read_results(file)
    known = ("a", "b", "c")
    write_results(
        file,
        {"taken_at": "1", "languages": [{"name": "b", "n": 1}, {"name": "a", "n": 1}, {"name": "gone"}]},
        known,
    )
    write_results(file, {"taken_at": "2", "languages": [{"name": "b", "n": 2}]}, known)
    assert read_results(file) == {
        "schema": SCHEMA,
        "taken_at": "2",
        "languages": [{"name": "a", "n": 1}, {"name": "b", "n": 2}],
        "not_measured": ["c"],
    }
    assert merged(None, {"languages": []}, ("a",)) == {"languages": [], "not_measured": ["a"]}
    file.write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(InvalidInput, match="schema"):
        read_results(file)
