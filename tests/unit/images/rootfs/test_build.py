"""What is told of a root file system that could not be built."""

from __future__ import annotations

import pytest

from emberbox.images.rootfs.build import missing_packages


@pytest.mark.parametrize(
    ("output", "missing"),
    [
        ("", []),
        ("E: Unable to locate package nothing-like-it\nE: mmdebstrap failed to run\n", ["nothing-like-it"]),
        (
            "E: Package 'old' has no installation candidate\nE: Unable to locate package gone\n",
            ["gone", "old"],
        ),
        ("E: Unable to fetch some archives\n", []),
    ],
)
def test_packages_that_do_not_exist_are_named(output: str, missing: list[str]) -> None:
    assert missing_packages(output) == missing
