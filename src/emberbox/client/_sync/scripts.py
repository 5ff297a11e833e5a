# Written by scripts/sync_client.py from _async/scripts.py; change that instead.
"""Uploaded scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from emberbox.client._sync.transport import Part
from emberbox.client.packing import LEFT_OUT, packed
from emberbox.client.paths import label_filter, path_of
from emberbox.client.waiting import call
from emberbox.schemas.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Unpack

    from emberbox.client._sync.jobs import Jobs
    from emberbox.client._sync.transport import Transport
    from emberbox.client.orders import JobParameters
    from emberbox.client.packing import Source
    from emberbox.schemas.jobs import Job


class Scripts(Part):
    """The scripts of this key: `client.scripts`."""

    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        super().__init__(transport)
        self._jobs = jobs

    def upload(
        self,
        source: Source | Sequence[str | Path],
        *,
        runtime: str | None = None,
        entry: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        filename: str | None = None,
        leave_out: Sequence[str] = LEFT_OUT,
    ) -> Script:
        """Upload a script.

        Args:
            source: Path of a file, of an archive (.zip, .tar.gz) or of a folder; several paths; or
                a file's bytes.
            runtime: Name or alias; None to tell it from the files.
            entry: The file that is run, for several; None for the runtime's rule (`main.py`, …).
            name: For people; None for the file's name.
            labels: To find it again.
            filename: The file's name when `source` is bytes.
            leave_out: Globs of names in folders that are not uploaded.

        Raises:
            InvalidInput: There is no such file, or the server cannot use it.
            PayloadTooLarge: It is larger than the server takes.
        """
        fields: dict[str, Any] = {"runtime": runtime, "entry": entry, "name": name}
        if labels:
            fields["labels"] = json.dumps(dict(labels))
        packing = packed(source, filename, leave_out)
        upload = call(packing.__enter__)
        try:
            return self._transport.upload(Script, "/v1/scripts", fields, *upload)
        finally:
            call(packing.__exit__, None, None, None)

    def list(
        self,
        *,
        team: str | None = None,
        runtime: str | None = None,
        name: str | None = None,
        label: tuple[str, str] | str | None = None,
        limit: int | None = None,
    ) -> Iterator[Script]:
        """Yield scripts, newest first; their `files` are left out.

        `limit` None means all, `team` is as of `jobs.list`.
        """
        query = {"team": team, "runtime": runtime, "name": name, "label": label_filter(label)}
        return self._transport.pages(Script, "/v1/scripts", limit=limit, **query)

    def get(self, script_id: str) -> Script:
        """Return a script. Raises `NotFound`."""
        return self._transport.get(Script, path_of("scripts", script_id))

    def content(self, script_id: str) -> bytes:
        """Return a script's content: the file, or a tar archive of its files. Raises `NotFound`."""
        return self._transport.content(path_of("scripts", script_id, "content"))

    def delete(self, script_id: str) -> None:
        """Delete a script; its jobs stay. Raises `NotFound`."""
        self._transport.request("DELETE", path_of("scripts", script_id))

    def run(
        self,
        script_id: str,
        *,
        wait: bool = True,
        idempotency_key: str | None = None,
        **options: Unpack[JobParameters],
    ) -> Job:
        """Run a script; see `jobs.submit` for the arguments. Waits for the end unless `wait` is False."""
        return self._jobs.submit(script_id=script_id, wait=wait, idempotency_key=idempotency_key, **options)
