"""What is kept beside a template's files, in its `template.json`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

_NAME = "template.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRecord:
    """What is kept beside a template's files.

    Args:
        key: The folder's name.
        runtime: The runtime's name.
        image: The image's key.
        vcpus, memory_mib: The size that its clones have.
        driver, vmm_version, accelerator: What it was made with and can be restored with.
        waiting: Whether an interpreter waits in it.
        built_at: Unix time in seconds.
        build_s: How long it took.
        stored_bytes: What it takes on disk.
        layers: Digests of the layers over its image.
    """

    key: str
    runtime: str
    image: str
    vcpus: int
    memory_mib: int
    driver: str
    vmm_version: str
    accelerator: str
    waiting: bool
    built_at: float
    build_s: float
    stored_bytes: int
    layers: tuple[str, ...] = ()


def read_record(folder: Path) -> TemplateRecord | None:
    """Return the record of the template in `folder`.

    None where there is none, or none that can be read and is of this folder.
    """
    try:
        record = TemplateRecord(**json.loads((folder / _NAME).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning(
            "template %s cannot be read: %s", folder.name, error, extra={"action": "template.corrupt"}
        )
        return None
    return record if record.key == folder.name else None


def write_record(folder: Path, record: TemplateRecord) -> None:
    """Write the record of the template in `folder`."""
    (folder / _NAME).write_text(json.dumps(asdict(record), indent=1))
