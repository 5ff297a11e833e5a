"""Layers on the host: file systems with packages, made once by a build VM and mounted read-only into runs.

`<data>/layers/objects/SHA256/layer.ext4` holds a layer under its digest;
`<data>/layers/parts/SCOPE/KEY.json` says which layer a request led to. Whoever made a layer is in
no way trusted: an entry is only ever offered to the scope that made it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emberbox.errors import ImageCorrupt
from emberbox.files.atomic import write_file
from emberbox.files.locks import take_lock, try_lock, wait_for_lock
from emberbox.images.layout import Layout
from emberbox.images.objects import ObjectStore, StoredObject
from emberbox.model import MIB, PackagesResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

_log = logging.getLogger(__name__)

NAME = "layer.ext4"
_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that is there.

    Args:
        digest: SHA-256 of the file system, as hex.
        path: The file; never changes.
        result: How it was made.
    """

    digest: str
    path: Path
    result: PackagesResult


class LayerStore:
    """The folder of layers. Any number of processes may share it; it survives being killed at any moment.

    Args:
        root: `<data>/layers`; made when missing.
        room_mib: Bound of what is kept; what is leased stays beyond it.
        attached: Returns the bytes that depend on a layer elsewhere, by its digest, such as its templates.
        detach: Removes those.
    """

    def __init__(
        self,
        root: Path,
        room_mib: int,
        attached: Callable[[str], int] = lambda _: 0,
        detach: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._layout = Layout(root)
        self._objects = ObjectStore(self._layout.objects)
        self._room = room_mib * MIB
        self._attached = attached
        self._detach = detach

    def find(self, scope: str | None, key: str) -> Layer | None:
        """Return the layer that a request of this scope led to, marked as just used. Blocks.

        None where there is none.

        Args:
            scope: Whose; None for those of this data folder's owner.
            key: The request's key.
        """
        file = self._entry(scope, key)
        try:
            about = json.loads(file.read_text())
            stored = StoredObject(str(about["digest"]), NAME, int(about["size"]))
            result = _result(about)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log.warning("a layer's entry cannot be read: %s", error, extra={"action": "layers.corrupt"})
            return None
        if not self._objects.has(stored):
            return None
        with contextlib.suppress(OSError):
            os.utime(file)
        return Layer(digest=stored.digest, path=self._objects.path(stored), result=result)

    @asynccontextmanager
    async def building(self, scope: str | None, key: str) -> AsyncIterator[Path]:
        """Hold a request's lock against other processes; lend a scratch folder that is removed at the end."""
        self._layout.create()
        lock = self._layout.locks / f"{_scope_name(scope)[:16]}-{key}.lock"
        with await wait_for_lock(lock, what="installing the same packages", timeout_s=_WAIT_S):
            await self._layout.remove_dead_builds()
            async with self._layout.build_folder() as folder:
                yield folder

    def keep(self, scope: str | None, key: str, file: Path, result: PackagesResult) -> Layer:
        """Move a layer in and return it; blocks.

        Args:
            scope: Who may use it.
            key: The request's key.
            file: The file system, in a folder that `building` lent.
            result: How it was made.
        """
        stored = self._objects.add(file, NAME)
        entry = self._entry(scope, key)
        entry.parent.mkdir(mode=0o700, exist_ok=True)
        about = {"digest": stored.digest, "size": stored.size, "made_at": time.time(), **_about(result)}
        write_file(entry, json.dumps(about), mode=0o644, durable=True, aside=file.parent)
        return Layer(digest=stored.digest, path=self._objects.path(stored), result=result)

    @contextlib.contextmanager
    def lease(self, layer: Layer) -> Iterator[None]:
        """Keep a layer from being removed for as long as the context lasts, or this process lives.

        Raises:
            ImageCorrupt: It was removed already.
        """
        with take_lock(self._lease_file(layer.digest), what="removing layers", shared=True):
            if not layer.path.exists():
                raise ImageCorrupt("the layer of these packages is gone; run it again to install them anew")
            yield

    def trim(self) -> list[str]:
        """Remove what was not used for longest until the rest fits; returns digests. What is leased stays.

        Blocks.
        """
        used: dict[str, float] = {}
        for file, digest in self._entries():
            with contextlib.suppress(FileNotFoundError):
                used[digest] = max(used.get(digest, 0.0), file.stat().st_mtime)
        sizes = {
            digest: self._objects.size(digest) + self._attached(digest) for digest in self._objects.digests()
        }
        total, removed = sum(sizes.values()), []
        for digest in sorted(sizes, key=lambda digest: used.get(digest, 0.0)):
            if total <= self._room:
                break
            if self._remove(digest):
                removed.append(digest)
                total -= sizes[digest]
        return removed

    def _remove(self, digest: str) -> bool:
        lock = try_lock(self._lease_file(digest))
        if lock is None:
            return False
        with lock:
            for file, known in list(self._entries()):
                if known == digest:
                    file.unlink(missing_ok=True)
            self._objects.remove(digest)
            self._detach(digest)
        _log.info("removed layer %s", digest[:12], extra={"action": "layers.removed", "digest": digest})
        return True

    def _entries(self) -> Iterator[tuple[Path, str]]:
        for file in self._layout.parts.glob("*/*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                yield file, str(json.loads(file.read_text())["digest"])

    def _entry(self, scope: str | None, key: str) -> Path:
        return self._layout.parts / _scope_name(scope) / f"{key}.json"

    def _lease_file(self, digest: str) -> Path:
        return self._layout.locks / f"layer-{digest}.lock"


def _scope_name(scope: str | None) -> str:
    return hashlib.sha256(json.dumps(["own"] if scope is None else ["scope", scope]).encode()).hexdigest()


def _about(result: PackagesResult) -> dict[str, Any]:
    return {
        "tool": result.tool,
        "output": base64.b64encode(result.output_data).decode("ascii"),
        "downloaded_bytes": result.downloaded_bytes,
    }


def _result(about: dict[str, Any]) -> PackagesResult:
    return PackagesResult(
        ok=True,
        reason="cached",
        tool=str(about["tool"]),
        output_data=base64.b64decode(about["output"]),
        downloaded_bytes=int(about["downloaded_bytes"]),
    )
