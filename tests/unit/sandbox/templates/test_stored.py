from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from emberbox.sandbox import TemplateRecord
from emberbox.sandbox.templates.stored import lease_file, prune_templates, stored_templates, trim_templates

if TYPE_CHECKING:
    from pathlib import Path


def _record(
    key: str, image: str, built_at: float, stored_bytes: int = 1000, scope: str | None = None
) -> TemplateRecord:
    return TemplateRecord(
        key=key,
        runtime="python",
        image=image,
        vcpus=1,
        memory_mib=256,
        driver="qemu",
        vmm_version="7.2",
        accelerator="tcg",
        waiting=True,
        built_at=built_at,
        build_s=5.0,
        stored_bytes=stored_bytes,
        scope=scope,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for record in (_record("a1", "old", 1.0), _record("b2", "new", 2.0)):
        (tmp_path / record.key).mkdir()
        (tmp_path / record.key / "memory").write_bytes(b"x")
        (tmp_path / record.key / "template.json").write_text(json.dumps(asdict(record)))
    return tmp_path


def test_newest_first_and_only_what_can_be_read(root: Path) -> None:
    for name, text in {"c3": "{", "d4": "{}", "e5": json.dumps(asdict(_record("other", "new", 3.0)))}.items():
        (root / name).mkdir()
        (root / name / "template.json").write_text(text)
    assert [record.key for record in stored_templates(root)] == ["b2", "a1"]


def test_no_folder_holds_no_templates(tmp_path: Path) -> None:
    assert stored_templates(tmp_path / "none") == []
    assert prune_templates(tmp_path / "none", keep_images=()) == []


def test_pruning_removes_templates_of_other_images(root: Path) -> None:
    assert [record.key for record in prune_templates(root, keep_images={"new"}, dry_run=True)] == ["a1"]
    assert (root / "a1/memory").exists()
    assert [record.key for record in prune_templates(root, keep_images={"new"})] == ["a1"]
    assert not (root / "a1").exists()
    assert (root / "b2/memory").exists()
    assert prune_templates(root, keep_images={"new"}) == []


def test_a_template_that_is_being_built_stays(root: Path) -> None:
    with (root / "a1.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert prune_templates(root, keep_images={"new"}) == []
    assert (root / "a1/memory").exists()


def _stored(root: Path, *templates: tuple[str, str | None, int]) -> None:
    """Put templates there, each with its scope and its size in MiB, the one that was used last at the end."""
    for moment, (key, scope, size_mib) in enumerate(templates, start=1):
        record = _record(key, "new", 1.0, size_mib * 1024**2, scope)
        (root / key).mkdir()
        (root / key / "template.json").write_text(json.dumps(asdict(record)))
        os.utime(root / key / "template.json", (moment, moment))


def _keys(root: Path) -> set[str]:
    return {record.key for record in stored_templates(root)}


def test_what_was_unused_for_longest_makes_room(tmp_path: Path) -> None:
    _stored(tmp_path, ("a", None, 40), ("b", None, 40), ("c", None, 40))
    assert [record.key for record in trim_templates(tmp_path, 100, dry_run=True)] == ["a"]
    assert _keys(tmp_path) == {"a", "b", "c"}
    assert [record.key for record in trim_templates(tmp_path, 100)] == ["a"]
    assert _keys(tmp_path) == {"b", "c"}
    assert trim_templates(tmp_path, 100) == []
    assert trim_templates(tmp_path, 0) == [], "0 is no bound"


def test_what_is_beyond_its_scopes_share_goes_first(tmp_path: Path) -> None:
    _stored(tmp_path, ("ours", None, 40), ("a1", "a", 30), ("b1", "b", 10), ("a2", "a", 30), ("a3", "a", 20))
    assert trim_templates(tmp_path, 130) == [], "nobody else needs the room"
    assert [record.key for record in trim_templates(tmp_path, 100)] == ["a1"]
    assert [record.key for record in trim_templates(tmp_path, 90)] == ["a2"]
    assert [record.key for record in trim_templates(tmp_path, 60)] == ["ours"]
    assert _keys(tmp_path) == {"b1", "a3"}


def test_what_is_open_stays_beyond_the_room(tmp_path: Path) -> None:
    _stored(tmp_path, ("a", None, 60), ("b", None, 60))
    with lease_file(tmp_path, "a").open("w") as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        assert [record.key for record in trim_templates(tmp_path, 50)] == ["b"]
    assert [record.key for record in trim_templates(tmp_path, 50)] == ["a"]
    assert list(tmp_path.iterdir()) == [], "neither templates nor their locks are left"
