from __future__ import annotations

import fcntl
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from emberbox.sandbox import TemplateRecord
from emberbox.sandbox.templates.stored import prune_templates, stored_templates

if TYPE_CHECKING:
    from pathlib import Path


def _record(key: str, image: str, built_at: float) -> TemplateRecord:
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
        stored_bytes=1000,
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
