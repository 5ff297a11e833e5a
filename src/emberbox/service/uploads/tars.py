"""Hands the files of a tar archive to a sink: files and folders alone, by paths below their folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.errors import InvalidArchive
from emberbox.files.paths import clean_path
from emberbox.files.tar_fields import BadTar
from emberbox.files.tars import TarReader

if TYPE_CHECKING:
    from emberbox.files.tars import Bytes
    from emberbox.service.uploads.unpacking import Sink


def unpack_tar(stream: Bytes, sink: Sink) -> None:
    """Hand all files of an archive to the sink. Blocks.

    Args:
        stream: The archive, or what unpacks it.
        sink: Takes the files, and counts what comes out.

    Raises:
        InvalidArchive: An entry is refused or damaged.
        InvalidPath: An entry's name is no path below a folder.
        Exception: Whatever the sink raises.
    """
    reader = TarReader(stream, count=sink.count)
    try:
        for entry in reader:
            sink.entry()
            if entry.kind == "folder":
                # The archive's own folder, `./`, is not one within it.
                if entry.name.strip("./") or ".." in entry.name:
                    clean_path(entry.name)
            elif entry.kind != "file" or entry.parts is not None:
                what = f"the archive's entry {entry.name[:100]!a} is a link, a device or sparse"
                raise InvalidArchive(f"{what}; only files and folders are taken")
            else:
                sink.add(entry.name, reader.pieces(), entry.mode)
    except BadTar as error:
        raise InvalidArchive(f"{error}; make it anew", detail=repr(error.__cause__ or error)) from error
