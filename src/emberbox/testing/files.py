"""The file operations of a fake agent, on files in memory."""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from collections.abc import Awaitable, Callable
from typing import Any

from emberbox.testing.programs import FakeRun

Operation = Callable[[FakeRun], Awaitable[dict[str, Any]]]


class Refused(Exception):
    """Ends a request with an error of the protocol. Args: its code and its message."""


class FakeFiles:
    """Files by absolute path. Folders exist where files are in them, or where they were made."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = {_absolute(path): data for path, data in files.items()}
        self.folders = {"/", "/work"}

    def operations(self) -> dict[str, Operation]:
        """Return the operations by their `op`."""
        return {
            "read_file": self._read,
            "write_file": self._write,
            "list": self._list,
            "stat": self._stat,
            "make_directory": self._make_directory,
            "delete": self._delete,
            "tar_in": self._tar_in,
            "tar_out": self._tar_out,
        }

    async def _read(self, run: FakeRun) -> dict[str, Any]:
        data = self._file(run)
        offset, limit = run.request["offset"], run.request["limit"]
        await run.write(data[offset:] if limit is None else data[offset : offset + limit])
        return {"size": len(data), "mode": 0o644}

    async def _write(self, run: FakeRun) -> dict[str, Any]:
        path = _path(run)
        data = await run.read_all()
        self.files[path] = self.files.get(path, b"") + data if run.request["append"] else data
        return {"size": len(self.files[path])}

    async def _list(self, run: FakeRun) -> dict[str, Any]:
        folder = _path(run).rstrip("/") + "/"
        most, recursive = run.request["max_entries"], run.request["recursive"]
        found = {path[len(folder) :]: data for path, data in self.files.items() if path.startswith(folder)}
        if not found and folder.rstrip("/") not in self.folders:
            raise Refused("not_found", "no such folder")
        names = sorted(found if recursive else {name.split("/")[0] for name in found})
        for name in names[:most]:
            await run.write(json.dumps({"name": name, **_entry(found.get(name))}).encode() + b"\n")
        return {"entries": min(len(names), most), "truncated": len(names) > most}

    async def _stat(self, run: FakeRun) -> dict[str, Any]:
        return _entry(None) if _path(run) in self.folders else _entry(self._file(run))

    async def _make_directory(self, run: FakeRun) -> dict[str, Any]:
        self.folders.add(_path(run))
        return {}

    async def _delete(self, run: FakeRun) -> dict[str, Any]:
        path = _path(run)
        gone = [name for name in self.files if name == path or name.startswith(path + "/")]
        if not gone and path not in self.folders and not run.request["missing_ok"]:
            raise Refused("not_found", "no such file")
        for name in gone:
            del self.files[name]
        self.folders.discard(path)
        return {}

    async def _tar_in(self, run: FakeRun) -> dict[str, Any]:
        folder, size, entries = _path(run), 0, 0
        with tarfile.open(fileobj=io.BytesIO(await run.read_all())) as archive:
            for member in archive:
                entries += 1
                if member.isfile() and (file := archive.extractfile(member)) is not None:
                    data = self.files[posixpath.join(folder, member.name)] = file.read()
                    size += len(data)
        return {"entries": entries, "bytes": size}

    async def _tar_out(self, run: FakeRun) -> dict[str, Any]:
        folder = _path(run).rstrip("/") + "/"
        target, size, entries = io.BytesIO(), 0, 0
        with tarfile.open(fileobj=target, mode="w") as archive:
            for path, data in sorted(self.files.items()):
                if path.startswith(folder):
                    member = tarfile.TarInfo(path[len(folder) :])
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
                    size, entries = size + len(data), entries + 1
        await run.write(target.getvalue())
        return {"entries": entries, "bytes": size, "truncated": size > run.request["max_bytes"]}

    def _file(self, run: FakeRun) -> bytes:
        data = self.files.get(_path(run))
        if data is None:
            raise Refused("not_found", "no such file")
        return data


def _path(run: FakeRun) -> str:
    path = run.request.get("path")
    if not isinstance(path, str):
        raise Refused("unsupported", "the fake agent knows no path_b64")
    return _absolute(path)


def _absolute(path: str) -> str:
    return posixpath.normpath(posixpath.join("/work", path))


def _entry(data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {"type": "directory", "size": 0, "mode": 0o755, "mtime_ns": 0}
    return {"type": "file", "size": len(data), "mode": 0o644, "mtime_ns": 0}
